"""One row of the price book: an exact rate, and everything that must be true of a call for it to apply.

A rate is two integers, `pico` USD per `per` units, so the book never rounds. Rows hold no wildcards: two rows of one
key never hold for the same call, which `overlap` decides.
"""

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Final

import msgspec

PICO_PER_USD: Final = 10**12
DAY_US: Final = 86_400_000_000
WEEK_US: Final = 7 * DAY_US
BEGIN_US: Final = 0
"""Where validity begins when no start is stated: 1970, before any call."""
END_US: Final = 253_402_300_800_000_000
"""Where validity ends when no end is stated: the year 10000."""
NO_LIMIT: Final = 2**63 - 1
"""Above every count of tokens."""
BASE_TIER: Final = -1
"""`above_tokens` of the tier that starts at nothing, so that a total of 0 lies in it."""
WHOLE_WEEK: Final = ((0, WEEK_US),)
# 1970-01-01 was a Thursday; windows count from Monday 00:00 UTC.
_EPOCH_IN_WEEK_US: Final = 3 * DAY_US
_MAX_INT64: Final = 2**63 - 1

Windows = tuple[tuple[int, int], ...]
"""Disjoint, sorted [start, end) in µs since Monday 00:00 UTC."""

Conditions = tuple[str, str, str, str]
"""Values of `CONDITION_NAMES`, "" where the row asks for none."""

CONDITION_NAMES: Final = ("processing", "service_tier", "region", "speed")
"""The order in which conditions are dropped when no row has all of them."""
NO_CONDITIONS: Final[Conditions] = ("", "", "", "")

CONTRACT: Final = "contract"
OWN: Final = "own"
CATALOGUE: Final = "catalogue"
LAYERS: Final = (CONTRACT, OWN, CATALOGUE)
"""In the order they are asked."""


class Row(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One rate and when it applies."""

    layer: str
    """`contract`, `own` or `catalogue`."""
    scope: str = ""
    """Tenant of a contract row; empty for all."""
    provider: str
    """Provider, by the book's name."""
    model: str
    """Model, by the book's name."""
    meter: str
    """What is priced."""
    conditions: Conditions = NO_CONDITIONS
    """Processing, service tier, region and speed the row asks for."""
    above_tokens: int = BASE_TIER
    """The request's total input must exceed this."""
    upto_tokens: int = NO_LIMIT
    """The request's total input may not exceed this."""
    windows: Windows = WHOLE_WEEK
    """Parts of the week in which the row applies."""
    valid_from_us: int = BEGIN_US
    """First instant priced."""
    valid_to_us: int = END_US
    """First instant no longer priced."""
    known_from_us: int = BEGIN_US
    """When the price became known."""
    known_to_us: int = END_US
    """When it was withdrawn."""
    list_pico: int
    """List rate: pico-USD per `list_per` units."""
    list_per: int = 1
    """Units the list rate is for."""
    minimum_quantity: int = 0
    """Least quantity that is billed for a call that used any."""
    note: str = ""
    """A word for people: where the row comes from."""

    @property
    def price_id(self) -> str:
        """Names the rate: equal in every book that holds it."""
        return _digest(
            self.layer, self.scope, self.provider, self.model, self.meter, *self.conditions,
            self.above_tokens, self.upto_tokens, self.windows, self.valid_from_us,
            self.list_pico, self.list_per, self.minimum_quantity,
        )  # fmt: skip

    @property
    def key(self) -> tuple[str, str, str, str, str, Conditions]:
        """What rows must share to compete for one call."""
        return (self.layer, self.scope, self.provider, self.model, self.meter, self.conditions)


def digest(*parts: object) -> str:
    """16 hex digits that depend on every part."""
    return _digest(*parts)


def _digest(*parts: object) -> str:
    return hashlib.sha256("\x1f".join(map(str, parts)).encode()).hexdigest()[:16]


@lru_cache(maxsize=8192)
def exact_rate(price_usd: Decimal, units: int) -> tuple[int, int]:
    """`price_usd` per `units` as (pico, per) in lowest terms; exact for every decimal.

    Raises ValueError where it is negative, not a number or too large for int64.
    """
    if not price_usd.is_finite() or price_usd < 0:
        message = f"price {price_usd}: not a price; state a decimal number of US dollars, 0 or more"
        raise ValueError(message)
    rate = Fraction(price_usd) * PICO_PER_USD / units
    if max(rate.numerator, rate.denominator) > _MAX_INT64:
        message = f"price {price_usd} per {units} units: too large or too finely divided for 64-bit integers"
        raise ValueError(message)
    return rate.numerator, rate.denominator


def time_of_week_us(at_us: int) -> int:
    """Microseconds since Monday 00:00 UTC."""
    return (at_us + _EPOCH_IN_WEEK_US) % WEEK_US


def date_text(at_us: int) -> str:
    """`2026-01-31`, with the time where it is not midnight UTC."""
    at = datetime.fromtimestamp(at_us // 10**6, tz=UTC)
    return f"{at:%Y-%m-%d}" if at_us % DAY_US == 0 else f"{at:%Y-%m-%dT%H:%M:%SZ}"


def merge_windows(windows: Iterable[tuple[int, int]]) -> Windows:
    """Sorted, touching windows joined."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(windows):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return tuple(merged)


def daily_windows(spans: Iterable[tuple[int, int]]) -> Windows:
    """The same spans of µs since midnight UTC on each day of the week."""
    return merge_windows((day * DAY_US + start, day * DAY_US + end) for start, end in spans for day in range(7))


def applies(row: Row, at_us: int, week_us: int, input_total_tokens: int) -> bool:
    """Whether validity, window and tier of the row hold."""
    return (
        row.valid_from_us <= at_us < row.valid_to_us
        and row.above_tokens < input_total_tokens <= row.upto_tokens
        and any(start <= week_us < end for start, end in row.windows)
    )


def overlap(one: Row, other: Row) -> bool:
    """Whether both rows, of one key, could hold for one call as known at one time."""
    return (
        max(one.valid_from_us, other.valid_from_us) < min(one.valid_to_us, other.valid_to_us)
        and max(one.known_from_us, other.known_from_us) < min(one.known_to_us, other.known_to_us)
        and max(one.above_tokens, other.above_tokens) < min(one.upto_tokens, other.upto_tokens)
        and any(max(a, c) < min(b, d) for a, b in one.windows for c, d in other.windows)
    )
