"""Envelope + Reading + headers → Call: keys, event time, bounded texts. The one place that builds a Call."""

import hashlib
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from tokenledger.normalise.envelope import MAX_TOKEN_TIMES, Envelope, MeasuredTimes, bound_text
from tokenledger.normalise.providers import Provider, find_provider, provider_of_url
from tokenledger.normalise.reading import BadRecordError, Reading, usd_to_pico
from tokenledger.records.call import Call, Timings
from tokenledger.records.raw import RawEvent
from tokenledger.records.reasons import Anomaly

_NO_IDS: Final = frozenset({"", "null", "none", "undefined", "nil"})
_DAY_US: Final = 24 * 3600 * 1_000_000
_PAST_US: Final = 400 * _DAY_US
_FUTURE_US: Final = 300 * 1_000_000
# A file has no append time to hold an event against: any time since the first priced API will do.
_FILE_WINDOW_US: Final = (1_577_836_800_000_000, 4_102_444_800_000_000)
_STARTED, _CREATED, _CE_TIME, _APPEND = "started_at", "created", "ce_time", "append"


def assemble(raw: RawEvent, envelope: Envelope, reading: Reading) -> Call:
    """The Call. Raises BadRecordError for an amount that is none."""
    provider = _provider(envelope, reading)
    event_id, source = _event_identity(raw, reading)
    response_id = _id(reading.response_id)
    started_at_us, event_time_source = _event_time(raw, envelope, reading)
    _check_tenant(raw, envelope, reading)
    request = envelope.request or {}
    stream = request.get("stream")
    name = provider.name if provider else _unknown_provider(envelope, reading)
    return Call(
        tenant_id=_header(raw, "ce_tenantid") or "",
        event_id=event_id,
        event_key=f"{source}#{event_id}",
        response_key=f"{name}/{response_id}" if response_id and (provider is None or provider.unique_ids) else None,
        response_id=response_id,
        container_id=envelope.container_id,
        container_part=envelope.container_part,
        operation_id=envelope.operation_id,
        attempt_no=envelope.attempt_no,
        attempt_role=envelope.attempt_role,
        revision=envelope.revision or 0,
        ce_source=source,
        ce_sequence=_sequence(raw),
        environment=envelope.environment,
        project=envelope.project,
        feature=envelope.feature,
        cost_centre=envelope.cost_centre,
        user_id=envelope.user_id,
        api_key_id=envelope.api_key_id,
        session_id=envelope.session_id,
        tags=envelope.tags or None,
        provider=name,
        api=reading.api or envelope.api,
        host_provider=reading.host_provider,
        billing_account=envelope.billing_account,
        commitment_id=envelope.commitment_id,
        request_model=_bounded(envelope.request_model or request.get("model")),
        response_model=_bounded(reading.response_model),
        deployment_id=envelope.deployment_id,
        replica_id=envelope.replica_id,
        engine=envelope.engine or reading.engine or (provider.name if provider and provider.self_hosted else None),
        service_tier_requested=_bounded(request.get("service_tier")),
        service_tier_served=_bounded(reading.service_tier),
        processing=reading.processing or envelope.processing,
        speed=_bounded(reading.speed),
        region=_bounded(reading.region) or envelope.region,
        data_region=envelope.data_region,
        route=envelope.route,
        route_tier=envelope.route_tier,
        decision_id=envelope.decision_id,
        prompt_id=envelope.prompt_id,
        prompt_version=envelope.prompt_version,
        trace_id=envelope.trace_id,
        span_id=envelope.span_id,
        stream=stream if stream.__class__ is bool else _streamed(envelope),
        status=_status(envelope, reading),
        http_status=_http_status(envelope),
        finish_reason=_bounded(reading.finish_reason),
        error_type=_bounded(reading.error_type) or envelope.error_type,
        cache_hit=envelope.cache_hit,
        usage=reading.usage,
        input_tokens=reading.input_tokens,
        output_tokens=reading.output_tokens,
        shares=reading.shares,
        usage_source=_usage_source(envelope, reading),
        usage_reading=reading.usage_reading,
        explicit_leaves=reading.explicit_leaves,
        raw_usage=None if reading.raw_usage is None else without_texts(reading.raw_usage),
        billed_usd_pico=reading.billed_usd_pico,
        claimed_usd_pico=_claimed(envelope),
        kv_token_us=envelope.kv_token_us,
        started_at_us=started_at_us,
        event_time_source=event_time_source,
        received_at_us=raw.append_at_us or None,
        first_token_at_us=envelope.first_token_at_us,
        ended_at_us=envelope.ended_at_us,
        token_times_us=tuple(envelope.token_times_us[:MAX_TOKEN_TIMES]) if envelope.token_times_us else (),
        timings=_timings(envelope.timings_us, reading.timings),
        anomalies=tuple(reading.anomalies),
    )


def without_texts(usage: dict[str, Any]) -> dict[str, Any]:
    """The usage object as the provider wrote it, less anything that could hold a text of the call."""
    return {name: kept for name, value in usage.items() if (kept := _countable(value)) is not None}


def _countable(value: Any) -> Any:
    kind = value.__class__
    if kind is int:
        return value if -(2**63) <= value < 2**64 else str(value)
    if kind is str:
        return value if len(value) <= 64 and "\x00" not in value else None  # noqa: PLR2004
    if kind is dict:
        return without_texts(value)
    if kind is list:
        return [kept for item in value[:64] if (kept := _countable(item)) is not None]
    if kind is Decimal:
        return value if abs(value.adjusted()) < 64 else str(value)  # noqa: PLR2004
    return value if kind is bool else None


def _provider(envelope: Envelope, reading: Reading) -> Provider | None:
    if reading.provider:
        return find_provider(reading.provider)
    if envelope.provider:
        return find_provider(envelope.provider)
    return provider_of_url(envelope.url) if envelope.url else None


def _unknown_provider(envelope: Envelope, reading: Reading) -> str:
    reading.note(Anomaly.UNKNOWN_PROVIDER)
    return (reading.provider or envelope.provider or "").strip().lower() or "unknown"


def _event_identity(raw: RawEvent, reading: Reading) -> tuple[str, str]:
    """CloudEvents id and source; the payload's hash where there is no id at all."""
    event_id, source = _id(_header(raw, "ce_id")), _header(raw, "ce_source") or ""
    if event_id is None:
        reading.note(Anomaly.WEAK_IDENTITY)
        event_id = "sha256:" + hashlib.sha256(raw.value or b"").hexdigest()[:32]
    return event_id, source


def _id(text: str | None) -> str | None:
    """An id that is one: blank, "null" and "None" are no ids. A long one is replaced by its hash, never cut."""
    if text is None or text.strip().lower() in _NO_IDS:
        return None
    if len(text) > 256 or "\x00" in text:  # noqa: PLR2004
        return "sha256:" + hashlib.sha256(text.encode(errors="replace")).hexdigest()
    return text


def _header(raw: RawEvent, name: str) -> str | None:
    value = raw.headers.get(name)
    if not value:
        return None
    return value.decode(errors="replace").replace("\x00", "\ufffd").strip()[:1024] or None


def _event_time(raw: RawEvent, envelope: Envelope, reading: Reading) -> tuple[int, str]:
    """Start, else the provider's `created`, else `ce_time`, else append; outside the window the append time."""
    if envelope.started_at_us is not None:
        at_us, source = envelope.started_at_us, _STARTED
    elif reading.created_at_us is not None:
        at_us, source = reading.created_at_us, _CREATED
    elif (ce_time_us := parse_time(_header(raw, "ce_time"))) is not None:
        at_us, source = ce_time_us, _CE_TIME
    else:
        return raw.append_at_us, _APPEND
    if raw.topic:
        low_us, high_us = raw.append_at_us - _PAST_US, raw.append_at_us + _FUTURE_US
    else:
        low_us, high_us = _FILE_WINDOW_US
    if low_us <= at_us <= high_us:
        return at_us, source
    reading.note(Anomaly.TIME_CLAMPED)
    return raw.append_at_us, _APPEND


def parse_time(text: str | None) -> int | None:
    """RFC 3339 → µs UTC, digits beyond µs dropped; None where it is no time with a zone."""
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        return None
    elapsed = moment.astimezone(UTC) - _EPOCH if 1 < moment.year < 9999 else None  # noqa: PLR2004
    return None if elapsed is None else (elapsed.days * 86_400 + elapsed.seconds) * 1_000_000 + elapsed.microseconds


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _check_tenant(raw: RawEvent, envelope: Envelope, reading: Reading) -> None:
    if envelope.tenant_id and envelope.tenant_id != _header(raw, "ce_tenantid"):
        reading.note(Anomaly.TENANT_MISMATCH)


def _sequence(raw: RawEvent) -> int | None:
    value = raw.headers.get("ce_sequence", b"")
    return int(value) if value.isdigit() and len(value) < 19 else None  # noqa: PLR2004


def _bounded(value: Any) -> str | None:
    if value.__class__ is not str or not value:
        return None
    return value if len(value) <= 256 and "\x00" not in value else bound_text(value)  # noqa: PLR2004


def _streamed(envelope: Envelope) -> bool | None:
    return True if envelope.events is not None or envelope.stream_text is not None else None


def _http_status(envelope: Envelope) -> int | None:
    status = envelope.http_status
    return status if status is not None and 0 <= status < 1000 else None  # noqa: PLR2004


def _status(envelope: Envelope, reading: Reading) -> str:
    if reading.status != "ok":
        return reading.status
    if envelope.aborted:
        return "aborted"
    return "error" if envelope.error_type else "ok"


def _usage_source(envelope: Envelope, reading: Reading) -> str:
    if reading.raw_usage is None and not reading.usage:
        return "none"
    stated = envelope.usage_source
    return stated if stated in {"counted", "estimated"} else reading.usage_source


def _claimed(envelope: Envelope) -> int | None:
    """What the producer claims; a claim that is no amount is no reason to lose the call."""
    claimed = envelope.claimed_usd
    if isinstance(claimed, str):
        return None
    try:
        return usd_to_pico(claimed, "claimed_usd")
    except BadRecordError:
        return None


def _timings(measured: MeasuredTimes | None, engine: Timings | None) -> Timings | None:
    if measured is None:
        return engine
    return Timings(
        admit_us=measured.admit,
        guard_us=measured.guard,
        cache_us=measured.cache,
        route_us=measured.route,
        retrieve_us=measured.retrieve,
        network_us=measured.network,
        queue_us=measured.queue,
        prefill_us=measured.prefill,
        decode_us=measured.decode,
        total_us=measured.total,
    )
