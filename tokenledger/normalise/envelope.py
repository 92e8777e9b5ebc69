"""The call envelope (`ce_type` `llm.call.v1`): one call in the provider's own words, as its producer wrapped it."""

from decimal import Decimal
from typing import Annotated, Any, Final, TypeAlias

import msgspec

from tokenledger.normalise.reading import BadRecordError
from tokenledger.records.reasons import Anomaly, Reason

ENVELOPE_TYPE: Final = "llm.call.v1"
MAX_TEXT_CHARS: Final = 256
MAX_TAGS: Final = 16
MAX_TOKEN_TIMES: Final = 64

Text: TypeAlias = Annotated[str, msgspec.Meta(max_length=MAX_TEXT_CHARS)]
Instant: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799_999_999)]
Duration: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class StreamEvent(msgspec.Struct, gc=False):
    """One decoded event of a stream, as the producer kept it."""

    data: Any = None
    """Decoded data, or its text."""
    event: str | None = None
    """SSE event name."""


class MeasuredTimes(msgspec.Struct, gc=False):
    """`timings_us`: durations in µs that the producer measured in its own process."""

    admit: Duration | None = None
    guard: Duration | None = None
    cache: Duration | None = None
    route: Duration | None = None
    retrieve: Duration | None = None
    network: Duration | None = None
    queue: Duration | None = None
    prefill: Duration | None = None
    decode: Duration | None = None
    total: Duration | None = None


class Envelope(msgspec.Struct, gc=False):
    """`data` of a call envelope. Unknown fields are ignored; a wrong type rejects the record and names the field."""

    provider: Text | None = None
    api: Text | None = None
    url: str | None = None
    request_model: Text | None = None
    request: dict[str, Any] | None = None
    http_status: int | None = None
    response_headers: dict[str, Any] | None = None
    response: Any = None
    events: list[StreamEvent] | None = None
    response_text: str | None = None
    stream_text: str | None = None
    started_at_us: Instant | None = None
    first_token_at_us: Instant | None = None
    ended_at_us: Instant | None = None
    token_times_us: list[Instant] | None = None
    timings_us: MeasuredTimes | None = None
    tenant_id: str | None = None
    environment: Text | None = None
    project: Text | None = None
    feature: Text | None = None
    cost_centre: Text | None = None
    user_id: Text | None = None
    session_id: Text | None = None
    api_key_id: Text | None = None
    billing_account: Text | None = None
    commitment_id: Text | None = None
    deployment_id: Text | None = None
    replica_id: Text | None = None
    engine: Text | None = None
    processing: Text | None = None
    region: Text | None = None
    data_region: Text | None = None
    tags: Annotated[dict[Text, Text], msgspec.Meta(max_length=MAX_TAGS)] | None = None
    operation_id: Text | None = None
    attempt_no: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)] | None = None
    attempt_role: Text | None = None
    container_id: Text | None = None
    container_part: Annotated[int, msgspec.Meta(ge=0, le=2**53)] | None = None
    revision: Annotated[int, msgspec.Meta(ge=0, le=2**53)] | None = None
    trace_id: Text | None = None
    span_id: Text | None = None
    prompt_id: Text | None = None
    prompt_version: Text | None = None
    route: Text | None = None
    route_tier: Text | None = None
    decision_id: Text | None = None
    cache_hit: bool | None = None
    aborted: bool | None = None
    error_type: Text | None = None
    usage_source: Text | None = None
    kv_token_us: Duration | None = None
    claimed_usd: Any = None


_typed: Final = msgspec.json.Decoder(Envelope, float_hook=Decimal)
_plain: Final = msgspec.json.Decoder(float_hook=Decimal)
_TEXT_FIELDS: Final = frozenset(
    field.name
    for field in msgspec.structs.fields(Envelope)
    if field.name not in {"url", "response_text", "stream_text", "tenant_id"}
)


def decode_json(value: bytes | str) -> Any:
    """Strict JSON: UTF-8, no NaN, numbers exact, the last of equal keys wins. Raises BadRecordError."""
    try:
        return _plain.decode(value)
    except UnicodeDecodeError as error:
        raise BadRecordError(Reason.INVALID_UTF8, "", f"byte {error.start}: {error.reason}") from None
    except RecursionError:
        raise BadRecordError(Reason.TOO_DEEP, "", "nested deeper than the decoder accepts") from None
    except msgspec.DecodeError as error:
        raise BadRecordError(Reason.INVALID_JSON, "", str(error)) from None


def decode_envelope(value: bytes) -> tuple[Envelope, list[str]]:
    """The envelope and what had to be mended in it. Raises BadRecordError."""
    if b"\\u0000" not in value:
        try:
            return _typed.decode(value), []
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass  # said again below, with what can be mended mended first
    return _mended(value)


def _mended(value: bytes) -> tuple[Envelope, list[str]]:
    plain = decode_json(value)
    if not isinstance(plain, dict):
        detail = f"found {type(plain).__name__}; an object would be right"
        raise BadRecordError(Reason.INVALID_ENVELOPE, "", detail)
    anomalies: list[str] = []
    for name in _TEXT_FIELDS & plain.keys():
        text = plain[name]
        if isinstance(text, str) and (bounded := bound_text(text)) != text:
            plain[name] = bounded
            anomalies = [Anomaly.TEXT_BOUNDED.value]
    tags = plain.get("tags")
    if isinstance(tags, dict):
        plain["tags"], mended = _bounded_tags(tags)
        anomalies += mended
    if isinstance(plain.get("token_times_us"), list):
        plain["token_times_us"] = plain["token_times_us"][:10_000]
    try:
        return msgspec.convert(plain, Envelope), anomalies
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$")
        field = where.rstrip("`").lstrip(".")
        reason = Reason.INVALID_TIME if field.endswith("_us") else Reason.INVALID_ENVELOPE
        raise BadRecordError(reason, field, what) from None


def bound_text(text: str) -> str:
    """The text without NUL, at most 256 characters: what a Postgres text column and its index can hold."""
    return text.replace("\x00", "\ufffd")[:MAX_TEXT_CHARS]


def _bounded_tags(tags: dict[str, Any]) -> tuple[dict[str, str], list[str]]:
    kept = {
        bound_text(name): bound_text(label) for name, label in list(tags.items())[:MAX_TAGS] if isinstance(label, str)
    }
    return kept, [] if kept == tags else [Anomaly.TAGS_DROPPED.value]
