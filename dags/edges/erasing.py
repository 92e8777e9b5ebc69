"""A user's rows, found in every version and gone from it: the version is made again without them, and then removed.

An edge. What is left keeps its bytes and its side: nothing else changes because somebody left. Killed between the two
steps it leaves both versions, and the next run finishes.
"""

from pathlib import Path
from typing import Final

import msgspec

from dags.core.manifest import INDEX, FileFacts, Growth, Manifest, grown_version
from dags.edges import erasures, versions
from dags.edges.erasures import Erasure
from dags.edges.workshop import workshop

_WHY: Final = "erasure"


class Erased(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one version."""

    before: str
    """`name@version` that held rows of the user; it is gone."""
    after: str | None
    """The version without them; None where nothing would be left."""
    rows: int
    """How many rows went."""


def erase(datasets: Path, erasure: Erasure) -> list[Erased]:
    """Remember the request, so that no later build reads the user; then make every version again that holds them."""
    erasures.add(datasets, erasure)
    held = (
        versions.load(datasets, f"{name}@{version}")
        for name in versions.names(datasets)
        for version in versions.versions(datasets, name)
    )
    return [found for one in held if (found := _erase(datasets, one, erasure=erasure)) is not None]


def rows_of(datasets: Path, manifest: Manifest, *, erasure: Erasure) -> dict[str, set[int]]:
    """File → numbers of the user's rows."""
    found: dict[str, set[int]] = {}
    for row in versions.index(datasets, manifest):
        if (row["tenant_id"], row.get("user_hash")) == (erasure.tenant_id, erasure.user_hash):
            found.setdefault(row["file"], set()).add(row["row"])
    return found


def _erase(datasets: Path, manifest: Manifest, *, erasure: Erasure) -> Erased | None:
    gone = rows_of(datasets, manifest, erasure=erasure)
    if not gone:
        return None
    rows = sum(map(len, gone.values()))
    was_latest = versions.latest(datasets, manifest.name)
    after = None if rows == manifest.rows else _made_again(datasets, manifest, gone=gone, rows=rows)
    if after is not None and was_latest != manifest.version:
        versions.point(datasets, manifest.name, version=was_latest)
    versions.remove(datasets, manifest)
    return Erased(before=manifest.id, after=after, rows=rows)


def _made_again(datasets: Path, manifest: Manifest, *, gone: dict[str, set[int]], rows: int) -> str:
    """The version without these rows; its id."""
    place = versions.folder(datasets, manifest)
    with workshop(datasets) as own:
        made = own / "made"
        made.mkdir()
        files = tuple(_file(place, made, file=file, gone=gone) for file in manifest.files)
        after = msgspec.structs.replace(
            manifest,
            version=grown_version(manifest.version, _WHY, files=files),
            growth=Growth(parent=manifest.version, why=_WHY, rows=-rows),
            counts=manifest.counts | {f"rows written: {file.path}": file.rows for file in files if file.path != INDEX},
            files=files,
        )
        versions.publish(datasets, made, manifest=after)
        return after.id


def _file(place: Path, made: Path, *, file: FileFacts, gone: dict[str, set[int]]) -> FileFacts:
    """One file without these rows."""
    if file.path == INDEX:
        rows = _index(place / INDEX, made / INDEX, gone=gone)
    else:
        rows = _lines(place / file.path, made / file.path, gone=gone.get(file.path, set()))
    return versions.facts(made / file.path, rows=rows)


def _lines(before: Path, after: Path, *, gone: set[int]) -> int:
    """Copies the lines whose numbers stay; a table's first line is its header, and no row."""
    header = before.suffix == ".csv"
    rows = 0
    with before.open("rb") as old, after.open("wb") as new:
        for number, line in enumerate(old, 0 if header else 1):
            if number not in gone:
                new.write(line)
                rows += number > 0
    return rows


def _index(before: Path, after: Path, *, gone: dict[str, set[int]]) -> int:
    """Copies what stays, with its new number."""
    numbers: dict[str, int] = {}
    with before.open("rb") as old, after.open("wb") as new:
        for line in old:
            row = msgspec.json.decode(line)
            if row["row"] in gone.get(row["file"], ()):
                continue
            numbers[row["file"]] = numbers.get(row["file"], 0) + 1
            new.write(msgspec.json.encode(row | {"row": numbers[row["file"]]}) + b"\n")
    return sum(numbers.values())
