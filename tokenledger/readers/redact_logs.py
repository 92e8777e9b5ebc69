"""Texts out of other systems' logs: spans and LiteLLM payloads keep counts, ids, names and times, nothing else."""

import re
from decimal import Decimal
from typing import Any, Final

import msgspec

from tokenledger.readers.redact import bounded, request_without_texts, withheld

_decode: Final = msgspec.json.Decoder(float_hook=Decimal).decode
_encode: Final = msgspec.json.Encoder(decimal_format="number").encode
_TEXT_MAX_CHARS: Final = 256

_CONTENT: Final = re.compile(
    r"(^|[._])(prompts?|completions?|messages?|content|input|output|value|text|texts|instructions|documents?|arguments|"
    r"functions?|tools?|tool_calls?|query|template|embeddings?|vector|stacktrace|invocation_parameters|body|results?)"
    r"([._]|$)"
)
"""Names of attributes that hold what was said. Counts beside them are numbers and stay."""

_KIND: Final = re.compile(r"(finish_reasons?|stop_reason|[._]role|[._]type|[._]kind)$")
"""Names of attributes that say of what kind it was."""

_SPAN_KEPT: Final = frozenset({
    "traceId", "trace_id", "spanId", "span_id", "parentSpanId", "parent_id", "name", "kind", "context", "scope",
    "scope_name", "instrumentation_scope", "instrumentationScope", "schemaUrl", "schema_url", "startTimeUnixNano",
    "start_time_unix_nano", "start_time", "startTime", "endTimeUnixNano", "end_time_unix_nano", "end_time", "endTime",
})  # fmt: skip

_PAYLOAD_DROPPED: Final = frozenset({
    "messages", "response", "error_str", "proxy_server_request", "model_map_information", "guardrail_information",
    "standard_built_in_tools_params",
})  # fmt: skip
_PAYLOAD_OBJECTS: Final = {
    "metadata": re.compile(r"^(usage_object|user_api_key_\w+)$"),
    "hidden_params": re.compile(r"^(usage_object|litellm_overhead_time_ms|model_id|response_cost|api_base)$"),
    "error_information": re.compile(r"^(error_class|error_code|llm_provider)$"),
    "cost_breakdown": re.compile(r""),
}


def span_without_texts(value: bytes) -> bytes:
    """A span without prompts, answers and events."""
    span = _object(value)
    if span is None:
        return withheld(value)
    bare = "attributes" not in span
    kept = {name: bounded(held) for name, held in span.items() if name in _SPAN_KEPT}
    if bare:
        return _encode(kept | _attributes(span))
    kept["attributes"] = _attributes(span["attributes"])
    resource = span.get("resource")
    if isinstance(resource, dict):
        inside = resource.get("attributes", resource)
        kept["resource"] = {"attributes": _attributes(inside)}
    status = span.get("status")
    if isinstance(status, dict):
        kept["status"] = {name: held for name, held in status.items() if name in {"code", "status_code"}}
    return _encode(kept)


def payload_without_texts(value: bytes) -> bytes:
    """A LiteLLM payload without messages, reply and the caller's metadata."""
    payload = _object(value)
    if payload is None:
        return withheld(value)
    kept = {name: held for name, held in payload.items() if name not in _PAYLOAD_DROPPED and _is_short(held)}
    parameters = payload.get("model_parameters")
    if isinstance(parameters, dict):
        kept["model_parameters"] = request_without_texts(parameters)
    for name, allowed in _PAYLOAD_OBJECTS.items():
        if isinstance(payload.get(name), dict):
            kept[name] = {key: bounded(held) for key, held in payload[name].items() if allowed.match(key)}
    if isinstance(payload.get("request_tags"), list):
        kept["request_tags"] = bounded(payload["request_tags"])
    return _encode(kept)


def _object(value: bytes) -> dict[str, Any] | None:
    try:
        decoded = _decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return decoded if isinstance(decoded, dict) else None


def _is_short(held: Any) -> bool:
    return not isinstance(held, dict | list) and not (isinstance(held, str) and len(held) > _TEXT_MAX_CHARS)


def _attributes(stated: Any) -> Any:
    """The attributes that say nothing of what was said, in the form they came in."""
    if isinstance(stated, dict):
        return {name: held for name, held in stated.items() if _stays(name, held)}
    if not isinstance(stated, list):
        return []
    return [
        row for row in stated if isinstance(row, dict) and _stays(str(row.get("key", "")), _plain(row.get("value")))
    ]


def _plain(value: Any) -> Any:
    """The content of an OTLP AnyValue; its int64 is text in JSON."""
    if isinstance(value, dict) and len(value) == 1:
        kind, content = next(iter(value.items()))
        if kind in {"arrayValue", "array_value"}:
            held = content.get("values") if isinstance(content, dict) else None
            return [_plain(item) for item in held] if isinstance(held, list) else []
        return 0 if kind in {"intValue", "int_value"} else content
    return value


def _stays(name: str, held: Any) -> bool:
    if isinstance(held, bool | int | float | Decimal):
        return True
    if _CONTENT.search(name) and not _KIND.search(name):
        return False
    if isinstance(held, list):
        return all(_stays(name, item) for item in held)
    return isinstance(held, str) and len(held) <= _TEXT_MAX_CHARS
