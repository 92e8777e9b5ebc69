"""How fast a key may go: a bucket that refills evenly, told as one instant. Pure.

The instant (GCRA's theoretical arrival time) is when the bucket will be full again; taking moves it on, time passing
lets it fall behind. A burst may take all of a minute's allowance at once, and no more than that.
"""

from math import ceil
from typing import Final

MINUTE_US: Final = 60_000_000
_ROUNDING_US: Final = 0.5


class Bucket:
    """One allowance a minute. Changes of the limit apply to what is taken from then on."""

    __slots__ = ("full_at_us", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.full_at_us = 0.0

    def take(self, amount: int, now_us: int) -> int | None:
        """Takes it and returns None, or takes nothing and returns after how many µs it would fit."""
        full_at_us = max(self.full_at_us, now_us) + amount * MINUTE_US / self.limit
        wait_us = full_at_us - now_us - MINUTE_US
        # The last of a limit must fit whatever the division rounded.
        if wait_us > _ROUNDING_US:
            return ceil(wait_us - _ROUNDING_US)
        self.full_at_us = full_at_us
        return None

    def give_back(self, amount: int) -> None:
        """Undo a taking, or the part of it that was not used."""
        self.full_at_us -= amount * MINUTE_US / self.limit

    def remaining(self, now_us: int) -> int:
        """What is left to take."""
        missing_us = self.full_at_us - now_us
        if missing_us <= 0:
            return self.limit
        return max(int((MINUTE_US - missing_us) * self.limit / MINUTE_US + 1e-6), 0)

    def reset_us(self, now_us: int) -> int:
        """When it will be full again."""
        return max(int(self.full_at_us - now_us), 0)


def duration(us: int) -> bytes:
    """As OpenAI's rate-limit headers have it: `12ms`, `6.5s`, `1m20s`."""
    if us < 1_000_000:  # noqa: PLR2004 - one second
        return b"%dms" % (-(-us // 1000))
    tenths = -(-us // 100_000)
    minutes, tenths = divmod(tenths, 600)
    seconds = b"%d.%ds" % divmod(tenths, 10) if tenths % 10 else b"%ds" % (tenths // 10)
    return seconds if not minutes else b"%dm%b" % (minutes, seconds)
