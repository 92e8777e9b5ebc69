"""How long a source is usually quiet, learned from its own history, and when that is too long. Pure.

The usual is the second-longest pause of the last two to four weeks: one outage does not teach that outages are normal,
and nights and weekends are learned once they have been seen twice.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

PERIOD_US: Final = 14 * 24 * 3600 * 1_000_000
"""Pauses are kept for this one and the one before it."""
_USUAL: Final = 2
Pauses = tuple[int, ...]
"""The two longest, longest first, µs."""


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """When a source has spoken."""

    records: int
    """Records so far."""
    first_at_us: int
    """When the log took its first, µs UTC."""
    last_at_us: int
    """And its latest."""
    period_at_us: int
    """When the present period of learning began, µs UTC."""
    pauses_us: Pauses = ()
    """The longest pauses of this period."""
    earlier_pauses_us: Pauses = ()
    """The longest of the one before."""


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """How long a source may be quiet."""

    factor: int
    """So many times its usual pause."""
    floor_us: int
    """But never less than this."""
    ceiling_us: int
    """Nor more than this."""
    history_us: int
    """A source that was heard over a shorter time is no regular one yet."""
    records: int
    """Nor is one with fewer records."""


def heard(known: Source | None, append_at_us: Iterable[int]) -> Source:
    """The source with more records, by when the log took them."""
    times = sorted(append_at_us)
    source = known or Source(records=0, first_at_us=times[0], last_at_us=times[0], period_at_us=times[0])
    pauses = [later - earlier for earlier, later in zip((source.last_at_us, *times), times, strict=False)]
    period_at_us, this, earlier = source.period_at_us, source.pauses_us, source.earlier_pauses_us
    for at_us, pause_us in zip(times, pauses, strict=True):
        if at_us - period_at_us >= PERIOD_US:
            earlier = this if at_us - period_at_us < 2 * PERIOD_US else ()
            period_at_us, this = at_us, ()
        if pause_us > 0 and (len(this) < _USUAL or pause_us > this[-1]):
            this = tuple(sorted((*this, pause_us), reverse=True)[:_USUAL])
    return Source(
        records=source.records + len(times),
        first_at_us=min(source.first_at_us, times[0]),
        last_at_us=max(source.last_at_us, times[-1]),
        period_at_us=period_at_us,
        pauses_us=this,
        earlier_pauses_us=earlier,
    )


def usual_us(source: Source) -> int | None:
    """The second-longest pause it made; None while there were not two."""
    pauses = sorted((*source.pauses_us, *source.earlier_pauses_us), reverse=True)
    return pauses[_USUAL - 1] if len(pauses) >= _USUAL else None


def allowed_us(source: Source, patience: Patience) -> int | None:
    """How long it may be quiet; None while that is not known."""
    usual = usual_us(source)
    new = source.records < patience.records or source.last_at_us - source.first_at_us < patience.history_us
    if usual is None or new:
        return None
    return min(max(patience.factor * usual, patience.floor_us), patience.ceiling_us)
