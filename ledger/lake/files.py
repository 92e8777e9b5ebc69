"""Parquet files of the lake on disk: written beside their place, made durable, then renamed into it."""

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from ledger.lake.layout import PARTIAL, TABLES, Place, place_of, standing

_GROUP_ROWS: Final = 65_536
_GROUP_BYTES: Final = 32 << 20
"""A reader holds one row group: few rows of long texts, many of short ones."""


class Staged(NamedTuple):
    """A file that is written and durable, but not yet in its place."""

    path: PurePosixPath
    """Its place, from the lake's root."""
    rows: int
    """Rows in it."""
    size_bytes: int
    """Its size."""


def stage(lake: Path, path: PurePosixPath, *, table: pa.Table) -> Staged:
    """Write the table beside its place. Raises OSError, and leaves nothing, where it cannot."""
    partial = partial_of(lake, path)
    partial.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as undo:
        undo.callback(partial.unlink, missing_ok=True)
        with partial.open("wb") as file:
            write_parquet(table, file)
            file.flush()
            os.fsync(file.fileno())
        undo.pop_all()
    return Staged(path, table.num_rows, partial.stat().st_size)


def write_parquet(table: pa.Table, file: object) -> None:
    """The same table gives the same bytes, as long as the library stays."""
    with pq.ParquetWriter(file, table.schema, compression="zstd", compression_level=3) as writer:
        for group in groups(table):
            writer.write_table(group, row_group_size=len(group) or None)


def groups(table: pa.Table) -> Iterator[pa.Table]:
    """The table in pieces that a reader can hold."""
    rows = len(table)
    if not rows:
        return
    per_row_bytes = max(table.nbytes // rows, 1)
    size = max(min(_GROUP_ROWS, _GROUP_BYTES // per_row_bytes), 1)
    for first in range(0, rows, size):
        yield table.slice(first, size)


def publish(lake: Path, staged: list[PurePosixPath]) -> None:
    """Put staged files into their places; those that already are there stay."""
    for path in staged:
        partial = partial_of(lake, path)
        if partial.exists():
            partial.replace(lake / path)
    for folder in sorted({(lake / path).parent for path in staged}):
        sync_folder(folder)


def partial_of(lake: Path, path: PurePosixPath) -> Path:
    """Where a file stands while it is written."""
    return lake / path.parent / f".{path.name}{PARTIAL}"


def partials(lake: Path) -> list[Path]:
    """What was being written when something ended."""
    return [path for table in TABLES for path in sorted((lake / table).glob(f"*/*/.*{PARTIAL}"))]


def sync_folder(folder: Path) -> None:
    """A rename is durable once its folder is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # file systems that cannot need not
            raise
    finally:
        os.close(handle)


def replace_text(path: Path, text: str) -> None:
    """Write a small file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}{PARTIAL}")
    with ExitStack() as undo:
        undo.callback(partial.unlink, missing_ok=True)
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        undo.pop_all()
    sync_folder(path.parent)


def places(lake: Path, table: str) -> list[Place]:
    """Every folder of a table that is there, by tenant and day."""
    found = (place_of(PurePosixPath(folder.relative_to(lake).as_posix())) for folder in (lake / table).glob("*/*"))
    return sorted(place for place in found if place is not None)


def files_in(lake: Path, place: Place) -> list[Path]:
    """The files of a folder that count, in the order of their records."""
    folder = lake / place.path
    try:
        names = [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return []
    return [folder / name for name in standing(names)]
