"""What new records change about calls that are in the ledger. Pure: records and calls in, differences out."""

from collections.abc import Iterable

import msgspec

from ledger.charging import charged_at_us, time_depends_on_delivery
from ledger.posting import Charged
from tokenledger.merge import Candidate, Link, Resolved, candidate, resolve
from tokenledger.records import PricedCall


class Existing(msgspec.Struct, frozen=True, kw_only=True):
    """A call as the ledger has it."""

    charged: Charged
    """Its place in the books."""
    id_reuse: bool
    """Whether it is flagged."""
    winner: PricedCall
    """The record that counts."""
    witnesses: tuple[PricedCall, ...]
    """The others that were kept."""

    @property
    def response_key(self) -> str | None:
        """The call's response key; its winner may be a record that does not know it."""
        keys = (record.call.response_key for record in (self.winner, *self.witnesses))
        return next((key for key in keys if key is not None), None)


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A record under comparison, and whether the ledger has it."""

    priced: PricedCall
    """The record."""
    call_id: int | None = None
    """The call that has it now; None for a new record."""
    won: bool = False
    """Whether it is that call's winner."""


class Amendment(msgspec.Struct, frozen=True, kw_only=True):
    """One call after the comparison."""

    existing: Existing | None
    """The call it was, if it was there."""
    response_key: str | None
    """Its response key, where one is known."""
    id_reuse: bool
    """Whether it is flagged."""
    winner: PricedCall
    """The record that counts now."""
    recharge: bool
    """Whether it must be charged anew."""
    losers: tuple[PricedCall, ...]
    """The records kept beside it."""
    records: tuple[PricedCall, ...]
    """All records of it that were compared, for their keys."""


class Amended(msgspec.Struct, frozen=True, kw_only=True):
    """The whole comparison."""

    amendments: list[Amendment]
    """Every call that is."""
    dissolved: list[Existing]
    """Calls that are no more: their records belong to another call."""
    moves: list[tuple[PricedCall, str, int]]
    """Record, outcome by its field name, and change of the count."""


def links(existing: Iterable[Existing]) -> list[Link]:
    """What the ledger knows by keeping a record without response key in a call that has one."""
    return [
        Link(record.call.tenant_id, record.call.event_key, call.response_key)
        for call in existing
        if call.response_key is not None
        for record in (call.winner, *call.witnesses)
        if record.call.response_key is None
    ]


def amended(existing: list[Existing], new: Iterable[PricedCall], known: Iterable[Link]) -> Amended:
    """Compare new records with the calls they touch; `known` is what the ledger's keys say about them."""
    members = [Member(priced=priced) for priced in new]
    for call in existing:
        members.append(Member(priced=call.winner, call_id=call.charged.call_id, won=True))
        members += [Member(priced=witness, call_id=call.charged.call_id) for witness in call.witnesses]
    resolved = resolve([_candidate(member) for member in members], [*links(existing), *known])
    places = {_place(call): call for call in existing}
    found = [(one, places.pop(_place_of(one), None)) for one in resolved]
    return Amended(
        amendments=[_amendment(one, call) for one, call in found],
        dissolved=list(places.values()),
        moves=[move for one, _ in found for move in _moves(one)],
    )


def read_again(call: Existing, again: dict[str, PricedCall]) -> Amended:
    """The call once records of it were read again, each under the fingerprint it had: another of them may count."""
    members = [
        Member(priced=again.get(one.fingerprint, one), call_id=call.charged.call_id, won=one is call.winner)
        for one in (call.winner, *call.witnesses)
    ]
    [resolved] = resolve([_candidate(member) for member in members], links([call]))
    amendment = msgspec.structs.replace(_amendment(resolved, call), recharge=True)
    return Amended(amendments=[amendment], dissolved=[], moves=list(_moves(resolved)))


def _candidate(member: Member) -> Candidate[Member]:
    """What is in the ledger stands before an equal record, unless its time is that of its delivery."""
    plain = candidate(member.priced)
    stands = member.call_id is not None and not time_depends_on_delivery(member.priced)
    return Candidate(
        tenant_id=plain.tenant_id,
        event_key=plain.event_key,
        response_key=plain.response_key,
        fingerprint=plain.fingerprint,
        rank=plain.rank,
        origin=(-1, *plain.origin[1:]) if stands else plain.origin,
        record=member,
    )


def _place(call: Existing) -> tuple[str, bool, str]:
    tenant_id, response_key = call.winner.call.tenant_id, call.response_key
    return (tenant_id, False, call.winner.call.event_key) if response_key is None else (tenant_id, True, response_key)


def _place_of(one: Resolved[Member]) -> tuple[str, bool, str]:
    tenant_id, response_key = one.winner.tenant_id, one.response_key
    return (tenant_id, False, one.winner.event_key) if response_key is None else (tenant_id, True, response_key)


def _amendment(one: Resolved[Member], call: Existing | None) -> Amendment:
    winner = one.winner.record.priced
    return Amendment(
        existing=call,
        response_key=one.response_key,
        id_reuse=one.id_reuse or (call is not None and call.id_reuse),
        winner=winner,
        recharge=call is None
        or winner.fingerprint != call.winner.fingerprint
        or charged_at_us(winner) != call.charged.charged_at_us,
        losers=tuple(loser.record.priced for loser in one.losers),
        records=tuple(other.record.priced for other in (one.winner, *one.losers, *one.duplicates)),
    )


def _moves(one: Resolved[Member]) -> list[tuple[PricedCall, str, int]]:
    """Where each record was counted, and where it counts now."""
    now = [(one.winner, "winners"), *((other, "losers") for other in one.losers)]
    now += [(other, "duplicates") for other in one.duplicates]
    moves = []
    for other, outcome in now:
        member = other.record
        before = None if member.call_id is None else "winners" if member.won else "losers"
        if before != outcome:
            moves.append((member.priced, outcome, 1))
            moves += [] if before is None else [(member.priced, before, -1)]
    return moves
