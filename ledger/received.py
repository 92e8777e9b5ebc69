"""What the writer takes from a topic, and what becomes of it. Pure."""

from typing import Protocol

import msgspec

from tokenledger.records import Call, PricedCall, Rejected


class _Call(Call, frozen=True, omit_defaults=True, gc=False):
    """A call whose JSON columns are left as the message has them: the ledger only passes them on."""

    raw_usage: msgspec.Raw = None  # type: ignore[assignment]
    decision: msgspec.Raw = None  # type: ignore[assignment]


class PricedFromWire(PricedCall, frozen=True, omit_defaults=True, gc=False):
    """A record as the writer decodes it."""

    call: _Call


decode_priced = msgspec.json.Decoder(PricedFromWire).decode
"""Value of the priced topic → the record."""


class Placed(Protocol):
    """Something read from a topic, decoded or not."""

    @property
    def topic(self) -> str:
        """Topic it was read from."""

    @property
    def partition(self) -> int:
        """Partition of that topic."""

    @property
    def offset(self) -> int:
        """Offset in that partition."""


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


class FromLog(Protocol):
    """Something that began as a raw record."""

    @property
    def topic(self) -> str:
        """Origin topic."""

    @property
    def partition(self) -> int:
        """Origin partition."""


def of(origins: Origins, record: FromLog) -> Outcomes:
    """The outcomes to count a record in."""
    place = (record.topic, record.partition)
    found = origins.get(place)
    if found is None:
        found = origins[place] = Outcomes()
    return found
