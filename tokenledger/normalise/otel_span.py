"""A span as JSON, in any of its three forms, as one flat view: OTLP, a console exporter's, or bare attributes."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from tokenledger.normalise.assemble import parse_time
from tokenledger.normalise.reading import Body

_MODEL_PREFIXES: Final = ("gen_ai.", "llm.", "openinference.", "embedding.", "traceloop.", "ai.usage.")
_WHOLE_NUMBER_CHARS: Final = 20
_LAST_INSTANT_US: Final = 253_402_300_799_999_999
_NO_SPAN: Final = frozenset({"", "0x", "0" * 16})


class Span(NamedTuple):
    """What of a span says something about a model call."""

    attributes: Mapping[str, Any]
    """Attribute → value; the span's own."""
    resource: Mapping[str, Any]
    """Attribute → value of what emitted it."""
    scope: str
    """Name of the instrumentation."""
    schema: str
    """URL of the conventions it follows, as far as it says."""
    trace_id: str | None
    """W3C trace id."""
    span_id: str | None
    """W3C span id."""
    started_at_us: int | None
    """Start, µs UTC."""
    ended_at_us: int | None
    """End, µs UTC."""
    failed: bool
    """Whether its status is an error."""


def split_otlp(export: Body) -> list[dict[str, Any]]:
    """An OTLP/JSON export → its spans, each with its `resource`, `scope` and `schemaUrl`."""
    return list(_spans(export))


def is_model_span(span: Body) -> bool:
    """Whether any attribute of the span speaks of a model."""
    return any(name.startswith(_MODEL_PREFIXES) for name in _attributes(span.get("attributes")))


def _spans(export: Body) -> Iterator[dict[str, Any]]:
    for of_resource in _rows(export, "resourceSpans", "resource_spans"):
        for of_scope in _rows(of_resource, "scopeSpans", "scope_spans", "instrumentationLibrarySpans"):
            context = {
                "resource": of_resource.get("resource") or {},
                "scope": of_scope.get("scope") or of_scope.get("instrumentationLibrary") or {},
                "schemaUrl": of_scope.get("schemaUrl") or of_resource.get("schemaUrl") or "",
            }
            for span in _rows(of_scope, "spans"):
                yield {**span, **context}


def _rows(holder: Body, *names: str) -> list[dict[str, Any]]:
    for name in names:
        rows = holder.get(name)
        if isinstance(rows, list):
            return [row for row in rows if isinstance(row, dict)]
    return []


def view(span: Body) -> Span:
    """The span's flat view; what is not there is None or empty."""
    context = _object(span, "context")
    scope = _object(span, "scope") or _object(span, "instrumentation_scope") or _object(span, "instrumentationScope")
    resource = _object(span, "resource")
    bare = "attributes" not in span
    schema = span.get("schemaUrl") or span.get("schema_url") or scope.get("schema_url") or ""
    return Span(
        attributes=_attributes(span if bare else span["attributes"]),
        resource=_attributes(resource.get("attributes", resource)),
        scope=str(scope.get("name") or span.get("scope_name") or ""),
        schema=str(schema),
        trace_id=_id(_first(span, "traceId", "trace_id") or context.get("trace_id")),
        span_id=_id(_first(span, "spanId", "span_id") or context.get("span_id")),
        started_at_us=_instant(_first(span, "startTimeUnixNano", "start_time_unix_nano", "start_time", "startTime")),
        ended_at_us=_instant(_first(span, "endTimeUnixNano", "end_time_unix_nano", "end_time", "endTime")),
        failed=_failed(span.get("status")),
    )


def _object(holder: Body, name: str) -> Body:
    value = holder.get(name)
    return value if isinstance(value, dict) else {}


def _first(holder: Body, *names: str) -> Any:
    return next((holder[name] for name in names if holder.get(name) is not None), None)


def _attributes(stated: Any) -> dict[str, Any]:
    """`{name: value}`, or OTLP's `[{key, value: {stringValue: …}}]`."""
    if isinstance(stated, dict):
        return stated
    rows = stated if isinstance(stated, list) else []
    return {
        row["key"]: _value(row.get("value"))
        for row in rows
        if isinstance(row, dict) and isinstance(row.get("key"), str)
    }


def _value(value: Any) -> Any:
    """The content of an OTLP AnyValue; int64 is a string in JSON."""
    if not isinstance(value, dict) or len(value) != 1:
        return value
    kind, content = next(iter(value.items()))
    if kind in {"intValue", "int_value"} and isinstance(content, str):
        digits = content.removeprefix("-")
        whole = digits.isascii() and digits.isdigit() and len(content) <= _WHOLE_NUMBER_CHARS
        return int(content) if whole else content
    if kind in {"arrayValue", "array_value"}:
        values = content.get("values") if isinstance(content, dict) else None
        return [_value(item) for item in values] if isinstance(values, list) else []
    return content


def _id(value: Any) -> str | None:
    text = str(value).removeprefix("0x") if isinstance(value, str) else ""
    return None if text in _NO_SPAN else text[:256]


def _instant(value: Any) -> int | None:
    """Nanoseconds since 1970 (a number or digits) or RFC 3339 → µs, floored."""
    if isinstance(value, str):
        if not (value.isascii() and value.isdigit() and len(value) <= _WHOLE_NUMBER_CHARS):
            return parse_time(value)
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    at_us = value // 1000
    return at_us if 0 < at_us <= _LAST_INSTANT_US else None


def _failed(status: Any) -> bool:
    code = status.get("code", status.get("status_code")) if isinstance(status, dict) else status
    return code in (2, "2") or (isinstance(code, str) and code.upper().endswith("ERROR"))
