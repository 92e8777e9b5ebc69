"""Candidates on their way to being sorted: two Parquet files, written a bounded number of bytes at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from dags.core import duplicates, words
from dags.core.made import Candidate
from dags.core.recipe import Duplicates
from dags.io import batch

_ROWS: Final = 2_048
_BYTES: Final = 16 << 20
_ABOUT: Final = msgspec.json.Encoder(order="deterministic")

MADE: Final = pa.schema(
    [
        *(("n", pa.int64()), ("kind", pa.string()), ("side", pa.string()), ("grp", pa.string())),
        *(("exact", pa.binary()), ("signature", pa.binary()), ("at_us", pa.int64()), ("row_id", pa.string())),
        *(("line", pa.binary()), ("about", pa.binary())),
    ]
)
BANDS: Final = pa.schema(
    [
        *(("kind", pa.string()), ("bucket", pa.int64()), ("at_us", pa.int64()), ("row_id", pa.string())),
        ("n", pa.int64()),
    ]
)


class Rows:
    """A Parquet file that grows by batches of bounded size."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._schema = schema
        self._writer = pq.ParquetWriter(path, schema, compression="zstd", compression_level=1)
        self._rows: list[tuple[Any, ...]] = []
        self._size_bytes = 0

    def add(self, row: tuple[Any, ...], *, size_bytes: int) -> None:
        """One row more."""
        self._rows.append(row)
        self._size_bytes += size_bytes
        if len(self._rows) >= _ROWS or self._size_bytes >= _BYTES:
            self._flush()

    def close(self, *, whole: bool) -> None:
        """End the file; what is still held goes in only where the whole was made."""
        try:
            if whole:
                self._flush()
        finally:
            self._writer.close()

    def _flush(self) -> None:
        self._writer.write_batch(batch(self._rows, self._schema))
        self._rows, self._size_bytes = [], 0


class Candidates:
    """Where candidates are put."""

    def __init__(self, made: Rows, bands: Rows, *, rule: Duplicates) -> None:
        self._made, self._bands, self._rule = made, bands, rule
        self.rows = 0

    def add(self, one: Candidate) -> None:
        """One more; its signature and its bands are made here."""
        about = one.about
        exact = duplicates.fingerprint(one.says)
        found = b""
        if self._rule.threshold < 1:
            signature = duplicates.signature(words.shingles(one.says), self._rule.permutations)
            found = signature.tobytes()
            for bucket in duplicates.buckets(signature, self._rule.threshold):
                self._bands.add((one.kind, bucket, about.started_at_us, about.row_id, self.rows), size_bytes=64)
        self._made.add(
            (
                *(self.rows, one.kind, one.side, about.group, exact, found, about.started_at_us, about.row_id),
                *(one.line, _ABOUT.encode(about)),
            ),
            size_bytes=len(one.line),
        )
        self.rows += 1


@contextmanager
def candidates(folder: Path, rule: Duplicates) -> Iterator[tuple[Candidates, Path, Path]]:
    """Where to put them, and the two files, which are whole afterwards."""
    made, bands = folder / "made.parquet", folder / "bands.parquet"
    with _rows(made, MADE) as made_rows, _rows(bands, BANDS) as band_rows:
        yield Candidates(made_rows, band_rows, rule=rule), made, bands


@contextmanager
def _rows(path: Path, schema: pa.Schema) -> Iterator[Rows]:
    found, whole = Rows(path, schema), False
    try:
        yield found
        whole = True
    finally:
        found.close(whole=whole)
