"""Versions of datasets on disk. An edge: it reads and writes files.

    datasets/<name>/<version>/manifest.json  card.md  index.jsonl  train.jsonl …
    datasets/<name>/latest                   the version that was made last, and nothing else
    datasets/erasures.jsonl                  users whose rows no version may hold

A version is immutable: a folder that appears whole and is never written again. Erasing a user replaces it by another.
"""

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from dags.core.card import card
from dags.core.manifest import INDEX, FileFacts, Manifest, decode, encode
from dags.edges import workshop

MANIFEST: Final = "manifest.json"
CARD: Final = "card.md"
LATEST: Final = "latest"
_BLOCK_BYTES: Final = 1 << 20


class VersionError(ValueError):
    """Which version, what is wrong with it, and what would be right."""


def publish(datasets: Path, made: Path, *, manifest: Manifest) -> bool:
    """Put a finished version into its place; False where it was there before."""
    (made / MANIFEST).write_bytes(encode(manifest))
    (made / CARD).write_text(card(manifest), encoding="utf-8")
    new = workshop.publish(made, datasets / manifest.name / manifest.version)
    point(datasets, manifest.name, version=manifest.version)
    return new


def point(datasets: Path, name: str, *, version: str) -> None:
    """From now on this is the latest version."""
    workshop.replace(datasets / name / LATEST, f"{version}\n".encode())


def names(datasets: Path) -> list[str]:
    """Every dataset that has a version."""
    return sorted({path.parent.parent.name for path in datasets.glob(f"*/*/{MANIFEST}")})


def versions(datasets: Path, name: str) -> list[str]:
    """Every version of a dataset, the newest last."""
    found = list((datasets / name).glob(f"[!.]*/{MANIFEST}"))
    return [path.parent.name for path in sorted(found, key=lambda path: (path.stat().st_mtime_ns, path.parent.name))]


def latest(datasets: Path, name: str) -> str:
    """The version that was made last; the newest that is there, should that one have been removed."""
    known, pointer = versions(datasets, name), datasets / name / LATEST
    pointed = pointer.read_text(encoding="utf-8").strip() if pointer.is_file() else ""
    return pointed if pointed in known else known[-1]


def resolve(datasets: Path, given: str) -> tuple[str, str]:
    """(name, version) of `name` or `name@version`; a version may be shortened while it is clear."""
    name, _, version = given.partition("@")
    known = versions(datasets, name)
    if not known:
        raise VersionError(f"{datasets} has no dataset {name!r}; datasets are: {', '.join(names(datasets)) or 'none'}")
    version = version or latest(datasets, name)
    found = [one for one in known if one.startswith(version)]
    if len(found) != 1:
        raise VersionError(f"{name} has no version {version!r}; versions are: {', '.join(known)}")
    return name, found[0]


def load(datasets: Path, given: str) -> Manifest:
    """The manifest of a version."""
    name, version = resolve(datasets, given)
    path = datasets / name / version / MANIFEST
    try:
        manifest = decode(path.read_bytes())
    except msgspec.MsgspecError as error:
        raise VersionError(f"{path} cannot be read: {error}; build the version again") from error
    if (manifest.name, manifest.version) != (name, version):
        raise VersionError(f"{path} says it is {manifest.id}; it stands in the folder of {name}@{version}")
    return manifest


def folder(datasets: Path, manifest: Manifest) -> Path:
    """Where a version stands."""
    return datasets / manifest.name / manifest.version


def damage(datasets: Path, manifest: Manifest) -> Iterator[str]:
    """Everything that is not as the manifest says; nothing for a whole version."""
    place = folder(datasets, manifest)
    expected = {MANIFEST, CARD, *(file.path for file in manifest.files)}
    found = {path.name for path in place.iterdir()}
    yield from (f"{manifest.id}: {name} is missing" for name in sorted(expected - found))
    yield from (f"{manifest.id}: {name} is not in the manifest" for name in sorted(found - expected))
    for file in manifest.files:
        if file.path in found and (said := facts(place / file.path, rows=file.rows)) != file:
            yield f"{manifest.id}: {file.path} has {said.size_bytes} bytes and hash {said.sha256}, not {file.sha256}"
    if CARD in found and (place / CARD).read_text(encoding="utf-8") != card(manifest):
        yield f"{manifest.id}: {CARD} is not the card of its manifest"


def facts(path: Path, *, rows: int) -> FileFacts:
    """A file as it is."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return FileFacts(path=path.name, rows=rows, size_bytes=path.stat().st_size, sha256=digest.hexdigest())


def index(datasets: Path, manifest: Manifest) -> Iterator[dict[str, Any]]:
    """Its rows: where each is, whose it is, where it came from."""
    with (folder(datasets, manifest) / INDEX).open("rb") as file:
        for line in file:
            yield msgspec.json.decode(line)


def remove(datasets: Path, manifest: Manifest) -> None:
    """Take a version away: first its name, then its bytes."""
    place = folder(datasets, manifest)
    with workshop.workshop(datasets / manifest.name) as own:
        place.rename(own / "removed")
        workshop.sync(place.parent)
        shutil.rmtree(own / "removed")
