"""Ids that sort by time: UUID version 7."""

import os
import re
import time
from collections.abc import Iterator
from typing import Final

_SANE: Final = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")
_VERSION: Final = 0x7000_8000_0000_0000_0000
_RANDOM: Final = 0x0FFF_3FFF_FFFF_FFFF_FFFF


_DRAWN_BYTES: Final = 10 * 512


def _randoms() -> Iterator[int]:
    """Random bits of one id after another; the kernel is asked once for many."""
    while True:
        drawn = os.urandom(_DRAWN_BYTES)
        for at in range(0, _DRAWN_BYTES, 10):
            yield int.from_bytes(drawn[at : at + 10], "big") & _RANDOM | _VERSION


_next_random: Final = _randoms().__next__


def new_id() -> str:
    """A fresh UUIDv7. Called on one thread."""
    text = f"{time.time_ns() // 1_000_000 << 80 | _next_random():032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def sane(value: bytes | None) -> str | None:
    """An id from outside, if it may stand in a header and a log."""
    return value.decode() if value and _SANE.fullmatch(value) else None
