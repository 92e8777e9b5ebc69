"""Envelope + Reading + headers → Call: keys, event time, bounded texts. The one place that builds a Call."""

import hashlib
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from itertools import compress
from operator import attrgetter
from typing import Annotated, Any, Final

import msgspec
from msgspec.structs import astuple

from tokenledger.normalise.envelope import MAX_TEXT_CHARS, MAX_TOKEN_TIMES, Envelope, MeasuredTimes, bound_text
from tokenledger.normalise.providers import Provider, find_provider, provider_of_url
from tokenledger.normalise.reading import BadRecordError, Reading, Word, usd_to_pico
from tokenledger.records.call import Call, Timings
from tokenledger.records.raw import RawEvent
from tokenledger.records.reasons import Anomaly, Reason
from tokenledger.records.versions import READING_VERSIONS

_INT64_MAX: Final = 2**63 - 1
_NO_IDS: Final = frozenset({"", "null", "none", "undefined", "nil"})
_DAY_US: Final = 24 * 3600 * 1_000_000
_PAST_US: Final = 400 * _DAY_US
_FUTURE_US: Final = 300 * 1_000_000
# A file has no append time to hold an event against: any time since the first priced API will do.
_FILE_WINDOW_US: Final = (1_577_836_800_000_000, 4_102_444_800_000_000)
_STARTED, _CREATED, _CE_TIME, _APPEND = "started_at", "created", "ce_time", "append"


def assemble(raw: RawEvent, envelope: Envelope, reading: Reading) -> Call:
    """The Call: what nearly every call has by place, the rest by name, since most of it is seldom there."""
    tenant_id = clean_header(raw.headers["ce_tenantid"]) or ""
    if (reading.input_tokens or 0) + (reading.output_tokens or 0) > _INT64_MAX:
        detail = f"{reading.input_tokens} tokens in, {reading.output_tokens} out; a sum below 2^63 would be right"
        raise BadRecordError(Reason.INVALID_COUNT, "response", detail)
    if envelope.tenant_id and envelope.tenant_id != tenant_id:
        reading.note(Anomaly.TENANT_MISMATCH)
    provider = _provider(envelope, reading)
    name = provider.name if provider else _unknown_provider(envelope, reading)
    event_id, source = _event_identity(raw, reading)
    started_at_us, event_time_source = _event_time(raw, envelope, reading)
    response_id = as_id(reading.response_id)
    has_key = response_id is not None and (provider is None or provider.unique_ids)
    seldom = _seldom_there(raw, envelope, reading, provider=provider)
    return Call(
        tenant_id, event_id, f"{source}#{event_id}", name,
        reading.usage, started_at_us, event_time_source,
        source, raw.append_at_us or None, response_id, f"{name}/{response_id}" if has_key else None,
        envelope.project or None, envelope.feature or None,
        _short(reading.api or envelope.api), envelope.request_model or _unstated_model(envelope, reading),
        _short(reading.response_model), _short(reading.service_tier),
        _is_stream(envelope), _status(envelope, reading), _short(reading.finish_reason),
        reading.input_tokens, reading.output_tokens, _usage_source(envelope, reading), reading.usage_reading,
        reading.explicit_leaves, _kept_usage(reading),
        envelope.first_token_at_us or None, envelope.ended_at_us or None, tuple(reading.anomalies),
        **seldom,
    )  # fmt: skip


_FIELDS: Final = Envelope.__struct_fields__
_SELDOM_FROM: Final = _FIELDS.index("environment")
STATED: Final = _FIELDS[_SELDOM_FROM : _FIELDS.index("request")]
"""What a call takes over from its envelope as it is; a blank text is absent."""
_NOTHING: Final = (None,) * (len(_FIELDS) - _SELDOM_FROM)

# Fields of the reading that few replies fill in. They outrank what the envelope says: they tell what was served.
_READ: Final = ("host_provider", "processing", "speed", "region", "error_type", "engine", "deployment_id")
_read: Final = attrgetter(*_READ)


def _seldom_there(raw: RawEvent, envelope: Envelope, reading: Reading, *, provider: Provider | None) -> dict[str, Any]:
    """What few calls have, by name."""
    fields: dict[str, Any] = {}
    seldom = astuple(envelope)[_SELDOM_FROM:]
    if seldom != _NOTHING:
        for name in compress(STATED, seldom):
            fields[name] = getattr(envelope, name)
        _add_checked(fields, envelope)
    for name in compress(_READ, _read(reading)):
        fields[name] = _short(getattr(reading, name))
    if reading.billed_usd_pico is not None:
        fields["billed_usd_pico"] = reading.billed_usd_pico
    if reading.shares:
        fields["shares"] = reading.shares
    if reading.usage_reading in READING_VERSIONS:
        fields["reading_version"] = READING_VERSIONS[reading.usage_reading]
    if envelope.timings_us is not None or reading.timings is not None:
        fields["timings"] = _timings(envelope.timings_us, reading.timings)
    if provider is not None and provider.self_hosted and "engine" not in fields:
        fields["engine"] = provider.name
    sequence = raw.headers.get("ce_sequence")
    if sequence and sequence.isdigit() and len(sequence) < 19:  # noqa: PLR2004 - fits an int64
        fields["ce_sequence"] = int(sequence)
    return fields


def _add_checked(fields: dict[str, Any], envelope: Envelope) -> None:
    """What is taken over only where it makes sense."""
    if envelope.cache_hit is not None:
        fields["cache_hit"] = envelope.cache_hit
    if envelope.served is not None:
        fields["served"] = envelope.served
    if envelope.container_part is not None:
        fields["container_part"] = envelope.container_part
    if envelope.revision:
        fields["revision"] = envelope.revision
    if envelope.tags:
        fields["tags"] = envelope.tags
    if envelope.http_status is not None and 0 <= envelope.http_status < 1000:  # noqa: PLR2004 - what HTTP can send
        fields["http_status"] = envelope.http_status
    if envelope.claimed_usd is not None and (claimed := _claimed(envelope)) is not None:
        fields["claimed_usd_pico"] = claimed
    if envelope.token_times_us:
        fields["token_times_us"] = tuple(envelope.token_times_us[:MAX_TOKEN_TIMES])
    if envelope.request and (tier := _bounded(envelope.request.get("service_tier"))):
        fields["service_tier_requested"] = tier


def _unstated_model(envelope: Envelope, reading: Reading) -> str | None:
    """The model that was asked for, where the envelope leaves it to URL or request to say."""
    return _bounded(reading.request_model) or (_bounded(envelope.request.get("model")) if envelope.request else None)


def _is_stream(envelope: Envelope) -> bool | None:
    request = envelope.request
    if request and (stream := request.get("stream")).__class__ is bool:
        return stream
    return True if envelope.events is not None or envelope.stream_text is not None else None


def _kept_usage(reading: Reading) -> dict[str, Any] | None:
    usage = reading.raw_usage
    return usage if usage is None or usage is reading.textless else without_texts(usage)


_Count = Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)]
_Leaf = _Count | Word | bool | None
_Rows = Annotated[list[dict[Word, _Leaf]], msgspec.Meta(max_length=64)]


class _PlainUsage(msgspec.Struct, gc=False):
    """What nearly every usage object is: counts and short words, two levels deep. The check is done in C."""

    usage: dict[Word, _Leaf | dict[Word, _Leaf] | _Rows]


def without_texts(usage: dict[str, Any]) -> dict[str, Any]:
    """The usage object as the provider wrote it, less anything that could hold a text of the call."""
    try:
        return msgspec.convert({"usage": usage}, _PlainUsage).usage
    except msgspec.ValidationError:
        return {name[:64]: kept for name, value in usage.items() if (kept := _countable(value)) is not None}


def _countable(value: Any) -> Any:
    kind = value.__class__
    if kind is int:
        return value if -(2**63) <= value < 2**64 else str(value)
    if kind is str:
        return value if len(value) <= 64 else None  # noqa: PLR2004 - tiers and modalities, not sentences
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
    headers = raw.headers
    source = clean_header(headers.get("ce_source", b"")) or ""
    event_id = as_id(headers.get("ce_id", b"").decode("utf-8", "replace").strip())
    if event_id is None:
        reading.note(Anomaly.WEAK_IDENTITY)
        event_id = "sha256:" + hashlib.sha256(raw.value or b"").hexdigest()[:32]
    return event_id, source


def as_id(text: str | None) -> str | None:
    """An id that is one: blank, "null" and "None" are no ids. A long one is replaced by its hash, never cut."""
    if text is None:
        return None
    if len(text) < 10 and text.strip().lower() in _NO_IDS:  # noqa: PLR2004 - none of them is longer
        return None
    if len(text) > MAX_TEXT_CHARS or "\x00" in text:
        return "sha256:" + hashlib.sha256(text.encode(errors="replace")).hexdigest()
    return text


@lru_cache(maxsize=4096)
def clean_header(value: bytes) -> str | None:
    """A header as text: bounded, without NUL and blanks around it; None where nothing is left or it is no UTF-8."""
    try:
        return bound_text(value.decode()).strip() or None
    except UnicodeDecodeError:
        return None


def _event_time(raw: RawEvent, envelope: Envelope, reading: Reading) -> tuple[int, str]:
    """Start, else the provider's `created`, else `ce_time`, else append; outside the window the append time."""
    if envelope.started_at_us is not None:
        at_us, source = envelope.started_at_us, _STARTED
    elif reading.created_at_us is not None:
        at_us, source = reading.created_at_us, _CREATED
    elif (ce_time_us := parse_time(clean_header(raw.headers.get("ce_time", b"")))) is not None:
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


def _bounded(value: Any) -> str | None:
    return _short(value) if value.__class__ is str and value else None


def _short(text: str | None) -> str | None:
    """The text, bounded; a blank one is absent."""
    if not text:
        return None
    return text if len(text) <= MAX_TEXT_CHARS else bound_text(text)


def _status(envelope: Envelope, reading: Reading) -> str:
    if reading.status != "ok":
        return reading.status
    if envelope.aborted:
        return "aborted"
    if envelope.error_type:
        return "error"
    return "in_progress" if envelope.in_progress else "ok"


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
