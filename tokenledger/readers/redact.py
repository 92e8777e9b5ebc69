"""Texts out of a record before it leaves the machine: prompts, answers, images, vectors and tool arguments.

What may stay is listed; everything else that is text goes. The structure and every number that counts stay, so a
redacted record is priced as the whole one.
"""

import base64
import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final

import msgspec

from tokenledger.normalise.reading import BadRecordError, Event
from tokenledger.normalise.streams import event_data, read_stream

_REQUEST_KEPT: Final = frozenset({
    "model", "modelId", "model_id", "stream", "stream_options", "service_tier", "serviceTier", "speed", "inference_geo",
    "n", "size", "quality", "background", "modalities", "encoding_format", "dimensions", "performanceConfig",
    "project_id", "deployment_id", "truncation", "store", "max_tokens", "max_completion_tokens", "max_output_tokens",
    "seconds", "resolution", "return_documents", "top_n", "web_search_options", "num_images", "provider",
})  # fmt: skip

_TEXTS_KEPT: Final = frozenset({
    "id", "object", "model", "type", "role", "status", "event", "code", "unit", "currency", "region", "speed",
    "service_tier", "serviceTier", "traffic_type", "trafficType", "modality", "created", "created_at", "createTime",
    "createdAt", "completed_at", "finish_reason", "finishReason", "stop_reason", "stopReason", "done_reason",
    "completion_reason", "completionReason", "reason", "native_finish_reason", "event_type", "response_type",
    "generation_id", "generationId", "response_id", "responseId", "request_id", "requestId", "modelVersion",
    "model_version", "model_id", "modelId", "system_fingerprint", "provider", "inference_geo", "latency", "tier",
    "ttl", "quality", "size", "output_format", "__type", "api_version", "version", "thread_id", "assistant_id",
    "run_id", "previous_response_id", "tokenType", "cost", "cost_details", "model_name", "modelName", "blockReason",
    "block_reason", "mimeType", "mime_type", "stop_type", "container_id", "operation",
})  # fmt: skip
"""Names of fields whose short text says what a reply is, never what it says."""

_WHOLE: Final = frozenset({"usage", "usageMetadata", "usage_metadata", "amazon-bedrock-invocationMetrics", "meta"})
"""Objects of counts: kept, less any long text."""

_EMPTIED: Final = frozenset({"input", "arguments", "args", "json", "parameters"})
"""Fields whose inside is the caller's: only their kind is left."""

_ONLY: Final = {
    "metadata": frozenset({"usage", "metrics", "serviceTier", "performanceConfig", "billableCharacterCount"}),
    "groundingMetadata": frozenset({"webSearchQueries", "imageSearchQueries"}),
    "grounding_metadata": frozenset({"web_search_queries", "image_search_queries"}),
}
"""Objects that mix what counts with what was said: these of their fields stay."""

_QUERIES: Final = frozenset({"webSearchQueries", "imageSearchQueries", "web_search_queries", "image_search_queries"})
"""Lists of texts of which the number of different ones is billed."""

_DROPPED: Final = frozenset({"logprobs", "top_logprobs", "logprobs_result", "logprobsResult", "sequence_number",
                             "obfuscation", "p", "instructions", "tool_choice", "prompt_logprobs",
                             "token_ids", "safetyRatings", "prompt_filter_results", "content_filter_results",
                             "moderation", "citationMetadata", "search_results",
                             "citations"})  # fmt: skip
"""Fields that say nothing about cost or time, and differ from event to event."""

_TEXT_MAX_CHARS: Final = 128
_VECTOR_MIN: Final = 8
_USER: Final = re.compile(r"//[^/@]*@")
_decode: Final = msgspec.json.Decoder(float_hook=Decimal).decode
_encode: Final = msgspec.json.Encoder(decimal_format="number").encode
_BODIES: Final = ("response", "response_text", "events", "stream_text")


def request_without_texts(request: dict[str, Any]) -> dict[str, Any]:
    """The request's settings; nothing of what was asked."""
    return {name: bounded(value) for name, value in request.items() if name in _REQUEST_KEPT}


def reply_without_texts(reply: Any) -> Any:
    """The same reply with every text emptied that does not say what kind of reply it is."""
    kind = reply.__class__
    if kind is dict:
        return {name: _field(name, value) for name, value in reply.items() if name not in _DROPPED}
    if kind is list:
        return [] if _is_vector(reply) else [reply_without_texts(item) for item in reply]
    return "" if kind is str else reply


def envelope_without_texts(value: bytes) -> bytes:
    """A call envelope without texts; bytes that cannot be read, and so could hold any, give a note in their place."""
    try:
        envelope = _decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return withheld(value)
    if not isinstance(envelope, dict):
        return withheld(value)
    redacted = {name: body for name, body in envelope.items() if name not in _BODIES}
    if isinstance(redacted.get("url"), str):
        redacted["url"] = url_without_secrets(redacted["url"])
    request = redacted.get("request")
    if isinstance(request, dict):
        redacted["request"] = request_without_texts(request)
    for name in _BODIES:
        if envelope.get(name) is not None:
            redacted |= _REDACT_BODY[name](envelope[name])
    return _encode(redacted)


def url_without_secrets(url: str) -> str:
    """The URL up to its query: Gemini's keys stand there, and user names stand before the host."""
    return _USER.sub("//", url.partition("?")[0].partition("#")[0], count=1)


def withheld(value: bytes) -> bytes:
    """What is sent in place of bytes that cannot be read: `process` refuses it as it would have refused them."""
    return f"withheld: {len(value)} bytes that are no readable record and could hold texts".encode()


def _field(name: str, value: Any) -> Any:
    kind = value.__class__
    if special := _SPECIAL.get(name):
        return special(value)
    if kind is str:
        return value if name in _TEXTS_KEPT and len(value) <= _TEXT_MAX_CHARS else ""
    if name in _WHOLE:
        return bounded(value)
    if name in _EMPTIED:
        return {} if kind is dict else [] if kind is list else None
    if kind is dict and name in _ONLY:
        return reply_without_texts({inner: held for inner, held in value.items() if inner in _ONLY[name]})
    return reply_without_texts(value) if kind is dict or kind is list else value


def _chunk(value: Any) -> Any:
    """Bedrock wraps each event of a model's own stream in base64. What is none stays none."""
    try:
        inside = _decode(base64.b64decode(value, validate=True))
    except (ValueError, TypeError, RecursionError):
        return "(withheld)"
    return base64.b64encode(_encode(reply_without_texts(inside))).decode()


def _queries(value: Any) -> Any:
    """Equal queries stay equal, blank ones blank."""
    if not isinstance(value, list):
        return None
    numbers: dict[str, str] = {}
    return [numbers.setdefault(str(query), f"query {len(numbers)}") if query else "" for query in value]


def _tools(value: Any) -> Any:
    """Which tools there were, not what they are told."""
    if not isinstance(value, list):
        return None
    named = [tool for tool in value if isinstance(tool, dict)]
    return [{name: bounded(tool[name]) for name in ("type", "model") if name in tool} for tool in named]


_SPECIAL: Final = {"bytes": _chunk, "tools": _tools, **dict.fromkeys(_QUERIES, _queries)}


def bounded(value: Any) -> Any:
    """The same value less any long text and the rest of long lists."""
    kind = value.__class__
    if kind is dict:
        return {name: bounded(item) for name, item in value.items()}
    if kind is list:
        return [bounded(item) for item in value[:64]]
    return "" if kind is str and len(value) > _TEXT_MAX_CHARS else value


def _is_vector(items: list[Any]) -> bool:
    return len(items) >= _VECTOR_MIN and all(isinstance(item, int | float | Decimal) for item in items[:_VECTOR_MIN])


def _response(body: Any) -> dict[str, Any]:
    return {"response": reply_without_texts(body)}


def _response_text(text: Any) -> dict[str, Any]:
    if not text:
        return {"response_text": text}
    try:
        return _response(_decode(text))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TypeError):
        return {"response_text": withheld(str(text).encode(errors="replace")).decode()}


def _stream_text(text: Any) -> dict[str, Any]:
    try:
        events = read_stream(text) if isinstance(text, str) else []
    except BadRecordError:
        events = []
    if not events:
        return {"stream_text": withheld(str(text).encode(errors="replace")).decode()}
    return {"events": _thinned(events)}


def _events(events: Any) -> dict[str, Any]:
    if not isinstance(events, list):
        return {"events": events}
    named = [event if isinstance(event, dict) else {} for event in events]
    return {"events": _thinned(Event(event.get("event"), event_data(event.get("data"))) for event in named)}


def _thinned(events: Iterable[Event]) -> list[dict[str, Any]]:
    """Events without texts; of a run that became equal the first stands for all."""
    kept: list[dict[str, Any]] = []
    for event in events:
        one = {"event": event.name, "data": reply_without_texts(event.data)}
        if event.name is None:
            del one["event"]
        if not kept or kept[-1] != one:
            kept.append(one)
    return kept


_REDACT_BODY: Final = {
    "response": _response,
    "response_text": _response_text,
    "events": _events,
    "stream_text": _stream_text,
}
