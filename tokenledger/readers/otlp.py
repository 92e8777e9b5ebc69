"""OTLP/JSON exports → one record a span that carries model usage; the export is the container, the span a part."""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from tokenledger.readers.found import Found, Origin

SPAN_TYPE: Final = b"otel.span"
_encode: Final = msgspec.json.encode
_MODEL_PREFIXES: Final = ("gen_ai.", "llm.")


def spans(value: bytes, origin: Origin, line: int) -> Iterator[Found]:
    """Every span of the export as a span with its resource and scope; spans of other things are left where they are."""
    export = msgspec.json.decode(value)
    part = -1
    for resource_spans in _list(export, "resourceSpans", "resource_spans"):
        for scope_spans in _list(resource_spans, "scopeSpans", "scope_spans"):
            for span in _list(scope_spans, "spans"):
                part += 1
                if _is_model_span(span):
                    yield _found(origin, line, part, _with_context(span, resource_spans, scope_spans))


def _list(holder: Any, *names: str) -> list[Any]:
    for name in names:
        listed = holder.get(name) if isinstance(holder, dict) else None
        if isinstance(listed, list):
            return listed
    return []


def _is_model_span(span: Any) -> bool:
    return any(
        isinstance(attribute, dict) and str(attribute.get("key", "")).startswith(_MODEL_PREFIXES)
        for attribute in _list(span, "attributes")
    )


def _with_context(span: dict[str, Any], resource_spans: Any, scope_spans: Any) -> dict[str, Any]:
    return span | {"resource": resource_spans.get("resource"), "scope": scope_spans.get("scope")}


def _found(origin: Origin, line: int, part: int, span: dict[str, Any]) -> Found:
    headers = {"ce_type": SPAN_TYPE}
    trace_id, span_id = span.get("traceId"), span.get("spanId")
    if isinstance(span_id, str) and span_id:
        # Exporters retry whole batches, so the span names itself, not its place in this file.
        headers["ce_id"] = f"{trace_id}-{span_id}".encode()
        headers["ce_source"] = b"otlp"
    return origin.found(line, _encode(span), headers, part=part)
