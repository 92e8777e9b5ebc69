"""Keeping the lake: small files put together, old days and one person's rows removed. Each may be killed anywhere."""

import shutil
from collections import defaultdict
from collections.abc import Iterator
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ledger.lake import files, manifests, schema
from ledger.lake.erasures import Erased, Erasure, add_erasure
from ledger.lake.held import without_erased
from ledger.lake.layout import CALLS, TABLES, TEXTS, Place, Span, file_name, span_of, tenant_hash
from ledger.lake.locking import changing, removing

_MAX_FILE_BYTES: Final = 256 << 20
_GONE: Final = ".gone-"
_SCHEMAS: Final = {CALLS: schema.CALLS, TEXTS: schema.TEXTS}
_OFFSET: Final = {CALLS: "priced_offset", TEXTS: "offset"}


class Compacted(msgspec.Struct, frozen=True, kw_only=True):
    """What was put together."""

    before: int
    """Files there were."""
    after: int
    """Files there are."""


def compact(lake: Path, *, min_files: int = 2) -> Compacted:
    """Put files of one folder and partition together where there are so many, up to 256 MiB of them into one.

    The new file's records include those of the old, so from its renaming on it counts and they do not.
    """
    before = after = 0
    changed: set[date] = set()
    for place in [place for table in TABLES for place in files.places(lake, table)]:
        with changing(lake):
            paths = files.files_in(lake, place)
            before += len(paths)
            for group in _groups(paths):
                if len(group) >= max(min_files, 2):
                    _put_together(lake, place, group=group)
                    changed.add(place.day)
        _remove_covered(lake, place)
        after += len(files.files_in(lake, place))
    _renew_manifests(lake, changed)
    return Compacted(before=before, after=after)


def _groups(paths: list[Path]) -> Iterator[list[Path]]:
    """Files of one partition that follow one another, as many as one file may hold."""
    group: list[Path] = []
    size_bytes = 0
    for path in paths:
        bytes_more = path.stat().st_size
        if group and (_span(path)[:2] != _span(group[0])[:2] or size_bytes + bytes_more > _MAX_FILE_BYTES):
            yield group
            group, size_bytes = [], 0
        group.append(path)
        size_bytes += bytes_more
    if group:
        yield group


def _span(path: Path) -> Span:
    span = span_of(path.name)
    assert span is not None, "files_in names files of the lake only"  # noqa: S101
    return span


def _put_together(lake: Path, place: Place, *, group: list[Path]) -> None:
    spans = [_span(path) for path in group]
    whole = Span(spans[0].topic, spans[0].partition, spans[0].first, max(span.end for span in spans))
    wanted = _SCHEMAS[place.table]
    table = pa.concat_tables([schema.conformed(pq.ParquetFile(path).read(), wanted) for path in group])
    path = place.path / file_name(whole)
    files.stage(lake, path, table=each_record_once(table, by=_OFFSET[place.table]))
    files.publish(lake, [path])


def each_record_once(table: pa.Table, *, by: str) -> pa.Table:
    """In the order of the log; ranges that were read twice overlap."""
    ordered = table.take(pc.sort_indices(table, sort_keys=[(by, "ascending")]))
    offsets = ordered.column(by).to_pylist()
    first = [index for index, offset in enumerate(offsets) if index == 0 or offset != offsets[index - 1]]
    return ordered if len(first) == len(offsets) else ordered.take(first)


def _remove_covered(lake: Path, place: Place) -> None:
    """Files that no longer count."""
    folder = lake / place.path
    standing = set(files.files_in(lake, place))
    covered = [path for path in folder.glob("*.parquet") if path not in standing and span_of(path.name) is not None]
    if covered:
        with removing(lake), changing(lake):
            for path in covered:
                path.unlink(missing_ok=True)


def retain(lake: Path, *, tables: tuple[str, ...], first_kept: date) -> list[Place]:
    """Remove days before this one; a folder goes whole. What was removed."""
    old = [place for table in tables for place in files.places(lake, table) if place.day < first_kept]
    if old or any(True for _ in _half_removed(lake)):
        with removing(lake), changing(lake):
            for place in old:
                folder = lake / place.path
                folder.rename(folder.with_name(_GONE + folder.name))
            for gone in list(_half_removed(lake)):
                shutil.rmtree(gone)
    _renew_manifests(lake, {place.day for place in old})
    return old


def _half_removed(lake: Path) -> Iterator[Path]:
    for table in TABLES:
        yield from (lake / table).glob(f"*/{_GONE}*")


class Erasing(msgspec.Struct, frozen=True, kw_only=True):
    """What was removed of one person."""

    texts: int
    """Rows of texts that are gone."""
    calls: int
    """Rows of calls that are nobody's now."""
    files: list[str]
    """Files that were written anew, from the lake's root."""


def erase(lake: Path, tenant_id: str, *, user_hash: str, now_us: int) -> Erasing:
    """Remove a data subject's texts and take the user from their calls; costs stay. Calls up to now do not come back.

    Ended half-way, the same again finishes it.
    """
    tenant = tenant_hash(tenant_id)
    erasure = Erasure(tenant=tenant, user_hash=user_hash, erased_at_us=now_us)
    with changing(lake):
        add_erasure(lake, erasure)
    removed: dict[str, int] = defaultdict(int)
    rewritten: list[str] = []
    days = set()
    for place in [place for table in TABLES for place in files.places(lake, table) if place.tenant == tenant]:
        _remove_covered(lake, place)
        with removing(lake), changing(lake):
            for path in files.files_in(lake, place):
                rows = _erase_in(lake, place, path=path, erased=Erased([erasure]))
                if rows:
                    removed[place.table] += rows
                    rewritten.append(path.relative_to(lake).as_posix())
                    days.add(place.day)
    _renew_manifests(lake, days)
    return Erasing(texts=removed[TEXTS], calls=removed[CALLS], files=rewritten)


def _erase_in(lake: Path, place: Place, *, path: Path, erased: Erased) -> int:
    """Write one file anew without the person; how many rows that changed."""
    file = pq.ParquetFile(path)
    seen = file.read(columns=["user_hash", "charged_at_us"])
    rows = sum(
        erased.covers(place.tenant, one, at_us=at)
        for one, at in zip(seen.column("user_hash").to_pylist(), seen.column("charged_at_us").to_pylist(), strict=True)
    )
    if rows:
        kept = without_erased(schema.conformed(file.read(), _SCHEMAS[place.table]), erased, where=place)
        relative = PurePosixPath(path.relative_to(lake).as_posix())
        files.stage(lake, relative, table=kept)
        files.publish(lake, [relative])
    return rows


def _renew_manifests(lake: Path, days: set[date]) -> None:
    """Manifests of days that changed on purpose say what is there now; one of an empty day goes."""
    for day in sorted(days):
        path = manifests.path_of(lake, day)
        if path.exists():
            made = manifests.make(lake, day)
            if made.files:
                manifests.write(lake, made)
            else:
                path.unlink()
