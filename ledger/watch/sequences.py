"""Which of the numbers a producer gave its records have arrived: a set for each epoch, however late or often. Pure.

A producer numbers its records from 1 within an epoch, such as one start of its process, and names the epoch in the
header `ce_epoch`. One that names none is followed all the same: a first number that comes again with another event id
is a restart. That can only be guessed; within `SLACK` numbers it may be told wrongly.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

from ledger.watch.ranges import Ranges, bounded, holds, joined, runs

SLACK: Final = 1_000
"""A producer that names no epoch: its records overtake each other by at most so many."""
MOST_RANGES: Final = 1_000
"""So many ranges of an epoch are kept; beyond, the lowest settled gaps are given up as lost."""
MOST_UNSETTLED: Final = 50_000
"""So many are kept while records may still be on their way: some partitions of the log are read ahead of others."""
_FIRST: Final = 1


class Numbered(NamedTuple):
    """A record that has a number."""

    epoch: str | None
    """As its producer says."""
    number: int
    """Number in the epoch."""
    event_id: str
    """CloudEvents id."""
    append_at_us: int
    """When the log took it, µs UTC."""


class Epoch(msgspec.Struct, frozen=True, kw_only=True):
    """What has arrived of one epoch of a source."""

    epoch: str
    """As its producer names it, or `~1`, `~2`, … in the order of restarts."""
    seen: Ranges
    """Numbers that arrived, and those that were given up."""
    first_no: int | None
    """Where its numbers begin; None where the beginning may have been before anyone looked."""
    first_id: str = ""
    """Event id of the lowest number, by which a restart is told from a repetition."""
    given_up: int = 0
    """Missing numbers that are no longer looked for."""
    settled_no: int = 0
    """What is missing below it will hardly come."""
    first_at_us: int
    """When the log took the first of its records, µs UTC."""
    last_at_us: int
    """And the latest."""

    @property
    def stated(self) -> bool:
        """Whether its producer named it."""
        return not self.epoch.startswith("~")

    @property
    def high(self) -> int:
        """The highest number."""
        return self.seen[-1][1] - 1


Epochs = dict[str, Epoch]
"""By name, in the order of their beginning."""


def fold(known: Epochs, heard: Iterable[Numbered], *, watching_since_us: int) -> Epochs:
    """The epochs of one source with these records; any order, repeated or not, gives the same for stated epochs."""
    found = dict(known)
    ordered = sorted(heard, key=lambda one: (one.append_at_us, one.number))
    stated: dict[str, list[Numbered]] = {}
    for one in ordered:
        if one.epoch is None:
            _follow(found, one)
        else:
            stated.setdefault(one.epoch, []).append(one)
    for name, records in stated.items():
        found[name] = _with(found.get(name), name, records=records, watching_since_us=watching_since_us)
    return found


def _with(epoch: Epoch | None, name: str, *, records: list[Numbered], watching_since_us: int) -> Epoch:
    """An epoch with more of its records."""
    first_at_us, last_at_us = records[0].append_at_us, records[-1].append_at_us
    lowest = min(records, key=lambda one: one.number)
    if epoch is None:
        # Of an epoch that began before anyone looked the first numbers may be long gone from the log.
        whole = first_at_us >= watching_since_us and not name.startswith("~")
        epoch = Epoch(
            epoch=name,
            seen=(),
            first_no=min(_FIRST, lowest.number) if whole else None,
            first_at_us=first_at_us,
            last_at_us=last_at_us,
        )
    seen, given_up = bounded(
        joined(epoch.seen, runs(one.number for one in records)), MOST_RANGES, below=epoch.settled_no
    )
    seen, more = bounded(seen, MOST_UNSETTLED)
    is_lowest = not epoch.seen or lowest.number < epoch.seen[0][0]
    return msgspec.structs.replace(
        epoch,
        seen=seen,
        given_up=epoch.given_up + given_up + more,
        first_no=None if epoch.first_no is None else min(epoch.first_no, seen[0][0]),
        first_id=lowest.event_id if is_lowest else epoch.first_id,
        first_at_us=min(epoch.first_at_us, first_at_us),
        last_at_us=max(epoch.last_at_us, last_at_us),
    )


def _follow(found: Epochs, one: Numbered) -> None:
    """Give a record of no stated epoch to the one it seems to be of."""
    guessed = [epoch for epoch in found.values() if not epoch.stated]
    current = guessed[-1] if guessed else None
    if current is None or _restarts(current, one):
        name = f"~{len(guessed) + 1}" if current is None else f"~{int(current.epoch[1:]) + 1}"
        found[name] = _with(None, name, records=[one], watching_since_us=0)
        return
    before = guessed[-2] if len(guessed) > 1 else None
    late = before is not None and one.number > current.high + SLACK and one.number <= before.high + SLACK
    epoch = before if late and before is not None else current
    found[epoch.epoch] = _with(epoch, epoch.epoch, records=[one], watching_since_us=0)


def _restarts(current: Epoch, one: Numbered) -> bool:
    if one.number > _FIRST or one.event_id == current.first_id:
        return False
    lowest = current.seen[0][0]
    return holds(current.seen, one.number) or (lowest > _FIRST and current.high - one.number >= SLACK)
