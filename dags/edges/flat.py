"""Calls laid flat, a column for each thing that may drift, where DuckDB can sort and cut them. An edge: it reads files.

Every statement is fixed text; what differs from run to run comes in as rows.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from dags import io
from dags.core import words
from dags.core.attempts import Attempt, read
from tokenledger.records.texts import CapturedText

FLAT: Final = pa.schema(
    [
        *((name, pa.string()) for name in ("tenant_id", "event_key", "feature", "route_tier", "model")),
        *((name, pa.string()) for name in ("finish_reason", "status")),
        *((name, pa.float64()) for name in ("input_tokens", "output_tokens", "ttft_us", "tpot_us", "total_us")),
        *((name, pa.float64()) for name in ("confidence", "familiarity")),
    ]
)
"""A call."""
SHAPES: Final = pa.schema(
    [
        *((name, pa.string()) for name in ("tenant_id", "event_key", "feature")),
        *((name, pa.float64()) for name in ("prompt_chars", "answer_chars", "turns", "tools")),
    ]
)
"""What its texts look like."""

_JOIN: Final = """
CREATE TABLE flat AS
SELECT c.*, s.prompt_chars, s.answer_chars, s.turns, s.tools
FROM calls c LEFT JOIN shapes s ON s.tenant_id = c.tenant_id AND s.event_key = c.event_key
"""
_CUTS: Final = """
SELECT tenant_id, feature, name, quantile_disc(value, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
FROM (
  UNPIVOT flat ON input_tokens, output_tokens, ttft_us, tpot_us, total_us, confidence, familiarity,
    prompt_chars, answer_chars, turns, tools INTO NAME name VALUE value
)
GROUP BY GROUPING SETS ((tenant_id, feature, name), (tenant_id, name))
HAVING grouping(feature) = 1 OR feature IS NOT NULL
"""
_WORDS: Final = """
SELECT tenant_id, of_feature, name, word, count(*)
FROM (
  UNPIVOT (SELECT *, feature AS of_feature FROM flat) ON feature, route_tier, model, finish_reason, status
    INTO NAME name VALUE word
)
WHERE name <> 'feature'
GROUP BY GROUPING SETS ((tenant_id, of_feature, name, word), (tenant_id, name, word))
HAVING grouping(of_feature) = 1 OR of_feature IS NOT NULL
UNION ALL
SELECT tenant_id, NULL, 'feature', feature, count(*) FROM flat WHERE feature IS NOT NULL GROUP BY tenant_id, feature
"""
_ALL: Final = "SELECT * FROM flat"
_ROWS: Final = "SELECT count(*) FROM flat"
_SAMPLE: Final = """
SELECT * FROM flat WHERE tenant_id = ? AND (? IS NULL OR feature = ?)
ORDER BY md5(tenant_id || '/' || event_key) LIMIT ?
"""
_BATCH_ROWS: Final = 32_768


class Flat:
    """The calls of one window."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    @property
    def rows(self) -> int:
        """How many."""
        [(found,)] = self._connection.execute(_ROWS).fetchall()
        return int(found)

    def cuts(self) -> list[tuple[str, str | None, str, list[float]]]:
        """(tenant, feature or None for all, column, deciles)."""
        return self._connection.execute(_CUTS).fetchall()

    def words(self) -> list[tuple[str, str | None, str, str, int]]:
        """(tenant, feature or None for all, column, word, calls)."""
        return self._connection.execute(_WORDS).fetchall()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All of them."""
        with self._connection.cursor() as cursor:
            yield from cursor.sql(_ALL).to_arrow_reader(_BATCH_ROWS)

    def sample(self, tenant_id: str, feature: str | None, *, most: int) -> pa.Table:
        """Some calls of one tenant's feature, the same ones each time."""
        return self._connection.sql(_SAMPLE, params=[tenant_id, feature, feature, most]).to_arrow_table()


@contextmanager
def flat(folder: Path, lake: Path, *, window: io.Window, memory: str) -> Iterator[Flat]:
    """The calls of the window, with what their texts look like where there are texts."""
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": memory,
        "temp_directory": str(folder / "spill"),
        "threads": "2",
    }
    try:
        with duckdb.connect(str(folder / "flat.duckdb"), config=config) as connection:
            with _incoming(connection, _calls(lake, window)):
                connection.execute("CREATE TABLE calls AS SELECT * FROM incoming")
            with _incoming(connection, _shapes(lake, window)):
                connection.execute("CREATE TABLE shapes AS SELECT * FROM incoming")
            connection.execute(_JOIN)
            yield Flat(connection)
    except duckdb.Error as error:
        raise OSError(f"counting in {folder}: {error}") from error


@contextmanager
def _incoming(connection: duckdb.DuckDBPyConnection, rows: pa.RecordBatchReader) -> Iterator[None]:
    """Within, the rows are the table `incoming`, to be read once."""
    connection.register("incoming", rows)
    try:
        yield
    finally:
        connection.unregister("incoming")


def _calls(lake: Path, window: io.Window) -> pa.RecordBatchReader:
    return pa.RecordBatchReader.from_batches(FLAT, map(_laid_flat, io.calls(lake, window=window)))


def _laid_flat(batch: pa.RecordBatch) -> pa.RecordBatch:
    decision = batch.column("decision")
    columns = {
        "model": pc.coalesce(batch.column("response_model"), batch.column("request_model")),
        "confidence": pc.struct_field(decision, "confidence"),
        "familiarity": pc.struct_field(decision, "familiarity"),
    }
    arrays = (columns[field.name] if field.name in columns else batch.column(field.name) for field in FLAT)
    return pa.RecordBatch.from_arrays(
        [array.cast(field.type) for array, field in zip(arrays, FLAT, strict=True)], schema=FLAT
    )


def _shapes(lake: Path, window: io.Window) -> pa.RecordBatchReader:
    return pa.RecordBatchReader.from_batches(SHAPES, _shape_batches(io.texts(lake, tenants=None, window=window)))


def _shape_batches(found: Iterator[CapturedText]) -> Iterator[pa.RecordBatch]:
    rows: list[tuple[Any, ...]] = []
    for text in found:
        attempt = read(text)
        if isinstance(attempt, Attempt):
            rows.append((text.tenant_id, text.event_key, text.feature, *_shape(attempt)))
        if len(rows) == _BATCH_ROWS:
            yield io.batch(rows, SHAPES)
            rows = []
    yield io.batch(rows, SHAPES)


def _shape(attempt: Attempt) -> tuple[float, ...]:
    said = len(words.spoken(attempt.answer or {}))
    return len(words.prompt(attempt.messages)), said, len(attempt.messages), len(attempt.tools or ())
