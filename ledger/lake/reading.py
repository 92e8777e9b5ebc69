"""The lake as its readers see it: of all records of one call the one that counts, of its texts the one beside it."""

from collections.abc import Collection, Iterable, Iterator
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from ledger.lake import files, schema
from ledger.lake.layout import TEXTS, Place, Span, day_of, file_name, place, tenant_hash
from ledger.lake.schema import PlacedText
from tokenledger.records.texts import CapturedText

_BATCH_ROWS: Final = 1_024
TEST_TOPIC: Final = "llm.raw.v1"


def texts(
    lake: Path,
    *,
    tenants: Collection[str] | None = None,
    since_us: int | None = None,
    until_us: int | None = None,
) -> Iterator[CapturedText]:
    """Captured texts of calls charged in [since, until), one a call; by tenant, day and place in the log.

    `tenants` are tenants' ids; None is all of them. One row group is held at a time.
    """
    for where in chosen(lake, TEXTS, tenants=tenants, since_us=since_us, until_us=until_us):
        for path in files.files_in(lake, where):
            for batch in batches(path, schema.TEXTS):
                yield from schema.texts_of(within(batch, since_us=since_us, until_us=until_us))


def chosen(
    lake: Path,
    table: str,
    *,
    tenants: Collection[str] | None,
    since_us: int | None,
    until_us: int | None,
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


def batches(path: Path, wanted: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Rows of one file with just these columns."""
    with pq.ParquetFile(path) as file:
        known = [name for name in wanted.names if name in file.schema_arrow.names]
        for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=known):
            table = schema.conformed(pa.Table.from_batches([batch]), wanted)
            yield from table.combine_chunks().to_batches()


def within(batch: pa.RecordBatch, *, since_us: int | None, until_us: int | None) -> pa.RecordBatch:
    """The rows that are charged in [since, until)."""
    if since_us is None and until_us is None:
        return batch
    instants = batch.column("charged_at_us").to_pylist()
    low = -(2**63) if since_us is None else since_us
    high = 2**63 if until_us is None else until_us
    return batch.filter(pa.array([low <= instant < high for instant in instants], pa.bool_()))


def write_texts(lake: Path, captured: Iterable[CapturedText], *, first_offset: int = 0, partition: int = 0) -> None:
    """Put texts into the lake as if they had stood on the raw topic from `first_offset` on. For tests and imports."""
    rows = [
        PlacedText(text, text.started_at_us, TEST_TOPIC, partition, first_offset + n) for n, text in enumerate(captured)
    ]
    span = Span(TEST_TOPIC, partition, first_offset, first_offset + len(rows))
    staged: list[PurePosixPath] = []

    def where_of(row: PlacedText) -> Place:
        return place(TEXTS, row.text.tenant_id, charged_at_us=row.charged_at_us)

    for where, group in groupby(sorted(rows, key=where_of), key=where_of):
        path = where.path / file_name(span)
        files.stage(lake, path, table=schema.texts_table(list(group)))
        staged.append(path)
    files.publish(lake, staged)
