"""Ids that sort by time: UUID version 7."""

import os
import re
import time
from collections.abc import Iterator
from typing import Final

_SANE: Final = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")
_DRAWN: Final = 512
_RANDOM_DIGITS: Final = 19
_VARIANT: Final = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


def _ids() -> Iterator[str]:
    """One id after another; the kernel is asked for random bits once for many, the clock's digits are kept for a ms."""
    now_ms, begin = -1, ""
    while True:
        drawn = os.urandom(_DRAWN * (_RANDOM_DIGITS + 1) // 2).hex()
        for at in range(0, _DRAWN * _RANDOM_DIGITS, _RANDOM_DIGITS):
            if now_ms != (now_ms := time.time_ns() // 1_000_000):
                digits = f"{now_ms:012x}"
                begin = f"{digits[:8]}-{digits[8:]}-7"
            rest = drawn[at : at + _RANDOM_DIGITS]
            yield f"{begin}{rest[:3]}-{_VARIANT[rest[3]]}{rest[4:7]}-{rest[7:]}"


_next_id: Final = _ids().__next__


def new_id() -> str:
    """A fresh UUIDv7. Called on one thread."""
    return _next_id()


def sane(value: bytes | None) -> str | None:
    """An id from outside, if it may stand in a header and a log."""
    return value.decode() if value and _SANE.fullmatch(value) else None
