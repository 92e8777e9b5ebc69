"""Which rows of the lake count: of all records of one call the greatest, of the texts of one call the one beside it.

Only rows that share a key with another are compared, by `tokenledger.merge`, as the ledger compares them; DuckDB finds
those, on disk where they are many. A row that shares no key is a call by itself.
"""

import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import duckdb
import pyarrow as pa

from tokenledger.merge import Candidate, Resolved, resolve

Dropped = dict[str, set[int]]
"""File → numbers of its rows that do not count."""
Origin = tuple[str, int, int]
"""Raw topic, partition, offset."""


class Row(NamedTuple):
    """A row of a file."""

    file: str
    """Its path."""
    number: int
    """Its number in it, from 0."""


class Rank(NamedTuple):
    """Which call a record belongs to, and how it fared there."""

    call: int
    """Number of the call, among those that have several records."""
    place: int
    """0 is the winner."""


class Choice(NamedTuple):
    """What counts of one tenant's calls."""

    dropped: Dropped
    """Rows that do not."""
    ranks: dict[Origin, Rank]
    """Every record that was compared."""


_ORIGIN: Final = pa.schema([("topic", pa.string()), ("partition", pa.int64()), ("offset", pa.int64())])
_KEYS: Final = """
CREATE OR REPLACE TEMP TABLE keys AS
SELECT tenant_id, event_key, response_key, filename AS file, file_row_number AS number
FROM read_parquet($files, union_by_name = true, filename = true, file_row_number = true)
"""
_REPEATED: Final = """
CREATE OR REPLACE TEMP TABLE repeated AS
SELECT file, number FROM keys WHERE (tenant_id, event_key) IN (
    SELECT (tenant_id, event_key) FROM keys GROUP BY tenant_id, event_key HAVING count(*) > 1
) OR (tenant_id, response_key) IN (
    SELECT (tenant_id, response_key) FROM keys WHERE response_key IS NOT NULL
    GROUP BY tenant_id, response_key HAVING count(*) > 1
)
"""
_RECORDS: Final = """
SELECT r.tenant_id, r.event_key, r.response_key, lower(hex(r.fingerprint)), lower(hex(r.rank)),
    r.append_at_us, r.topic, r.partition, r."offset", r.filename, r.file_row_number
FROM read_parquet($files, union_by_name = true, filename = true, file_row_number = true) r
JOIN repeated ON repeated.file = r.filename AND repeated.number = r.file_row_number
ORDER BY r.priced_partition, r.priced_offset, r.filename
"""
_TEXTS: Final = """
SELECT tenant_id, event_key, topic, partition, "offset", filename, file_row_number
FROM read_parquet($files, union_by_name = true, filename = true, file_row_number = true)
WHERE (tenant_id, event_key) IN (
    SELECT (tenant_id, event_key) FROM read_parquet($files, union_by_name = true)
    GROUP BY tenant_id, event_key HAVING count(*) > 1
) OR (topic, partition, "offset") IN (SELECT (topic, partition, "offset") FROM compared)
ORDER BY topic, partition, "offset", filename
"""


@contextmanager
def engine() -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB that takes little memory and puts the rest on disk."""
    with tempfile.TemporaryDirectory(prefix="tokenledger-lake-") as folder:
        settings: dict[str, Any] = {"memory_limit": "1GB", "threads": 2, "temp_directory": folder}
        connection = duckdb.connect(":memory:", config=settings)
        try:
            yield connection
        finally:
            connection.close()


def choose_calls(connection: duckdb.DuckDBPyConnection, paths: list[Path]) -> Choice:
    """What counts of all records of one tenant."""
    if not paths:
        return Choice({}, {})
    files = {"files": [str(path) for path in paths]}
    connection.execute(_KEYS, files)
    connection.execute(_REPEATED)
    dropped: Dropped = defaultdict(set)
    candidates: list[Candidate[Row]] = []
    seen: set[Origin] = set()
    for record in connection.execute(_RECORDS, files).fetchall():
        row = Row(*record[9:])
        origin: Origin = record[6:9]
        # One raw record priced twice is a re-delivery; as in the ledger, the first stands.
        if origin in seen:
            dropped[row.file].add(row.number)
            continue
        seen.add(origin)
        candidates.append(_candidate(record, row))
    ranks: dict[Origin, Rank] = {}
    for number, call in enumerate(resolve(candidates)):
        _note(call, number, dropped=dropped, ranks=ranks)
    return Choice(dict(dropped), ranks)


def _candidate(record: tuple[Any, ...], row: Row) -> Candidate[Row]:
    tenant_id, event_key, response_key, fingerprint, rank, append_at_us, topic, partition, offset = record[:9]
    return Candidate(
        tenant_id=tenant_id,
        event_key=event_key,
        response_key=response_key,
        fingerprint=fingerprint,
        rank=rank,
        origin=(append_at_us, topic, partition, offset),
        record=row,
    )


def _note(call: Resolved[Row], number: int, *, dropped: Dropped, ranks: dict[Origin, Rank]) -> None:
    for place, one in enumerate((call.winner, *call.losers, *call.duplicates)):
        ranks[one.origin[1:]] = Rank(number, place)
        if place:
            dropped[one.record.file].add(one.record.number)


def choose_texts(connection: duckdb.DuckDBPyConnection, paths: list[Path], ranks: dict[Origin, Rank]) -> Dropped:
    """Texts that do not count: of each call's texts the one beside its winner does, else the next best."""
    if not paths:
        return {}
    columns = zip(*ranks, strict=True) if ranks else ((), (), ())
    arrays = [pa.array(column, kind) for column, kind in zip(columns, _ORIGIN.types, strict=True)]
    connection.register("compared", pa.Table.from_arrays(arrays, schema=_ORIGIN))
    best: dict[tuple[object, ...], tuple[tuple[int, Origin], Row]] = {}
    dropped: Dropped = defaultdict(set)
    for tenant_id, event_key, topic, partition, offset, *row in connection.execute(
        _TEXTS, {"files": [str(path) for path in paths]}
    ).fetchall():
        origin = (topic, partition, offset)
        rank = ranks.get(origin)
        # Texts of one call under several event ids meet by the call; others by their event.
        key = (tenant_id, event_key) if rank is None else (rank.call,)
        mine = (rank.place if rank else 0, origin), Row(*row)
        held = best.get(key)
        if held is None:
            best[key] = mine
            continue
        best[key], loser = (mine, held) if mine[0] < held[0] else (held, mine)
        dropped[loser[1].file].add(loser[1].number)
    return dict(dropped)
