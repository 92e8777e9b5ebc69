"""The history of every feature as Parquet: files that are whole or absent, few however long it runs.

A file's name says its level and when its rows were known. Sixteen files of a level become one of the next, so a year of
half-minutes is some sixty files a view. A crash between the two steps leaves rows twice, which the join does not mind.
"""

import os
import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, get_args, get_type_hints

import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.rows import Row
from tokenledger.records.features import VIEWS, FeatureView

KNOWN_AT: Final = "known_at"
"""When the store knew it: questions about earlier instants must not see it. Feast calls it the created timestamp."""
EVENT_AT: Final = "event_at"
"""When it was true; age and TTL count from it. Feast calls it the event timestamp."""
FILES_OF_A_LEVEL: Final = 16
_INSTANT: Final = pa.timestamp("us", tz="UTC")
_TYPES: Final = {int: pa.int64(), float: pa.float64(), str: pa.string(), bool: pa.bool_()}
_NAME: Final = re.compile(r"(\d)-(\d+)-(\d+)-[0-9a-f]{8}\.parquet")
_DAY_US: Final = 86_400_000_000


class _File(NamedTuple):
    level: int
    first_us: int
    last_us: int
    path: Path


def folder_of(root: Path, view: FeatureView) -> Path:
    """Where a view's history lies."""
    return root / "history" / view.name


def files_of(root: Path, view: FeatureView) -> list[Path]:
    """The files of a view's history, of all levels."""
    folder = folder_of(root, view)
    return [file.path for file in _files(folder)] if folder.is_dir() else []


def schema_of(view: FeatureView) -> pa.Schema:
    """The columns of a view: what names the entity, its features, and two instants."""
    features = [
        pa.field(name, _TYPES[next(kind for kind in get_args(hint) or (hint,) if kind in _TYPES)])
        for name, hint in get_type_hints(view.record).items()
    ]
    keys = [pa.field(name, pa.string(), nullable=False) for name in view.join_keys]
    return pa.schema([*keys, *features, pa.field(EVENT_AT, _INSTANT), pa.field(KNOWN_AT, _INSTANT, nullable=False)])


class History:
    """Adds rows to the history and keeps its files few."""

    def __init__(self, root: Path, *, keep_days: int, views: Sequence[FeatureView] = VIEWS) -> None:
        self._root = root
        self._keep_us = keep_days * _DAY_US
        self._views = {view.name: view for view in views}
        self._schemas = {view.name: schema_of(view) for view in views}

    def prepare(self) -> None:
        """Make the folders; an empty file each, since a reader without any file knows no columns."""
        for name, view in self._views.items():
            folder = folder_of(self._root, view)
            folder.mkdir(parents=True, exist_ok=True)
            for left in folder.glob(".*"):
                left.unlink()
            if not _files(folder):
                self._write(view, [self._schemas[name].empty_table()], level=0, span_us=(0, 0))

    def write(self, rows: Iterable[Row], *, now_us: int) -> None:
        """A file for each view that has rows, then few files of many. Raises OSError when the disk will not."""
        by_view: dict[str, list[Row]] = {}
        for row in rows:
            by_view.setdefault(row.view.name, []).append(row)
        for name, some in by_view.items():
            known_us = [row.known_at_us for row in some]
            self._write(self._views[name], [self._table(name, some)], level=0, span_us=(min(known_us), max(known_us)))
        for name in by_view:
            self._compact(self._views[name], now_us=now_us)

    def _table(self, name: str, rows: Sequence[Row]) -> pa.Table:
        keys = len(self._views[name].join_keys)
        columns: dict[str, list[Any]] = {field: [] for field in self._schemas[name].names}
        names = list(columns)
        for row in rows:
            features = (getattr(row.features, field) for field in names[keys:-2])
            for field, value in zip(names, (*row.entity, *features, row.event_at_us, row.known_at_us), strict=True):
                columns[field].append(value)
        return pa.table(columns, schema=self._schemas[name])

    def _compact(self, view: FeatureView, *, now_us: int) -> None:
        files = _files(folder_of(self._root, view))
        for old in [file for file in files if file.last_us < now_us - self._keep_us]:
            old.path.unlink()
            files.remove(old)
        for level in range(9):
            same = sorted(file for file in files if file.level == level)
            if len(same) >= FILES_OF_A_LEVEL:
                span_us = (min(file.first_us for file in same), max(file.last_us for file in same))
                self._write(view, _tables(same, self._schemas[view.name]), level=level + 1, span_us=span_us)
                for file in same:
                    file.path.unlink()
                files = _files(folder_of(self._root, view))

    def _write(self, view: FeatureView, tables: Iterable[pa.Table], *, level: int, span_us: tuple[int, int]) -> None:
        folder = folder_of(self._root, view)
        name = f"{level}-{span_us[0]}-{span_us[1]}-{uuid.uuid4().hex[:8]}.parquet"
        fresh = folder / f".{name}"
        try:
            with pq.ParquetWriter(fresh, self._schemas[view.name], compression="zstd") as writer:
                for table in tables:
                    writer.write_table(table)
            with fresh.open("rb") as written:
                os.fsync(written.fileno())
            fresh.rename(folder / name)
        finally:
            fresh.unlink(missing_ok=True)


def _files(folder: Path) -> list[_File]:
    found = []
    for path in folder.iterdir():
        if match := _NAME.fullmatch(path.name):
            level, first, last = match.groups()
            found.append(_File(int(level), int(first), int(last), path))
    return found


def _tables(files: Iterable[_File], schema: pa.Schema) -> Iterator[pa.Table]:
    """The rows of the files, in today's columns: one that an older version did not know is null."""
    for file in files:
        table = pq.read_table(file.path)
        columns = [
            table[field.name].cast(field.type) if field.name in table.column_names else pa.nulls(len(table), field.type)
            for field in schema
        ]
        yield pa.table(columns, schema=schema)
