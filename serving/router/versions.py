"""Model versions on disk, and which one serves. An edge: it reads and writes files.

    models/<version>/card.json     tiers, calibration, strangeness
    models/<version>/arrays.npz    weights; loaded without pickle
    models/<version>/report.json   what it achieved when it was trained
    models/promoted                the version that serves, and nothing else

A version's name is the hash of its content, and what is loaded is hashed again.
"""

import os
import shutil
import zipfile
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from serving.router.features import BUCKETS
from serving.router.model import FORMAT, Arrays, Card, Model
from serving.router.training import version_of

_POINTER: Final = "promoted"
_CARD: Final = "card.json"
_ARRAYS: Final = "arrays.npz"
_REPORT: Final = "report.json"
_SPARSE: Final = ("idf", "weights")
"""Arrays with a row per bucket, of which only those that training kept are stored."""


class VersionError(ValueError):
    """Which version, what is wrong with it, and what to do."""


def save(folder: Path, model: Model, report: dict[str, Any]) -> Path:
    """Writes a version; one that is there already is left as it is. A crash leaves no half of one under its name."""
    place = folder / model.version
    if place.exists():
        return place
    unfinished = folder / f".{model.version}.{os.getpid()}"
    unfinished.mkdir(parents=True)
    try:
        (unfinished / _CARD).write_bytes(msgspec.json.format(msgspec.json.encode(model.card)) + b"\n")
        (unfinished / _REPORT).write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
        _store(unfinished / _ARRAYS, model.arrays)
        unfinished.rename(place)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return place


def _store(path: Path, arrays: Arrays) -> None:
    kept = np.flatnonzero(arrays.idf)
    stored = {
        name: getattr(arrays, name)[kept] if name in _SPARSE else getattr(arrays, name)
        for name in arrays.__struct_fields__
    }
    np.savez_compressed(path, buckets=kept.astype(np.int32), allow_pickle=False, **stored)


def load(folder: Path, version: str) -> Model:
    """A version, whole and unchanged; raises VersionError."""
    place = folder / version
    if not (place / _CARD).is_file():
        known = ", ".join(versions(folder)) or "none"
        raise VersionError(f"{folder} has no version {version!r}; versions are: {known}")
    try:
        card = msgspec.json.decode((place / _CARD).read_bytes(), type=Card)
        arrays = _restored(place / _ARRAYS)
    except (msgspec.MsgspecError, zipfile.BadZipFile, EOFError, OSError, ValueError, KeyError, IndexError) as error:
        raise VersionError(f"{place} cannot be read: {error}; train it again") from error
    if card.format != FORMAT:
        raise VersionError(f"{place} has format {card.format}, this program reads {FORMAT}; train it again")
    if (found := version_of(card, arrays)) != version:
        raise VersionError(f"{place} holds {found}: it was changed after training; train it again")
    return Model(version=version, card=card, arrays=arrays)


def _restored(path: Path) -> Arrays:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        kept = stored["buckets"]
        whole = {}
        for name in Arrays.__struct_fields__:
            array = stored[name]
            if name in _SPARSE:
                array = np.zeros((BUCKETS, *array.shape[1:]), dtype=array.dtype)
                array[kept] = stored[name]
            whole[name] = array
    return Arrays(**whole)


def report(folder: Path, version: str) -> dict[str, Any]:
    """What it achieved when it was trained."""
    found: dict[str, Any] = msgspec.json.decode((folder / version / _REPORT).read_bytes())
    return found


def versions(folder: Path) -> list[str]:
    """Every version, the newest last."""
    found = [place for place in folder.glob("[!.]*") if (place / _CARD).is_file()]
    return [place.name for place in sorted(found, key=lambda place: (place.stat().st_mtime_ns, place.name))]


def promote(folder: Path, version: str) -> None:
    """From now on this version serves. A reader sees the old one or the new one, never half a name."""
    load(folder, version)
    pointer = folder / f".{_POINTER}.{os.getpid()}"
    with pointer.open("w", encoding="utf-8") as file:
        file.write(version + "\n")
        file.flush()
        os.fsync(file.fileno())
    pointer.replace(folder / _POINTER)


def promoted(folder: Path) -> str | None:
    """The version that serves; None where none was promoted."""
    try:
        return (folder / _POINTER).read_text(encoding="utf-8").strip() or None
    except FileNotFoundError:
        return None
