"""Traffic by the minute: which windows a priced call counts in, how windows merge, and what they say as features.

A call counts in the minute in which it ended, once for its model and once for its product feature. Counts only add, so
windows merge in any order and grouping. Records that another one supersedes are not known here: spend is the ledger's.
"""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from tokenledger.histogram import bucket, merge, quantile_us
from tokenledger.records.call import Call
from tokenledger.records.features import MINUTE_US, FeatureWindow, TrafficFeatures
from tokenledger.records.priced import Latency, PricedCall

OLDEST_US: Final = 400 * 24 * 3600 * 1_000_000
"""A call that ended longer than this before the log took it is taken to have ended then."""
FURTHEST_US: Final = 5 * MINUTE_US
"""The same for one that ended longer than this after."""
_GREATEST: Final = 2**63 - 1


class _Call(msgspec.Struct, frozen=True, gc=False):
    """The fields of a Call that windows need, under its names; the rest is skipped unread."""

    tenant_id: str
    provider: str
    started_at_us: int
    usage: dict[str, int]
    feature: str | None = None
    request_model: str | None = None
    response_model: str | None = None
    attempt_role: str | None = None
    served: bool | None = None
    status: str = "ok"
    http_status: int | None = None
    error_type: str | None = None
    cache_hit: bool | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    ended_at_us: int | None = None


class _Latency(msgspec.Struct, frozen=True, gc=False):
    total_us: int | None = None
    ttft_us: int | None = None
    tpot_us: int | None = None


class EndedCall(msgspec.Struct, frozen=True, gc=False):
    """What windows need of a PricedCall."""

    call: _Call
    price_status: str
    cost_usd_pico: int | None = None
    known_cost_usd_pico: int = 0
    priced_model: str | None = None
    latency: _Latency | None = None
    append_at_us: int = 0


decode_ended: Final = msgspec.json.Decoder(EndedCall).decode
"""A record of `llm.priced.v1`, as far as windows need it; msgspec.MsgspecError for what is none."""

Ended = EndedCall | PricedCall
"""Either is counted; reading the smaller one costs less."""

Entity = tuple[str, str, str]
"""`model`, provider, model; or `feature`, tenant, product feature."""


class Tally(msgspec.Struct, array_like=True):
    """Counts being made; fields as in FeatureWindow. Kept as state: a new field goes to the end, with a default."""

    calls: int = 0
    errors: int = 0
    rate_limited: int = 0
    timeouts: int = 0
    aborted: int = 0
    cache_hits: int = 0
    escalations: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    known_cost_usd_pico: int = 0
    incomplete_calls: int = 0
    total_us: dict[int, int] = {}
    ttft_us: dict[int, int] = {}
    tpot_us: dict[int, int] = {}
    clamped_calls: int = 0
    late_calls: int = 0
    expired_calls: int = 0

    @property
    def revision(self) -> int:
        """Everything counted: it grows with each call, so of two tellings the greater knows more."""
        return self.calls + self.expired_calls


def entities(priced: Ended) -> tuple[Entity, ...]:
    """What the call counts for; nothing while it is in progress."""
    call = priced.call
    if call.status == "in_progress":
        return ()
    model = priced.priced_model or call.response_model or call.request_model or ""
    return ("model", call.provider, model), ("feature", call.tenant_id, call.feature or "")


def ended_at(priced: Ended) -> tuple[int, bool]:
    """When the call ended, µs UTC, and whether that was beyond belief and the log's time was taken instead."""
    call, latency, append_at_us = priced.call, priced.latency, priced.append_at_us
    at_us = call.ended_at_us
    if at_us is None:
        at_us = call.started_at_us + ((latency.total_us if latency else None) or 0)
    if append_at_us and not append_at_us - OLDEST_US <= at_us <= append_at_us + FURTHEST_US:
        return append_at_us, True
    return at_us, False


def window_start(at_us: int) -> int:
    """Start of the minute in which an instant lies."""
    return at_us - at_us % MINUTE_US


def add(priced: Ended, *tallies: Tally) -> None:
    """Count the call in each of them."""
    call, latency = priced.call, priced.latency
    cached = sum([quantity for meter, quantity in call.usage.items() if meter.endswith(".cache_read")])
    # How fast a cache was says nothing of the model whose answer it gave again.
    buckets = _buckets(latency) if latency is not None and not call.cache_hit else _UNMEASURED
    for tally in tallies:
        tally.calls += 1
        if call.status != "ok":
            _add_outcome(call, tally)
        if call.cache_hit:
            tally.cache_hits += 1
        if call.attempt_role == "escalation" or (call.attempt_role == "hedge" and call.served):
            tally.escalations += 1
        if priced.cost_usd_pico is None:
            tally.incomplete_calls += 1
        tally.known_cost_usd_pico = _bounded(tally.known_cost_usd_pico + priced.known_cost_usd_pico)
        tally.input_tokens = _bounded(tally.input_tokens + (call.input_tokens or 0))
        tally.output_tokens = _bounded(tally.output_tokens + (call.output_tokens or 0))
        tally.cache_read_tokens = _bounded(tally.cache_read_tokens + cached)
        _observe(buckets, tally)


def _add_outcome(call: _Call | Call, tally: Tally) -> None:
    broken_off = call.status == "aborted"
    tally.aborted += broken_off
    if call.status == "error" or (broken_off and (call.error_type or "").startswith(_UPSTREAM)):
        tally.errors += 1
        tally.rate_limited += _says(call, statuses=(429,), words=_RATE_LIMITED)
        tally.timeouts += _says(call, statuses=(408, 504), words=_TIMED_OUT)


_UPSTREAM: Final = "upstream_"
"""So begins the error type of a call that its upstream broke off: that is no caller who had enough."""
_RATE_LIMITED: Final = ("ratelimit", "toomanyrequests", "throttl", "resourceexhausted", "quota", "429")
_TIMED_OUT: Final = ("timeout", "timedout", "deadlineexceeded", "504", "408")


def _says(call: _Call | Call, *, statuses: tuple[int, ...], words: tuple[str, ...]) -> bool:
    if call.http_status in statuses:
        return True
    # Providers write rate_limit_error, RateLimitError, rate-limited …
    kind = "".join(filter(str.isalnum, call.error_type or "")).lower()
    return any(word in kind for word in words)


_Buckets = tuple[int | None, int | None, int | None]
_UNMEASURED: Final[_Buckets] = (None, None, None)


def _buckets(latency: _Latency | Latency) -> _Buckets:
    total_us, ttft_us, tpot_us = latency.total_us, latency.ttft_us, latency.tpot_us
    return (
        None if total_us is None else bucket(total_us),
        None if ttft_us is None else bucket(ttft_us),
        None if tpot_us is None else bucket(tpot_us),
    )


def _observe(buckets: _Buckets, tally: Tally) -> None:
    total, ttft, tpot = buckets
    if total is not None:
        tally.total_us[total] = tally.total_us.get(total, 0) + 1
    if ttft is not None:
        tally.ttft_us[ttft] = tally.ttft_us.get(ttft, 0) + 1
    if tpot is not None:
        tally.tpot_us[tpot] = tally.tpot_us.get(tpot, 0) + 1


def _bounded(total: int) -> int:
    # A few absurd calls must not make a number that a 64-bit reader refuses.
    return total if -_GREATEST <= total <= _GREATEST else (_GREATEST if total > 0 else -_GREATEST)


def window(entity: Entity, tally: Tally, *, start_at_us: int, emitted_at_us: int = 0) -> FeatureWindow:
    """One minute of one entity as the topic carries it."""
    kind, owner, name = entity
    of_model = kind == "model"
    counts: dict[str, Any] = {field: getattr(tally, field) for field in Tally.__struct_fields__}
    return FeatureWindow(
        entity=kind,
        provider=owner if of_model else "",
        model=name if of_model else "",
        tenant_id="" if of_model else owner,
        feature="" if of_model else name,
        window_start_at_us=start_at_us,
        revision=tally.revision,
        emitted_at_us=emitted_at_us,
        **counts,
    )


def entity_of(counted: FeatureWindow) -> Entity:
    """What a window is about."""
    if counted.entity == "model":
        return "model", counted.provider, counted.model
    return "feature", counted.tenant_id, counted.feature


def windows(priced: Iterable[Ended]) -> dict[tuple[Entity, int], FeatureWindow]:
    """The whole computation on a log that has ended: (entity, start) → its window."""
    tallies: dict[tuple[Entity, int], Tally] = {}
    for one in priced:
        at_us, clamped = ended_at(one)
        found = [tallies.setdefault((entity, window_start(at_us)), Tally()) for entity in entities(one)]
        add(one, *found)
        for tally in found:
            tally.clamped_calls += clamped
    return {(entity, start): window(entity, tally, start_at_us=start) for (entity, start), tally in tallies.items()}


def latest(one: FeatureWindow, other: FeatureWindow) -> FeatureWindow:
    """Of two tellings of one window the one that counts; the stream may repeat itself."""
    return max(one, other, key=lambda told: (told.revision, told.calls))


def merged(parts: Iterable[FeatureWindow]) -> FeatureWindow | None:
    """One window over all of them, which are of one entity and do not overlap; None of none."""
    total: FeatureWindow | None = None
    for part in parts:
        total = part if total is None else _merged(total, part)
    return total


_SUMMED: Final = tuple(
    field.name
    for field in msgspec.structs.fields(FeatureWindow)
    if field.type is int and not field.name.endswith(("_at_us", "window_us"))
)
_HISTOGRAMS: Final = ("total_us", "ttft_us", "tpot_us")


def _merged(one: FeatureWindow, other: FeatureWindow) -> FeatureWindow:
    if entity_of(one) != entity_of(other):
        raise ValueError(f"windows of {entity_of(one)} and {entity_of(other)}: only those of one entity merge")
    start_at_us = min(one.window_start_at_us, other.window_start_at_us)
    end_at_us = max(part.window_start_at_us + part.window_us for part in (one, other))
    return msgspec.structs.replace(
        one,
        **{name: _bounded(getattr(one, name) + getattr(other, name)) for name in _SUMMED},
        **{name: merge(getattr(one, name), getattr(other, name)) for name in _HISTOGRAMS},
        window_start_at_us=start_at_us,
        window_us=end_at_us - start_at_us,
        emitted_at_us=max(one.emitted_at_us, other.emitted_at_us),
    )


def last(parts: Iterable[FeatureWindow], *, until_at_us: int, span_us: int) -> FeatureWindow | None:
    """The windows that began within `span_us` before `until_at_us`, merged: a sliding view of closed minutes."""
    return merged(part for part in parts if until_at_us - span_us <= part.window_start_at_us < until_at_us)


def features(counted: FeatureWindow | None, *, span_us: int) -> TrafficFeatures:
    """What the calls of one entity over `span_us` say; None is a span without calls. Never NaN or infinite."""
    if counted is None or counted.calls == 0:
        return TrafficFeatures(calls=0, calls_per_min=0.0, tokens_per_min=0.0)
    calls, minutes = counted.calls, span_us / MINUTE_US
    return TrafficFeatures(
        calls=calls,
        calls_per_min=calls / minutes,
        tokens_per_min=(counted.input_tokens + counted.output_tokens) / minutes,
        error_ratio=counted.errors / calls,
        rate_limited_ratio=counted.rate_limited / calls,
        timeout_ratio=counted.timeouts / calls,
        cache_hit_ratio=counted.cache_hits / calls,
        escalation_ratio=counted.escalations / calls,
        input_tokens_per_call=counted.input_tokens / calls,
        output_tokens_per_call=counted.output_tokens / calls,
        known_cost_usd_pico_per_call=counted.known_cost_usd_pico / calls,
        ttft_us_p50=quantile_us(counted.ttft_us, 0.5),
        ttft_us_p95=quantile_us(counted.ttft_us, 0.95),
        tpot_us_p50=quantile_us(counted.tpot_us, 0.5),
        tpot_us_p95=quantile_us(counted.tpot_us, 0.95),
        total_us_p50=quantile_us(counted.total_us, 0.5),
        total_us_p95=quantile_us(counted.total_us, 0.95),
    )
