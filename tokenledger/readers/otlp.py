"""OTLP/JSON exports → one record a span that speaks of a model; the export is the container, the span a part."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final

import msgspec

from tokenledger.normalise.otel import SPAN_TYPE, is_model_span, split_otlp
from tokenledger.readers.found import Found, Place

_decode: Final = msgspec.json.Decoder(float_hook=Decimal).decode
_encode: Final = msgspec.json.Encoder(decimal_format="number").encode
_TYPE: Final = SPAN_TYPE.encode()


def spans(value: bytes, place: Place) -> Iterator[Found]:
    """Every model span of the export, with its resource and scope; spans of other things are no records of ours."""
    for part, span in enumerate(split_otlp(_decode(value))):
        if is_model_span(span):
            yield span_record(_encode(span), span, place=place._replace(part=part))


def span_record(value: bytes, span: dict[str, Any], *, place: Place) -> Found:
    """One span as a record. Exporters retry whole batches, so a span is named by itself, not by its place."""
    headers = {"ce_type": _TYPE}
    context = span.get("context")
    held = context if isinstance(context, dict) else span
    trace_id = held.get("traceId") or held.get("trace_id")
    span_id = held.get("spanId") or held.get("span_id")
    if isinstance(span_id, str) and span_id:
        headers |= {"ce_id": f"{trace_id}-{span_id}".encode(), "ce_source": b"otel"}
    return place.found(value, headers)
