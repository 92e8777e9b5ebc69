"""Amazon Bedrock Converse and ConverseStream.

`inputTokens` leaves out what was read from or written to the cache (as genai-prices and the Converse API describe it).
The reply names no model: it stands in the URL or the request, as an id or an ARN. A geography prefix (`us.`, `eu.`, …)
stays part of the name, for it has a price of its own.
"""

import re
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

from tokenledger.normalise.engine_timings import to_us
from tokenledger.normalise.exclusive import add_input, written
from tokenledger.normalise.leaves import carve_output
from tokenledger.normalise.reading import BadRecordError, Body, Dialect, Event, Exchange, Reading, count, part, text
from tokenledger.records.call import Timings
from tokenledger.records.reasons import Anomaly, Reason

_EVENTS: Final = frozenset(
    {"messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata"}
)
_GEOGRAPHIES: Final = frozenset({"us", "us-gov", "eu", "apac", "jp", "au", "ca", "sa", "mx", "me", "af", "global"})
_MODEL_IN_URL: Final = re.compile(r"/model/([^?#]+?)(?:/(?:converse|invoke|count-tokens)[^/]*)?(?:[?#]|$)")
_ARN_PARTS: Final = 6
_REGION_IN_URL: Final = re.compile(r"//bedrock-runtime(?:-fips)?\.([a-z0-9-]+)\.")
_OPAQUE: Final = ("application-inference-profile", "provisioned-model", "custom-model", "imported-model", "endpoint")
"""ARN resources whose name says nothing of the model."""


class Place(NamedTuple):
    """Where a call ran, as its URL and request tell."""

    asked: str | None
    """Model id or ARN as it was asked for."""
    model: str | None
    """Model id with its geography prefix; None where an ARN hides it."""
    region: str | None
    """Geography, else AWS region."""


def find_place(exchange: Exchange) -> Place:
    """Model and region from the URL, else from the request."""
    found = _MODEL_IN_URL.search(exchange.url) if exchange.url else None
    asked = unquote(found[1]) if found else exchange.request_model
    host = _REGION_IN_URL.search(exchange.url) if exchange.url else None
    region = host[1] if host else None
    if not asked:
        return Place(None, None, region)
    model: str | None = asked
    arn = asked.split(":", _ARN_PARTS - 1)
    if arn[0] == "arn" and len(arn) == _ARN_PARTS:
        kind, _, name = arn[-1].partition("/")
        region = arn[3] or region
        model = None if kind in _OPAQUE else name or None
    geography = (model or "").partition(".")[0]
    return Place(asked, model, geography if geography in _GEOGRAPHIES else region)


def put_place(reading: Reading, exchange: Exchange) -> None:
    """Model, region, request id, tier and latency mode, which stand outside the body; the asked name is priced."""
    place = find_place(exchange)
    reading.request_model = place.asked
    reading.response_model = place.model or reading.response_model
    reading.region = place.region
    headers = exchange.headers
    reading.response_id = reading.response_id or headers.get("x-amzn-requestid")
    reading.service_tier = reading.service_tier or headers.get("x-amzn-bedrock-service-tier")
    latency = headers.get("x-amzn-bedrock-performanceconfig-latency")
    if latency and latency != "standard":
        reading.speed = latency


def fits(body: Body, exchange: Exchange) -> bool:
    """A Converse reply or one of its stream's events, with or without its name around it."""
    usage = body.get("usage")
    if isinstance(usage, dict):
        told = exchange.provider == "aws.bedrock" or "stopReason" in body or "metrics" in body
        return told and ("inputTokens" in usage or "outputTokens" in usage)
    return "contentBlockIndex" in body or "stopReason" in body or _is_wrapped_event(body)


def _is_wrapped_event(body: Body) -> bool:
    """An event's name around it and nothing else: many an object that is no event has a field `metadata` too."""
    return bool(body) and _EVENTS.issuperset(body)


def read(body: Body, exchange: Exchange) -> Reading:
    """A Converse reply → its Reading."""
    about = part(body, "ResponseMetadata", "")  # boto3 puts it there
    reading = Reading(
        usage_reading="bedrock.converse",
        api="converse",
        response_id=text(about, "RequestId"),
        finish_reason=text(body, "stopReason"),
        service_tier=text(part(body, "serviceTier", ""), "type"),
    )
    latency = text(part(body, "performanceConfig", ""), "latency")
    if latency != "standard":
        reading.speed = latency
    put_place(reading, exchange)
    metrics = body.get("metrics")
    if isinstance(metrics, dict) and metrics.get("latencyMs") is not None:
        reading.timings = Timings(total_us=to_us(metrics["latencyMs"], 1000))
    usage = body.get("usage")
    if isinstance(usage, dict) and usage:
        read_usage(reading, usage)
    _note_failure(reading, body)
    return reading


def read_usage(reading: Reading, usage: dict[str, Any]) -> None:
    """Put Converse counts into leaves; Nova's own replies spell the cache counts `…InputTokenCount`."""
    reading.raw_usage = usage
    fresh = count(usage, "inputTokens", "usage")
    cached = _either(usage, "cacheReadInputTokens", "cacheReadInputTokenCount")
    creation = _either(usage, "cacheWriteInputTokens", "cacheWriteInputTokenCount")
    details = usage.get("cacheDetails")
    writes = written(reading, creation, split=_lifetimes(details), path="usage") if creation or details else None
    if fresh is not None or cached or writes:
        add_input(reading, fresh or 0, cached or 0, writes=writes)
        reading.explicit_leaves += (cached is not None) + (creation is not None)
    output = count(usage, "outputTokens", "usage")
    if output is not None:
        carve_output(reading, output)
    _check_total(reading, count(usage, "totalTokens", "usage"), fresh or 0)


def _either(usage: Body, name: str, other: str) -> int | None:
    tokens = count(usage, name, "usage")
    return count(usage, other, "usage") if tokens is None else tokens


def _lifetimes(details: Any) -> dict[str, int]:
    """`[{ttl, inputTokens}]` → cache action → tokens."""
    lifetimes: dict[str, int] = {}
    if details is None:
        return lifetimes
    if not isinstance(details, list) or not all(isinstance(row, dict) for row in details):
        detail = f"found {details!r:.40}; a list of objects would be right"
        raise BadRecordError(Reason.INVALID_COUNT, "usage.cacheDetails", detail)
    for row in details:
        if tokens := count(row, "inputTokens", "usage.cacheDetails"):
            action = f"cache_write_{text(row, 'ttl')}" if text(row, "ttl") in {"5m", "1h"} else "cache_write"
            lifetimes[action] = lifetimes.get(action, 0) + tokens
    return lifetimes


def _check_total(reading: Reading, reported: int | None, fresh: int) -> None:
    """Whether `totalTokens` contains the cache is not documented; either sum will do."""
    output = reading.output_tokens or 0
    if reported and reported not in {fresh + output, (reading.input_tokens or 0) + output}:
        unexplained = reported > (reading.input_tokens or 0) + output
        reading.note(Anomaly.UNEXPLAINED_TOKENS if unexplained else Anomaly.TOTAL_MISMATCH)


def _note_failure(reading: Reading, body: Body) -> None:
    """A stream that ended in an exception keeps what was used before it."""
    failure = body.get("streamException")
    if isinstance(failure, str):
        reading.status, reading.error_type = "error", failure


def fold(events: list[Event]) -> tuple[Body, bool]:
    """The last metadata and the stop reason; complete once the stop reason is known."""
    body: dict[str, Any] = {}
    for name, data in events:
        for kind, inner in named(name, data):
            if kind.endswith("Exception"):
                body["streamException"] = kind
            elif "stopReason" in inner:
                body["stopReason"] = inner["stopReason"]
            elif "usage" in inner or "metrics" in inner:
                body |= {key: value for key, value in inner.items() if value is not None}
    return body, "stopReason" in body or "usage" in body


def named(name: str | None, data: Any) -> list[tuple[str, dict[str, Any]]]:
    """An event and its name, whether the name stands beside the data or around it."""
    if not isinstance(data, dict):
        return []
    around = [(key, inner) for key, inner in data.items() if (key in _EVENTS or key.endswith("Exception"))]
    if around and len(around) == len(data):
        return [(key, inner) for key, inner in around if isinstance(inner, dict)]
    return [(name or "", data)]


SHAPE: Final = Dialect("bedrock.converse", fits, read, fold)
"""The shape alone: Nova's own replies to InvokeModel have it too."""


def _is_converse(body: Body, exchange: Exchange) -> bool:
    if "/invoke" in exchange.url or "x-amzn-bedrock-input-token-count" in exchange.headers:
        return False
    return fits(body, exchange)


CONVERSE: Final = Dialect("bedrock.converse", _is_converse, read, fold)
