"""Scores on disk: one Parquet file a tenant and day, read as a stream. An edge: it reads files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

JOINED: Final = pa.schema(
    [
        *(("tenant_id", pa.string()), ("event_key", pa.string())),
        *(("failed", pa.list_(pa.string())), ("checked", pa.list_(pa.string())), ("judge", pa.float64())),
    ]
)
"""What a dataset build needs of a score."""


def reader(folder: Path) -> pa.RecordBatchReader:
    """Every score, in no order."""
    return pa.RecordBatchReader.from_batches(JOINED, _batches(folder))


def _batches(folder: Path) -> Iterator[pa.RecordBatch]:
    for path in sorted(folder.rglob("*.parquet")):
        with pq.ParquetFile(path) as file:
            yield from file.iter_batches(columns=JOINED.names)
