"""The call envelope (`ce_type` `llm.call.v1`): one call in the provider's own words, as its producer wrapped it."""

from decimal import Decimal
from typing import Annotated, Any, Final, TypeAlias

import msgspec

from tokenledger.normalise.reading import BadRecordError
from tokenledger.records.decision import RouteDecision
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
    """Authentication, limits and budget checks."""
    guard: Duration | None = None
    """Screening of prompt and answer."""
    cache: Duration | None = None
    """Cache look-up."""
    route: Duration | None = None
    """Choosing a model."""
    retrieve: Duration | None = None
    """Retrieval for the prompt."""
    network: Duration | None = None
    """On the wire."""
    queue: Duration | None = None
    """Waiting in the engine before prefill."""
    prefill: Duration | None = None
    """Reading the prompt, up to the first token."""
    decode: Duration | None = None
    """From the first token to the last."""
    total: Duration | None = None
    """The whole call as this process saw it."""


class Envelope(msgspec.Struct, gc=False):
    """`data` of a call envelope. Unknown fields are ignored; a wrong type rejects the record and names the field."""

    provider: Text | None = None
    """Provider, as OpenTelemetry's `gen_ai.provider.name` spells it; older spellings are accepted."""
    api: Text | None = None
    """`chat`, `completions`, `responses`, `messages`, `generate_content`, `converse`, `invoke`, `embeddings`, …"""
    url: str | None = None
    """Request URL or path; names the provider or the model where nothing else does."""
    request_model: Text | None = None
    """The model that was asked for; `request.model` where absent."""
    response: Any = None
    """The provider's JSON body, decoded."""
    events: list[StreamEvent] | None = None
    """The stream's decoded events: at least the first, every one with usage, and the last."""
    response_text: str | None = None
    """The raw body, instead of `response`."""
    stream_text: str | None = None
    """The raw SSE or NDJSON text, instead of `events`."""
    response_headers: dict[str, Any] | None = None
    """Response headers that bear on usage; other headers need not be sent."""
    started_at_us: Instant | None = None
    """When the producer sent the request, µs UTC; chooses the price."""
    first_token_at_us: Instant | None = None
    """When the producer saw the first token, µs UTC."""
    ended_at_us: Instant | None = None
    """When the producer saw the last byte, µs UTC."""
    tenant_id: str | None = None
    """The tenant by the producer's word; compared with the credential's, never used."""
    project: Text | None = None
    """Project."""
    feature: Text | None = None
    """Product feature the call served."""
    aborted: bool | None = None
    """The caller broke the call off before its end."""
    in_progress: bool | None = None
    """Nothing has come back yet; another record of this event will say what did, and counts before this one."""
    usage_source: Text | None = None
    """`counted` or `estimated` where the counts are not the provider's."""

    # From here on, what few envelopes state: a call takes it over by name, and all of it is passed over at once where
    # nothing is there. First what it takes over as it is,
    environment: Text | None = None
    """`production`, `staging`, …"""
    cost_centre: Text | None = None
    """Cost centre."""
    user_id: Text | None = None
    """End user, opaque."""
    session_id: Text | None = None
    """Conversation or session."""
    api_key_id: Text | None = None
    """Id of the API key, never the key."""
    billing_account: Text | None = None
    """Account the provider bills."""
    commitment_id: Text | None = None
    """Commitment or provisioned capacity the call drew on."""
    deployment_id: Text | None = None
    """Deployment name, where it differs from the model."""
    replica_id: Text | None = None
    """Engine replica."""
    engine: Text | None = None
    """`vllm`, `llama.cpp`, `ollama`, … for a self-hosted model."""
    processing: Text | None = None
    """`batch` for a call of an asynchronous batch."""
    region: Text | None = None
    """Region or geography profile that served, where the reply does not say so."""
    data_region: Text | None = None
    """Where data had to stay (residency)."""
    operation_id: Text | None = None
    """What the caller wanted done; retries and hedges share it."""
    attempt_no: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)] | None = None
    """Number of this attempt of the operation, from 1."""
    attempt_role: Text | None = None
    """`primary`, `retry`, `fallback`, `hedge`, `verify` or `escalation`."""
    attempt_reason: Text | None = None
    """Why it was made where it is not the first: `disagreement`, `format`, `refusal`, `upstream_error`, …"""
    served: bool | None = None
    """Whether the caller got this answer, where the answers of several attempts were compared; None elsewhere."""
    container_id: Text | None = None
    """Id of the batch file or export this call was split from."""
    trace_id: Text | None = None
    """W3C trace id."""
    span_id: Text | None = None
    """W3C span id."""
    prompt_id: Text | None = None
    """Prompt template."""
    prompt_version: Text | None = None
    """Its version."""
    route: Text | None = None
    """Route of the gateway."""
    route_tier: Text | None = None
    """Tier the router chose."""
    decision_id: Text | None = None
    """The router's decision."""
    decision: RouteDecision | None = None
    """That decision itself, on the operation's first attempt only."""
    error_type: Text | None = None
    """Why nothing came back, where the reply does not say so."""
    kv_token_us: Duration | None = None
    """KV-cache occupancy of a self-hosted call: tokens × µs."""

    # then what it looks at first.
    request: dict[str, Any] | None = None
    """The request body, or the part of it that bears on price: `stream`, `service_tier`, …"""
    http_status: int | None = None
    """HTTP status of the reply."""
    token_times_us: list[Instant] | None = None
    """Instants at which chunks came, µs UTC; the first 64 are kept."""
    timings_us: MeasuredTimes | None = None
    """Durations measured in the producer's own process, µs."""
    tags: Annotated[dict[Text, Text], msgspec.Meta(max_length=MAX_TAGS)] | None = None
    """At most 16 free labels."""
    container_part: Annotated[int, msgspec.Meta(ge=0, le=2**53)] | None = None
    """Position in that container, from 0."""
    revision: Annotated[int, msgspec.Meta(ge=0, le=2**53)] | None = None
    """Raised when the producer restates an earlier record; the greatest wins."""
    cache_hit: bool | None = None
    """Answered from the gateway's own cache; the provider was not called."""
    claimed_usd: Any = None
    """What the producer says the call cost, in USD; compared, never charged."""


_typed: Final = msgspec.json.Decoder(Envelope, float_hook=Decimal)
_plain: Final = msgspec.json.Decoder(float_hook=Decimal)
_TEXT_FIELDS: Final = frozenset(
    field.name
    for field in msgspec.structs.fields(Envelope)
    if field.name not in {"url", "response_text", "stream_text", "tenant_id"}
)


def decode_json(value: bytes | str) -> Any:
    """Strict JSON: UTF-8, no NaN, numbers exact, NUL replaced, the last of equal keys wins. Raises BadRecordError."""
    try:
        plain = _plain.decode(value)
        return _scrub(plain) if has_nul(value) else plain
    except UnicodeDecodeError as error:
        raise BadRecordError(Reason.INVALID_UTF8, "", f"byte {error.start}: {error.reason}") from None
    except RecursionError:
        raise BadRecordError(Reason.TOO_DEEP, "", "nested deeper than the decoder accepts") from None
    except msgspec.DecodeError as error:
        raise BadRecordError(Reason.INVALID_JSON, "", str(error)) from None
    except ArithmeticError:
        raise BadRecordError(Reason.INVALID_JSON, "", "a number with an exponent beyond 10^18") from None


def decode_envelope(value: bytes) -> tuple[Envelope, list[str]]:
    """The envelope and what had to be mended in it. Raises BadRecordError."""
    if not has_nul(value):
        try:
            return _typed.decode(value), []
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ArithmeticError):
            pass  # said again below, with what can be mended mended first
    return _mended(value)


def _mended(value: bytes) -> tuple[Envelope, list[str]]:
    plain = decode_json(value)
    if not isinstance(plain, dict):
        detail = f"found {type(plain).__name__}; an object would be right"
        raise BadRecordError(Reason.INVALID_ENVELOPE, "", detail)
    anomalies = [Anomaly.TEXT_BOUNDED.value] if has_nul(value) else []
    for name in _TEXT_FIELDS & plain.keys():
        text = plain[name]
        if isinstance(text, str) and (bounded := bound_text(text)) != text:
            plain[name] = bounded
            anomalies = [Anomaly.TEXT_BOUNDED.value]
    decision = plain.get("decision")
    if isinstance(decision, dict) and (texts := _too_long(decision)):
        plain["decision"] = decision | texts
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


def has_nul(value: bytes | str) -> bool:
    """Whether JSON text spells a NUL anywhere, be it in a text inside a text."""
    # One byte is found many times faster than six, and most records have no escape at all.
    if isinstance(value, bytes):
        return b"\\" in value and b"\\u0000" in value
    return "\\u0000" in value


def _scrub(plain: Any) -> Any:
    """The same with every NUL replaced by U+FFFD: Postgres can hold neither the character nor its escape."""
    if isinstance(plain, str):
        return plain.replace("\x00", "\ufffd").replace("\\u0000", "\\ufffd")
    if isinstance(plain, dict):
        return {_scrub(name): _scrub(value) for name, value in plain.items()}
    return [_scrub(item) for item in plain] if isinstance(plain, list) else plain


def bound_text(text: str) -> str:
    """The text without NUL, at most 256 characters: what a Postgres text column and its index can hold."""
    return text.replace("\x00", "\ufffd")[:MAX_TEXT_CHARS]


def _too_long(fields: dict[str, Any]) -> dict[str, str]:
    """Texts among these that are too long, cut."""
    return {
        name: bound_text(text) for name, text in fields.items() if isinstance(text, str) and len(text) > MAX_TEXT_CHARS
    }


def _bounded_tags(tags: dict[str, Any]) -> tuple[dict[str, str], list[str]]:
    kept = {
        bound_text(name): bound_text(label) for name, label in list(tags.items())[:MAX_TAGS] if isinstance(label, str)
    }
    return kept, [] if kept == tags else [Anomaly.TAGS_DROPPED.value]
