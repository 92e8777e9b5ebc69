"""What the writer takes from a topic, and what becomes of it. Pure."""

import msgspec

from tokenledger.records import PricedCall, Rejected


class Received(msgspec.Struct, frozen=True, gc=False):
    """One record of the priced or the rejected topic."""

    topic: str
    """Topic it was read from."""
    partition: int
    """Partition of that topic."""
    offset: int
    """Offset in that partition."""
    record: PricedCall | Rejected
    """What it says."""


class Outcomes(msgspec.Struct):
    """How many raw records of one partition became what; a later record can move one from winner to loser."""

    winners: int = 0
    losers: int = 0
    duplicates: int = 0
    rejected: int = 0
    redelivered: int = 0


Origins = dict[tuple[str, int], Outcomes]
"""Outcomes per raw topic and partition."""


def of(origins: Origins, record: PricedCall | Rejected) -> Outcomes:
    """The outcomes to count a record in."""
    place = (record.topic, record.partition)
    found = origins.get(place)
    if found is None:
        found = origins[place] = Outcomes()
    return found
