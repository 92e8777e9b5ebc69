"""Scores on disk: files that are only ever added, a folder for each version of what made them. An edge.

    scores/checks-<version>/part-<digest>.parquet   what deterministic checks found
    scores/judge-<version>/part-<digest>.parquet    what a judge of that rubric and model said
    scores/current.json                             the versions that were used last
    scores/coverage.json                            captured, checked, judged, by tenant

A part is named by the keys in it, so the same run twice at once writes one file. No texts stand in them.
"""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from dags import io
from dags.edges import workshop

CHECKS: Final = pa.schema(
    [
        *(("tenant_id", pa.string()), ("event_key", pa.string()), ("user_hash", pa.string())),
        *(("failed", pa.list_(pa.string())), ("checked", pa.list_(pa.string()))),
    ]
)
"""A row of `checks-…`."""
JUDGE: Final = pa.schema(
    [
        *(("tenant_id", pa.string()), ("event_key", pa.string()), ("user_hash", pa.string())),
        ("judge", pa.float64()),
    ]
)
"""A row of `judge-…`."""
_CURRENT: Final = "current.json"
COVERAGE: Final = "coverage.json"
_BATCH_ROWS: Final = 8_192


class Current(msgspec.Struct, frozen=True, kw_only=True):
    """Which folders hold the scores that count."""

    checks: str | None = None
    """Version of the checks; None before the first run."""
    judge: str | None = None
    """Version of the judge; None where none was asked."""


def current(scores: Path) -> Current:
    """What counts now."""
    try:
        return msgspec.json.decode((scores / _CURRENT).read_bytes(), type=Current)
    except FileNotFoundError:
        return Current()


def point(scores: Path, now: Current) -> None:
    """From now on these count."""
    if now != current(scores):
        workshop.replace(scores / _CURRENT, msgspec.json.encode(now))


def checks_folder(scores: Path, version: str) -> Path:
    """Where checks of a version stand."""
    return scores / f"checks-{version}"


def judge_folder(scores: Path, version: str) -> Path:
    """Where verdicts of a version stand."""
    return scores / f"judge-{version}"


def checks(scores: Path, version: str | None) -> pa.RecordBatchReader:
    """Every check of a version."""
    return _reader(checks_folder(scores, version) if version else None, CHECKS)


def judged(scores: Path, version: str | None) -> pa.RecordBatchReader:
    """Every verdict of a version."""
    return _reader(judge_folder(scores, version) if version else None, JUDGE)


def _reader(folder: Path | None, schema: pa.Schema) -> pa.RecordBatchReader:
    return pa.RecordBatchReader.from_batches(schema, _batches(folder, schema))


def _batches(folder: Path | None, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for path in sorted(folder.glob("*.parquet")) if folder else ():
        with pq.ParquetFile(path) as file:
            yield from file.iter_batches(columns=schema.names)


class Part:
    """New rows on their way into one file, named when all are there."""

    def __init__(self, own: Path, schema: pa.Schema) -> None:
        self._path = own / f"part-{id(self)}.parquet"
        self._schema = schema
        self._writer = pq.ParquetWriter(self._path, schema, compression="zstd")
        self._rows: list[tuple[Any, ...]] = []
        self._keys = hashlib.sha256()
        self.rows = 0

    def add(self, row: tuple[Any, ...]) -> None:
        """One row more; its first two values are its key."""
        self._keys.update(msgspec.json.encode(row[:2]))
        self._rows.append(row)
        self.rows += 1
        if len(self._rows) == _BATCH_ROWS:
            self._flush()

    def _flush(self) -> None:
        self._writer.write_batch(io.batch(self._rows, self._schema))
        self._rows = []

    def publish(self, folder: Path) -> None:
        """Give the file its name; nothing where no row came."""
        self._flush()
        self._writer.close()
        if not self.rows:
            return
        workshop.sync(self._path)
        folder.mkdir(parents=True, exist_ok=True)
        self._path.rename(folder / f"part-{self._keys.hexdigest()[:16]}.parquet")
        workshop.sync(folder)


def forget(scores: Path, users: Iterable[tuple[str, str]]) -> int:
    """Rewrite every part that has rows of these users without them; how many rows went."""
    gone, went = frozenset(users), 0
    for path in sorted(scores.glob("*/*.parquet")):
        table = pq.read_table(path)
        keys = zip(table["tenant_id"].to_pylist(), table["user_hash"].to_pylist(), strict=True)
        keep = [key not in gone for key in keys]
        if all(keep):
            continue
        went += keep.count(False)
        _rewrite(path, table.filter(pa.array(keep)))
    return went


def _rewrite(path: Path, table: pa.Table) -> None:
    if not table.num_rows:
        path.unlink()
        return
    with workshop.workshop(path.parent) as own:
        pq.write_table(table, own / path.name, compression="zstd")
        workshop.sync(own / path.name)
        (own / path.name).replace(path)
