"""The outbox on disk: one folder for each start of a gateway process, under a lock that the kernel drops at its death.

An epoch has a lock, a cursor that the shipper keeps, and numbered segments. Segments are filled with zeros and synced
before the first frame goes in: then a sync has no file size and no block map to write, only the frames, and a disk
that fills up later refuses a new segment, never an outcome that was promised room.
"""

import fcntl
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

SEGMENT: Final = ".seg"
LOCK: Final = "lock"
CURSOR: Final = "cursor"
UNSYNCED: Final = "unsynced"
CURSOR_SLOT_BYTES: Final = 4 * 1024 * 1024
"""A cursor holds every intent without outcome; this is room for some seven thousand."""
UNSYNCED_BYTES: Final = 1024 * 1024
"""Room for outcomes that are on their way to a segment."""
_HIDDEN: Final = "."
_ZEROS: Final = bytes(256 * 1024)


class Epoch(NamedTuple):
    """An epoch this process owns."""

    name: str
    folder: Path
    lock: int
    """File descriptor; the lock ends with it."""


class Segment:
    """A segment file that is being written."""

    __slots__ = ("at", "fd", "path", "size")

    def __init__(self, path: Path, fd: int, *, size: int) -> None:
        self.path = path
        self.fd = fd
        self.size = size
        self.at = 0

    def write(self, data: bytes) -> None:
        """Add at the end, durable when this returns. Raises OSError, and then nothing of it counts."""
        written = os.pwritev(self.fd, [data], self.at, os.RWF_DSYNC)
        if written != len(data):
            message = f"outbox: {self.path}: {written} of {len(data)} bytes written"
            raise OSError(message)
        self.at += written

    def close(self) -> None:
        """No more is written here."""
        os.close(self.fd)


def create(root: Path) -> Epoch:
    """A new epoch, which appears under its name only when it is locked. Raises OSError where there is no room."""
    root.mkdir(parents=True, exist_ok=True)
    name = uuid.uuid4().hex
    hidden = root / f"{_HIDDEN}{name}"
    hidden.mkdir()
    lock = os.open(hidden / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.close(_zeroed(hidden / CURSOR, 2 * CURSOR_SLOT_BYTES))
    os.close(_zeroed(hidden / UNSYNCED, UNSYNCED_BYTES))
    hidden.rename(root / name)
    sync_folder(root)
    return Epoch(name, root / name, lock)


def adopt(folder: Path) -> int | None:
    """The lock of an epoch whose owner is dead; None while it lives."""
    try:
        lock = os.open(folder / LOCK, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def listed(root: Path) -> Iterator[Path]:
    """The folders of all epochs."""
    if root.is_dir():
        yield from sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(_HIDDEN))


def segments(folder: Path) -> list[int]:
    """Numbers of the segments there are; one that is being made has a name that is no number yet."""
    return sorted(int(path.stem) for path in folder.iterdir() if path.suffix == SEGMENT and path.stem.isdecimal())


def segment_path(folder: Path, number: int) -> Path:
    """Where a segment lies."""
    return folder / f"{number:08d}{SEGMENT}"


def taken_bytes(root: Path) -> int:
    """What the segments of all epochs take of the disk; those that are shipped and removed meanwhile take nothing."""
    return sum(_size(path) for folder in listed(root) for path in _inside(folder) if path.suffix == SEGMENT)


def _inside(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except FileNotFoundError:
        return []


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def new_segment(folder: Path, number: int, *, size: int) -> Segment:
    """A segment of zeros, durable under its name. Raises OSError where there is no room."""
    path = segment_path(folder, number)
    hidden = folder / f"{_HIDDEN}{path.name}"
    try:
        fd = _zeroed(hidden, size)
    except OSError:
        hidden.unlink(missing_ok=True)
        raise
    hidden.rename(path)
    sync_folder(folder)
    return Segment(path, fd, size=size)


def remove(folder: Path) -> None:
    """An epoch that is shipped to its end is gone; a name without segments is left for no one to read."""
    for number in segments(folder):
        segment_path(folder, number).unlink()
    shutil.rmtree(folder)


def remove_unborn(root: Path, *, older_than_s: float) -> None:
    """What is left of starts that ended before their epoch had its name."""
    for path in root.iterdir():
        if path.is_dir() and path.name.startswith(_HIDDEN) and time.time() - path.stat().st_mtime > older_than_s:
            lock = adopt(path)
            shutil.rmtree(path)
            if lock is not None:
                os.close(lock)


def sync_folder(folder: Path) -> None:
    """Names made or removed in the folder are durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _zeroed(path: Path, size: int) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        _fill(fd, size)
    except OSError:
        os.close(fd)
        raise
    return fd


def _fill(fd: int, size: int) -> None:
    at = 0
    while at < size:
        at += os.pwrite(fd, _ZEROS[: size - at], at)
    os.fsync(fd)
