"""A record's rows, made before anyone has asked whether its call is new: most are, and the rest costs little."""

from typing import Generic, TypeVar

import msgspec

from ledger import keys
from ledger.posting import Charge, Poster
from tokenledger.records import PricedCall

S = TypeVar("S")


class Draft(msgspec.Struct, Generic[S], frozen=True, gc=False):
    """What is left of a record once its rows are packed."""

    source: S
    """What it was decoded from; whoever must compare the record decodes it again."""
    topic: str
    """Origin topic."""
    partition: int
    """Origin partition."""
    offset: int
    """Origin offset."""
    append_at_us: int
    """When the log took the raw record, µs UTC."""
    fingerprint: str
    """Hash of the facts."""
    event: bytes
    """Its key by event."""
    response: bytes | None
    """Its key by response."""
    charge: Charge
    """Its rows, if it is charged as it stands."""


def draft(source: S, priced: PricedCall, poster: Poster) -> Draft[S]:
    """The record's rows, should its call be new."""
    return Draft(
        source,
        priced.topic,
        priced.partition,
        priced.offset,
        priced.append_at_us,
        priced.fingerprint,
        *record_keys(priced),
        poster.charge(priced),
    )


def record_keys(priced: PricedCall) -> tuple[bytes, bytes | None]:
    """The keys of a record, by event and by response."""
    call = priced.call
    response_key = call.response_key
    return (
        keys.event_key(call.tenant_id, call.event_key),
        None if response_key is None else keys.response_key(call.tenant_id, response_key),
    )
