"""Which record of one model call counts: identity by two keys, and an order in which exactly one record is greatest.

Re-delivery, re-reading and restating give several records of one call. The result depends only on the set of
records, never on the order or the batches they came in.
"""

from collections.abc import Iterable
from hashlib import sha256
from typing import Final, Generic, NamedTuple, TypeVar

import msgspec

from tokenledger.records.call import Call
from tokenledger.records.priced import PricedCall

T = TypeVar("T")

_encode: Final = msgspec.msgpack.Encoder(order="deterministic").encode

_SOURCES: Final = {"reported": 3, "counted": 2, "estimated": 1}
_FINALITIES: Final = {"aborted": 1, "in_progress": 0}
_FINAL: Final = 2
_LEAVES_MAX: Final = 0xFF
_INT64_MAX: Final = 2**63 - 1


def fingerprint(call: Call) -> str:
    """32 hex digits, equal for two records that say the same about money, time and attribution."""
    # A time taken from the log differs with each delivery, so it is no fact of the call.
    started_at_us = call.started_at_us if call.event_time_source != "append" else None
    event_key = call.event_key if call.response_key is None else None
    return sha256(_encode((event_key, started_at_us, _facts(call)))).hexdigest()[:32]


def _facts(call: Call) -> tuple[object, ...]:
    """Everything that moves money, time or attribution, and everything `rank` reads.

    Equal fingerprints must have equal ranks, or a duplicate that is thrown away could have decided a later comparison.
    The key by event stands in only where there is no key by response, so that re-reading one reply under another event
    id is a duplicate. The order is part of every fingerprint ever written.
    """
    who_asked_what = (
        call.tenant_id, call.response_key, call.operation_id, call.attempt_no, call.attempt_role, call.revision,
        call.environment, call.project, call.feature, call.cost_centre, call.user_id, call.api_key_id,
        call.session_id, call.tags,
        call.provider, call.api, call.host_provider, call.billing_account, call.commitment_id, call.request_model,
        call.response_model, call.deployment_id, call.replica_id, call.engine,
    )  # fmt: skip
    how_it_was_served = (
        call.service_tier_requested, call.service_tier_served, call.processing, call.speed, call.region,
        call.data_region, call.route, call.route_tier, call.prompt_id, call.prompt_version,
        call.stream, call.status, call.http_status, call.cache_hit,
        call.usage, call.input_tokens, call.output_tokens, call.shares, call.usage_source, call.explicit_leaves,
        call.billed_usd_pico, call.kv_token_us,
        call.first_token_at_us, call.ended_at_us, call.token_times_us, call.timings,
    )  # fmt: skip
    # In two, as Python builds a tuple of more than thirty as a list first. What is said of few calls comes last, and
    # only where it is said: the others keep the fingerprint they have.
    facts = who_asked_what + how_it_was_served
    return facts if call.served is None else (*facts, call.served)


def rank(call: Call, fingerprint: str) -> str:
    """68 hex digits whose order is the rule: revision, usage source, finality, explicit leaves, total, fingerprint."""
    revision, leaves = call.revision, call.explicit_leaves
    total = (call.input_tokens or 0) + (call.output_tokens or 0)
    # Beyond these bounds the width would change, and with it the order.
    if not (0 <= revision <= _INT64_MAX and 0 <= leaves <= _LEAVES_MAX and 0 <= total <= _INT64_MAX):
        revision, leaves, total = (
            _bounded(revision, _INT64_MAX),
            _bounded(leaves, _LEAVES_MAX),
            _bounded(total, _INT64_MAX),
        )
    source, finality = _SOURCES.get(call.usage_source, 0), _FINALITIES.get(call.status, _FINAL)
    return f"{(revision << 16 | source << 12 | finality << 8 | leaves) << 64 | total:036x}{fingerprint}"


def _bounded(number: int, most: int) -> int:
    return min(max(number, 0), most)


class Candidate(msgspec.Struct, Generic[T], frozen=True, kw_only=True, gc=False):
    """One record as far as merging looks at it, and the record itself or a pointer to it."""

    tenant_id: str
    """The tenant; keys of two tenants never meet."""
    event_key: str
    """Key by event."""
    response_key: str | None
    """Key by response, where there is one."""
    fingerprint: str
    """Hash of the facts."""
    rank: str
    """Hex text; the greatest counts."""
    origin: tuple[int, str, int, int] = (0, "", 0, 0)
    """Append time, topic, partition, offset: of equal records the first in the log stands for all."""
    record: T
    """Whatever the caller needs back."""


class Resolved(msgspec.Struct, Generic[T], frozen=True, kw_only=True, gc=False):
    """One call: the record that counts, and what became of the others."""

    response_key: str | None
    """The call's response key; None where only an event key is known."""
    winner: Candidate[T]
    """The record that counts."""
    losers: tuple[Candidate[T], ...]
    """Records that say something else and count less, greatest first; one of each fingerprint."""
    duplicates: tuple[Candidate[T], ...]
    """Records that repeat the winner or a loser."""
    id_reuse: bool
    """Whether another call's response key came under one of this call's event keys."""


class Link(NamedTuple):
    """That a response once came under an event key, known without the record that said so."""

    tenant_id: str
    event_key: str
    response_key: str


def candidate(priced: PricedCall) -> Candidate[PricedCall]:
    """A priced call as a candidate."""
    return candidate_for(priced, priced)


def candidate_for(priced: PricedCall, record: T) -> Candidate[T]:
    """A priced call as a candidate that stands for `record`, such as the part of it that is wanted back."""
    call = priced.call
    return Candidate(
        tenant_id=call.tenant_id,
        event_key=call.event_key,
        response_key=call.response_key,
        fingerprint=priced.fingerprint,
        rank=priced.rank,
        origin=(priced.append_at_us, priced.topic, priced.partition, priced.offset),
        record=record,
    )


def resolve(records: Iterable[Candidate[T]], links: Iterable[Link] = ()) -> list[Resolved[T]]:
    """The calls these records tell of, in order of tenant and key.

    Give it all records of the keys concerned, and as links what records that are not kept said about these keys.
    """
    known = list(records)
    responses = _responses(known, links)
    groups: dict[tuple[str, bool, str], list[Candidate[T]]] = {}
    for one in known:
        groups.setdefault(_call_key(one, responses), []).append(one)
    reused = {(tenant_id, True, key) for (tenant_id, _), keys in responses.items() if len(keys) > 1 for key in keys}
    return [_elect(groups[key], key[2] if key[1] else None, id_reuse=key in reused) for key in sorted(groups)]


def _responses(records: Iterable[Candidate[T]], links: Iterable[Link]) -> dict[tuple[str, str], set[str]]:
    """Event key → the response keys that came under it."""
    responses: dict[tuple[str, str], set[str]] = {}
    for link in links:
        responses.setdefault((link.tenant_id, link.event_key), set()).add(link.response_key)
    for one in records:
        if one.response_key is not None:
            responses.setdefault((one.tenant_id, one.event_key), set()).add(one.response_key)
    return responses


def _call_key(one: Candidate[T], responses: dict[tuple[str, str], set[str]]) -> tuple[str, bool, str]:
    """Tenant, whether the call has a response key, and the key."""
    if one.response_key is not None:
        return one.tenant_id, True, one.response_key
    under = responses.get((one.tenant_id, one.event_key))
    return (one.tenant_id, True, min(under)) if under else (one.tenant_id, False, one.event_key)


def _elect(records: list[Candidate[T]], response_key: str | None, *, id_reuse: bool) -> Resolved[T]:
    """The greatest rank wins; of equal fingerprints the first in the log stands, the others are duplicates."""
    standing: dict[str, Candidate[T]] = {}
    duplicates = []
    for one in sorted(records, key=lambda one: one.origin):
        if one.fingerprint in standing:
            duplicates.append(one)
        else:
            standing[one.fingerprint] = one
    winner, *losers = sorted(standing.values(), key=lambda one: one.rank, reverse=True)
    return Resolved(
        response_key=response_key,
        winner=winner,
        losers=tuple(losers),
        duplicates=tuple(duplicates),
        id_reuse=id_reuse,
    )
