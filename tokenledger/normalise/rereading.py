"""A call's stored usage read again by today's code, once a reading was mended. Pure.

What is stored is the provider's usage object, not its whole reply. So the reply is put together again as far as the
object goes, and what a dialect makes of it counts only if it finds in it exactly the object that was stored.
"""

from collections.abc import Iterator
from typing import Any, Final

from msgspec.structs import replace

from tokenledger.normalise.assemble import without_texts
from tokenledger.normalise.dialects import dialect_of_body
from tokenledger.normalise.reading import BadRecordError, Exchange, Reading
from tokenledger.records.call import Call
from tokenledger.records.rejected import Rejected
from tokenledger.records.versions import reading_version

_OBJECTS: Final = {
    "chat": "chat.completion",
    "completions": "text_completion",
    "embeddings": "list",
    "responses": "response",
}
_BESIDE: Final = "tool_usage"
"""What the Responses API counts beside its usage object, and is stored within it."""
_DIRECTIONS: Final = ("input.", "output.")


def read_again(call: Call) -> Call | Rejected | None:
    """The call by today's reading of its stored usage; None where that does not say enough to be read by itself.

    Rejected where today's code finds that the usage contradicts itself. Who asked, what ran, when and the call's keys
    stay as they are, and so does what was counted outside the usage object, such as searches.
    """
    if call.raw_usage is None or call.engine is not None:
        return None  # an engine's own counts may have come from beside its usage object
    exchange = Exchange(call.provider, call.api, "", call.request_model)
    refused: Rejected | None = None
    for body in _bodies(call, call.raw_usage):
        dialect = dialect_of_body(body, exchange)
        if dialect is None:
            continue
        try:
            reading = dialect.read(body, exchange)
        except BadRecordError as bad:
            if dialect.name == call.usage_reading:
                refused = refused or _rejected(call, bad)
            continue
        if _is_the_same(call, reading):
            return _as_read(call, reading)
    return refused


def _bodies(call: Call, raw: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Replies that may have held the object, the likeliest first."""
    known = {"id": call.response_id, "model": call.response_model, "service_tier": call.service_tier_served}
    named = {name: value for name, value in known.items() if value is not None}
    usage = {name: value for name, value in raw.items() if name != _BESIDE}
    beside = {_BESIDE: raw[_BESIDE]} if _BESIDE in raw else {}
    rows: dict[str, Any] = {"data": []} if call.api == "embeddings" else {}
    if call.api in _OBJECTS:
        yield {**named, **beside, **rows, "object": _OBJECTS[call.api], "usage": usage}
    yield {**named, "usage": raw}
    yield {**named, "type": "message", "usage": raw}
    yield {**named, "usageMetadata": raw}
    yield {**named, **raw}


def _is_the_same(call: Call, reading: Reading) -> bool:
    """Whether it is the same object in the same convention, and says as much as was known before."""
    if reading.raw_usage is None or reading.usage_reading != call.usage_reading:
        return False
    said = (call.input_tokens is None or reading.input_tokens is not None) and (
        call.output_tokens is None or reading.output_tokens is not None
    )
    return said and without_texts(reading.raw_usage) == call.raw_usage


def _as_read(call: Call, reading: Reading) -> Call:
    beside = {} if _beside_tokens(reading.usage) else _beside_tokens(call.usage)
    return replace(
        call,
        usage={**reading.usage, **beside},
        input_tokens=reading.input_tokens,
        output_tokens=reading.output_tokens,
        explicit_leaves=reading.explicit_leaves,
        shares=reading.shares,
        billed_usd_pico=call.billed_usd_pico if reading.billed_usd_pico is None else reading.billed_usd_pico,
        anomalies=call.anomalies + tuple(one for one in reading.anomalies if one not in call.anomalies),
        reading_version=reading_version(call.usage_reading),
    )


def _beside_tokens(usage: dict[str, int]) -> dict[str, int]:
    return {meter: quantity for meter, quantity in usage.items() if not meter.startswith(_DIRECTIONS)}


def _rejected(call: Call, bad: BadRecordError) -> Rejected:
    return Rejected(
        reason=bad.reason, field=bad.field[:256], detail=bad.detail[:512], tenant_id=call.tenant_id,
        event_id=call.event_id,
    )  # fmt: skip
