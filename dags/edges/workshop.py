"""Folders that are made beside their place and renamed into it whole, or leave nothing. An edge: it moves files.

A killed process leaves a folder that begins with a dot; the next one takes it away, as nobody holds its lock.
"""

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_UNFINISHED: Final = ".unfinished-"
_LOCK: Final = "lock"
_THERE: Final = frozenset({errno.ENOTEMPTY, errno.EEXIST})


@contextmanager
def workshop(folder: Path) -> Iterator[Path]:
    """A folder of one's own inside `folder`, gone afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=folder))
    try:
        with (place / _LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            _sweep(folder)
            yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Take away what killed processes left."""
    for place in folder.glob(f"{_UNFINISHED}*"):
        try:
            with (place / _LOCK).open("r") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(place, ignore_errors=True)
        except OSError:  # its owner lives, or has not written its lock yet, or has just gone
            continue


def publish(made: Path, place: Path) -> bool:
    """Give a finished folder its name. False where one of that name is there: it stays as it is."""
    for file in made.iterdir():
        sync(file)
    sync(made)
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        made.rename(place)
    except OSError as error:
        if error.errno not in _THERE:
            raise
        return False
    sync(place.parent)
    return True


def replace(path: Path, data: bytes) -> None:
    """Write a small file whole or not at all; of two at once the last stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    partial = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.chmod(0o644)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    sync(path.parent)


def sync(path: Path) -> None:
    """Durable: a file's bytes, a folder's names."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
