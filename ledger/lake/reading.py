"""The lake as its readers see it: of all records of one call the one that counts, of its texts the one beside it.

What is wanted is read a row group at a time. Which rows count depends on all of a tenant's records, whenever they were
charged; only their keys are read for that. While a reader reads, no file is removed: read to the end, or close it.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from ledger.lake import files, schema
from ledger.lake.layout import CALLS, TEXTS, Place, Span, day_of, file_name, place, tenant_hash
from ledger.lake.locking import changing, reading
from ledger.lake.resolving import Choice, Dropped, choose_calls, choose_texts, engine
from ledger.lake.schema import PlacedText
from tokenledger.records.texts import CapturedText

_BATCH_ROWS: Final = 1_024
_TEST_TOPIC: Final = "llm.raw.v1"


def texts(
    lake: Path,
    *,
    tenants: Collection[str] | None = None,
    since_us: int | None = None,
    until_us: int | None = None,
) -> Iterator[CapturedText]:
    """Captured texts of calls charged in [since, until), one a call; by tenant, day and place in the log.

    `tenants` are tenants' ids; None is all of them.
    """
    with reading(lake):
        wanted = chosen(lake, TEXTS, tenants=tenants, since_us=since_us, until_us=until_us)
        for tenant, places in groupby(wanted, key=lambda where: where.tenant):
            dropped = _texts_that_count(lake, tenant)
            for where in places:
                for batch in _counting(files.files_in(lake, where), schema.TEXTS, dropped=dropped):
                    yield from schema.texts_of(within(batch, since_us=since_us, until_us=until_us))


def calls(
    lake: Path,
    *,
    tenants: Collection[str] | None = None,
    since_us: int | None = None,
    until_us: int | None = None,
    columns: Sequence[str] | None = None,
) -> Iterator[pa.RecordBatch]:
    """Calls charged in [since, until), each once as the ledger has it; by tenant, day and place in the log.

    `columns` are some of `ledger.lake.schema.CALLS`; None is all of them.
    """
    asked = schema.CALLS.names if columns is None else list(columns)
    unknown = sorted(set(asked) - set(schema.CALLS.names))
    if unknown:
        message = f"lake: no column {unknown[0]!r} of calls; ledger.lake.schema.CALLS names them"
        raise ValueError(message)
    wanted = pa.schema([schema.CALLS.field(name) for name in dict.fromkeys([*asked, "charged_at_us"])])
    with reading(lake):
        places = chosen(lake, CALLS, tenants=tenants, since_us=since_us, until_us=until_us)
        for tenant, group in groupby(places, key=lambda where: where.tenant):
            dropped = calls_that_count(lake, tenant).dropped
            for where in group:
                for batch in _counting(files.files_in(lake, where), wanted, dropped=dropped):
                    yield within(batch, since_us=since_us, until_us=until_us).select(asked)


def calls_that_count(lake: Path, tenant: str) -> Choice:
    """Which records of a tenant (by its hash) are calls."""
    with engine() as connection:
        return choose_calls(connection, _files_of(lake, CALLS, tenant=tenant))


def _texts_that_count(lake: Path, tenant: str) -> Dropped:
    with engine() as connection:
        ranks = choose_calls(connection, _files_of(lake, CALLS, tenant=tenant)).ranks
        return choose_texts(connection, _files_of(lake, TEXTS, tenant=tenant), ranks)


def _files_of(lake: Path, table: str, *, tenant: str) -> list[Path]:
    return [
        path for where in files.places(lake, table) if where.tenant == tenant for path in files.files_in(lake, where)
    ]


def chosen(
    lake: Path,
    table: str,
    *,
    tenants: Collection[str] | None = None,
    since_us: int | None = None,
    until_us: int | None = None,
) -> list[Place]:
    """Folders that may hold rows of these tenants and times."""
    hashes = None if tenants is None else {tenant_hash(tenant) for tenant in tenants}
    return [
        where
        for where in files.places(lake, table)
        if (hashes is None or where.tenant in hashes)
        and (since_us is None or where.day >= day_of(since_us))
        and (until_us is None or where.day <= day_of(until_us - 1))
    ]


def _counting(paths: Iterable[Path], wanted: pa.Schema, *, dropped: Dropped) -> Iterator[pa.RecordBatch]:
    """Rows of these files that count."""
    for path in paths:
        without = dropped.get(str(path))
        first = 0
        for batch in batches(path, wanted):
            rows = range(first, first + len(batch))
            first = rows.stop
            if without and not without.isdisjoint(rows):
                yield batch.filter(pa.array([row not in without for row in rows], pa.bool_()))
            else:
                yield batch


def batches(path: Path, wanted: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Rows of one file with just these columns; what a file of another version lacks is null."""
    with pq.ParquetFile(path) as file:
        known = [name for name in wanted.names if name in file.schema_arrow.names]
        for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=known):
            table = schema.conformed(pa.Table.from_batches([batch]), wanted)
            yield from table.combine_chunks().to_batches()


def within(batch: pa.RecordBatch, *, since_us: int | None, until_us: int | None) -> pa.RecordBatch:
    """The rows that are charged in [since, until)."""
    if since_us is None and until_us is None:
        return batch
    low = -(2**63) if since_us is None else since_us
    high = 2**63 if until_us is None else until_us
    instants = batch.column("charged_at_us").to_pylist()
    return batch.filter(pa.array([low <= instant < high for instant in instants], pa.bool_()))


def write_texts(lake: Path, captured: Iterable[CapturedText], *, first_offset: int = 0, partition: int = 0) -> None:
    """Put texts into the lake as if they had stood on the raw topic from `first_offset` on. For tests and imports."""
    rows = [
        PlacedText(text, text.started_at_us, _TEST_TOPIC, partition, first_offset + n)
        for n, text in enumerate(captured)
    ]
    span = Span(_TEST_TOPIC, partition, first_offset, first_offset + len(rows))
    staged: list[PurePosixPath] = []

    def where_of(row: PlacedText) -> Place:
        return place(TEXTS, row.text.tenant_id, charged_at_us=row.charged_at_us)

    with changing(lake):
        for where, group in groupby(sorted(rows, key=where_of), key=where_of):
            path = where.path / file_name(span)
            files.stage(lake, path, table=schema.texts_table(list(group)))
            staged.append(path)
        files.publish(lake, staged)
