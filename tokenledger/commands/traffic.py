"""Recorded calls → any amount of traffic, the same for the same seed: tenants, features, repeats, times, duplicates.

A repeat of a call is another call: its event id and its response id are fresh. A duplicate is the same record again.
"""

import heapq
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import accumulate, count
from typing import Final, NamedTuple

import msgspec

from tokenledger.normalise import normalise
from tokenledger.normalise.envelope import ENVELOPE_TYPE
from tokenledger.readers import Found
from tokenledger.records.call import Call

_DUPLICATE_WITHIN: Final = 1000
_LATE_US: Final = (3600 * 1_000_000, 6 * 3600 * 1_000_000)
_ENVELOPE: Final = ENVELOPE_TYPE.encode()
_TIMES: Final = ("started_at_us", "ended_at_us", "first_token_at_us")
_encode: Final = msgspec.json.encode
_fields: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_whole: Final = msgspec.json.Decoder(int).decode
_wholes: Final = msgspec.json.Decoder(list[int]).decode

FEATURES: Final = (
    "chat", "search", "summaries", "support", "translation", "coding", "extraction", "moderation", "email", "reports",
    "onboarding", "recommendations", "voice", "notes", "forecast", "contracts", "tickets", "quality", "research",
    "agent",
)  # fmt: skip


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How recorded calls become traffic."""

    tenants: int = 0
    """Tenants to share the calls among, the first with the most; 0 leaves them."""
    features: int = 0
    """Features to assign; 0 leaves them."""
    repeat: int = 1
    """How often everything is sent."""
    duplicates: float = 0.0
    """Share of records sent a second time."""
    late: float = 0.0
    """Share of records whose event time is one to six hours older than their neighbours'."""
    disorder_us: int = 0
    """Event times are moved back by up to this much."""
    spread_us: int = 0
    """Event times cover this much before `now_us`."""
    now_us: int | None = None
    """Event times are moved to end here; None leaves them."""
    seed: int = 1
    """Same seed, same traffic."""
    epoch: str = ""
    """Records are numbered by source within this epoch, repeats of a record alike; empty leaves them unnumbered."""


class Message(NamedTuple):
    """One record to send."""

    n: int
    """Number in the run, from 0."""
    key: bytes
    """Tenant and event id."""
    value: bytes | None
    """Record."""
    headers: dict[str, bytes]
    """CloudEvents attributes."""


class Template(NamedTuple):
    """A recorded call, taken apart as far as sending it again needs."""

    headers: dict[str, bytes]
    """As recorded."""
    value: bytes | None
    """As recorded."""
    rest: bytes | None
    """The envelope without its times and feature, open for new ones; None where the record is no envelope."""
    response_id: bytes | None
    """The reply's id as JSON text; None where it has none, or it cannot be replaced as text."""
    offsets_us: tuple[tuple[str, int], ...]
    """Times of the envelope, from its start."""
    token_offsets_us: tuple[int, ...]
    """Times of its tokens, from its start."""


def template(found: Found) -> Template:
    """The record taken apart."""
    raw = found.raw
    # A header is text to every consumer, so what is none is mended before it is sent and written down.
    headers = {name: value.decode(errors="replace").encode() for name, value in raw.headers.items()}
    plain = Template(headers, raw.value, None, None, (), ())
    if raw.headers.get("ce_type") != _ENVELOPE or raw.value is None:
        return plain
    try:
        fields = _fields(raw.value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return plain
    call = normalise(raw)
    if not isinstance(call, Call):
        return plain
    times = {name: _whole(fields.pop(name)) for name in _TIMES if name in fields and bytes(fields[name]) != b"null"}
    tokens = _wholes(fields.pop("token_times_us")) if call.token_times_us else []
    fields.pop("feature", None)
    start_us = times.get("started_at_us", min((*times.values(), *tokens), default=0))
    return Template(
        headers,
        raw.value,
        _encode(fields)[1:],
        _encode(call.response_id) if call.response_id else None,
        tuple((name, at_us - start_us) for name, at_us in times.items() if name != "started_at_us"),
        tuple(at_us - start_us for at_us in tokens),
    )


def traffic(templates: Sequence[Template], plan: Plan) -> Iterator[Message]:
    """All templates, `plan.repeat` times, with duplicates among them; numbered in order of sending."""
    for n, record in enumerate(_with_duplicates(_records(templates, plan), plan)):
        yield Message(n, *record)


_Record = tuple[bytes, bytes | None, dict[str, bytes]]


def _with_duplicates(records: Iterable[_Record], plan: Plan) -> Iterator[_Record]:
    chance = random.Random(f"{plan.seed}/duplicates")  # noqa: S311 - traffic, not secrets
    waiting: list[tuple[int, int, _Record]] = []
    for position, record in enumerate(records):
        while waiting and waiting[0][0] <= position:
            yield heapq.heappop(waiting)[2]
        yield record
        if plan.duplicates and chance.random() < plan.duplicates:
            heapq.heappush(waiting, (position + 1 + chance.randrange(_DUPLICATE_WITHIN), position, record))
    yield from (record for _, _, record in sorted(waiting, key=lambda held: held[:2]))


class _Share(NamedTuple):
    """What one call is given in one round."""

    tenant_id: bytes | None
    feature: str | None
    at_us: int | None


def _records(templates: Sequence[Template], plan: Plan) -> Iterator[_Record]:
    share_out = _sharer(plan, total=max(len(templates) * plan.repeat, 1))
    sent: Counter[bytes] = Counter()
    for round_number in range(plan.repeat):
        suffix = f"~{plan.seed}.{round_number}" if round_number else ""
        given: dict[bytes, _Share] = {}
        for recorded in templates:
            headers = dict(recorded.headers)
            # Records of one call, such as polls of one run, belong to one tenant and one time.
            share = given.setdefault(recorded.response_id or headers["ce_id"], share_out())
            headers["ce_id"] += suffix.encode()
            if share.tenant_id is not None:
                headers["ce_tenantid"] = share.tenant_id
            if share.at_us is not None:
                headers["ce_time"] = datetime.fromtimestamp(share.at_us / 1_000_000, UTC).isoformat().encode()
            if plan.epoch:
                sent[source := headers.get("ce_source", b"")] += 1
                headers |= {"ce_sequence": b"%d" % sent[source], "ce_epoch": plan.epoch.encode()}
            value = _value(recorded, suffix, feature=share.feature, at_us=share.at_us)
            yield headers["ce_tenantid"] + b"/" + headers["ce_id"], value, headers


def _sharer(plan: Plan, *, total: int) -> Callable[[], _Share]:
    """The function that gives each record in turn its tenant, feature and time."""
    chance = random.Random(f"{plan.seed}/records")  # noqa: S311 - traffic, not secrets
    shares = list(accumulate(1 / rank for rank in range(1, plan.tenants + 1)))
    position = count(1)

    def share() -> _Share:
        tenant = chance.choices(range(1, plan.tenants + 1), cum_weights=shares)[0] if plan.tenants else 0
        feature = FEATURES[chance.randrange(plan.features) % len(FEATURES)] if plan.features else None
        at_us = _event_time_us(chance, plan, done=next(position), total=total)
        return _Share(f"tenant-{tenant:02}".encode() if tenant else None, feature, at_us)

    return share


def _event_time_us(chance: random.Random, plan: Plan, *, done: int, total: int) -> int | None:
    if plan.now_us is None:
        return None
    at_us = plan.now_us - plan.spread_us + plan.spread_us * done // total
    if plan.disorder_us:
        at_us -= chance.randrange(plan.disorder_us)
    if plan.late and chance.random() < plan.late:
        at_us -= chance.randrange(*_LATE_US)
    return at_us


def _value(recorded: Template, suffix: str, *, feature: str | None, at_us: int | None) -> bytes | None:
    """The record with a fresh response id, another feature, other times; the recorded one where nothing changes."""
    if recorded.rest is None or (not suffix and feature is None and at_us is None):
        return recorded.value
    if feature is None and at_us is None:
        return _with_fresh_id(recorded.value or b"", recorded, suffix=suffix)
    stated = {} if feature is None else {"feature": feature}
    changed: dict[str, object] = stated | _times(recorded, at_us)
    opening = _encode(changed)[:-1]
    rest = _with_fresh_id(recorded.rest, recorded, suffix=suffix)
    return opening + (b"" if rest == b"}" else b",") + rest


def _times(recorded: Template, at_us: int | None) -> dict[str, object]:
    if at_us is None:
        fields = _fields(recorded.value or b"{}")
        return {name: fields[name] for name in (*_TIMES, "token_times_us") if name in fields}
    moved: dict[str, object] = {"started_at_us": at_us}
    moved |= {name: at_us + offset_us for name, offset_us in recorded.offsets_us}
    if recorded.token_offsets_us:
        moved["token_times_us"] = [at_us + offset_us for offset_us in recorded.token_offsets_us]
    return moved


def _with_fresh_id(value: bytes, recorded: Template, *, suffix: str) -> bytes:
    """Every mention of the reply's id is replaced, so that its stream's events still agree."""
    if not suffix or recorded.response_id is None:
        return value
    return value.replace(recorded.response_id, recorded.response_id[:-1] + suffix.encode() + b'"')
