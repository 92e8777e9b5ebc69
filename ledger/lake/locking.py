"""Who may change the lake while others look at it: readers keep their files from being removed under them."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_ARCHIVE: Final = "_archive_lock"
_CHANGE: Final = "_lock"
_READ: Final = "_readers_lock"
_WAIT_S: Final = 120.0
_LOOK_EVERY_S: Final = 0.05


class LakeError(Exception):
    """The lake is not as the archive left it, not the one that belongs to these topics, or in use."""


@contextmanager
def only_archive(lake: Path) -> Iterator[None]:
    """Nobody else archives into this lake. Raises LakeError where somebody does."""
    lake.mkdir(parents=True, exist_ok=True)
    with (lake / _ARCHIVE).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"{lake}: another archive writes into it; one is enough"
            raise LakeError(message) from None
        yield


@contextmanager
def changing(lake: Path) -> Iterator[None]:
    """Nobody else adds or replaces files meanwhile; waits for whoever does."""
    lake.mkdir(parents=True, exist_ok=True)
    with (lake / _CHANGE).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def reading(lake: Path) -> Iterator[None]:
    """No file is removed meanwhile. A lake that may only be read is read without."""
    try:
        file = (lake / _READ).open("a")
    except OSError:
        yield
        return
    with file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


@contextmanager
def removing(lake: Path) -> Iterator[None]:
    """Nobody reads meanwhile. Raises LakeError where readers do not come to an end."""
    lake.mkdir(parents=True, exist_ok=True)
    with (lake / _READ).open("a") as file:
        end_s = time.monotonic() + _WAIT_S
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end_s:
                    message = f"{lake}: somebody has been reading it for {_WAIT_S:.0f} s; try again when they are done"
                    raise LakeError(message) from None
                time.sleep(_LOOK_EVERY_S)
        yield
