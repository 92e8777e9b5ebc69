"""Cohere v1 and v2: chat, generate, embed, rerank, classify, and their streams.

`billed_units` is what Cohere charges, so it makes the leaves. `tokens` (Cohere's own template included) and
`cached_tokens`, which belong to them, stand beside and are kept in the raw usage. Counts come as floats.
"""

from typing import Any, Final

from tokenledger.normalise.leaves import carve_input, carve_output
from tokenledger.normalise.reading import BadRecordError, Body, Dialect, Event, Exchange, Reading, count, part, text
from tokenledger.records.reasons import Reason

_UNITS: Final = (
    ("search_units", "search_unit"),
    ("classifications", "classification"),
    ("images", "image"),
    ("pages", "page"),
)
_V2_EVENTS: Final = ("message-", "content-", "tool-", "citation-", "debug")
_REPLY_FIELDS: Final = frozenset({"is_finished", "event_type", "generation_id", "generations", "meta", "message"})
_NOT_CALLS: Final = ("token_strings", "models", "dataset", "datasets")


def fits(body: Body, exchange: Exchange) -> bool:
    """Billed units, or, from Cohere itself, any of its replies and stream events."""
    usage = _usage(body)
    if "billed_units" in usage or (usage and "tokens" in usage):
        return True
    if exchange.provider != "cohere":
        return False
    kind = body.get("type")
    if isinstance(kind, str) and kind.startswith(_V2_EVENTS):
        return True
    return not _REPLY_FIELDS.isdisjoint(body)


def _usage(body: Body) -> Body:
    """The object that holds `billed_units`, wherever this API puts it."""
    for holder in (body, body.get("delta"), body.get("response")):
        if isinstance(holder, dict):
            usage = holder.get("usage") or holder.get("meta")
            if isinstance(usage, dict):
                return usage
    return {}


def read(body: Body, _exchange: Exchange) -> Reading:
    """A reply → its Reading."""
    usage = _usage(body)
    reading = Reading(
        usage_reading="cohere.billed_units",
        api=_api(body),
        response_id=text(body, "response_id") or text(body, "id") or text(body, "generation_id"),
        response_model=text(body, "model"),
        finish_reason=_finish_reason(body),
    )
    billed = part(usage, "billed_units", "usage")
    if billed:
        reading.raw_usage = _kept(usage)
        _read_billed(reading, billed)
    elif tokens := part(usage, "tokens", "usage"):
        reading.usage_reading, reading.raw_usage = "cohere.tokens", _kept(usage)
        cached, total = count(usage, "cached_tokens", "usage"), count(tokens, "input_tokens", "usage.tokens")
        if total is not None or cached:
            carve_input(reading, total or 0, cached={"cache_read": cached} if cached else {})
        if (output := count(tokens, "output_tokens", "usage.tokens")) is not None:
            carve_output(reading, output)
    return reading


def _kept(usage: Body) -> dict[str, Any]:
    return {name: usage[name] for name in ("billed_units", "tokens", "cached_tokens") if name in usage}


def _read_billed(reading: Reading, billed: Body) -> None:
    path = "billed_units"
    fresh, output = count(billed, "input_tokens", path), count(billed, "output_tokens", path)
    pictures = count(billed, "image_tokens", path)
    if fresh is None and pictures is not None:
        fresh = count(billed, "text_tokens", path) or 0
    if fresh is not None:
        total = fresh + (pictures or 0)
        carve_input(reading, total, modalities={"image": pictures} if pictures else {}, path=path)
    if output is not None:
        carve_output(reading, output, path=path)
    for name, meter in _UNITS:
        # Pictures that are billed by their tokens are not billed by their number too.
        if (units := count(billed, name, path)) and not (name == "images" and pictures):
            reading.usage = {**reading.usage, meter: units}
            reading.explicit_leaves += 1


def _api(body: Body) -> str:
    if "generations" in body:
        return "completions"
    if "embeddings" in body:
        return "embeddings"
    if "classifications" in body:
        return "classify"
    return "rerank" if "results" in body else "chat"


def _finish_reason(body: Body) -> str | None:
    generations = body.get("generations")
    if isinstance(generations, list) and generations and isinstance(generations[0], dict):
        return text(generations[0], "finish_reason") or text(body, "finish_reason")
    return text(body, "finish_reason")


def fold(events: list[Event]) -> tuple[Body, bool]:
    """v1 ends in `stream-end` with the whole reply under `response`, v2 in `message-end` with `delta.usage`."""
    body: dict[str, Any] = {}
    complete = False
    for _, data in events:
        if not isinstance(data, dict):
            continue
        if "id" in data or "generation_id" in data:
            body |= {name: data[name] for name in ("id", "generation_id") if data.get(name) is not None}
        if data.get("type") == "message-end":
            complete = True
            body |= {name: value for name, value in part(data, "delta", "").items() if value is not None}
        elif data.get("is_finished") is True or data.get("event_type") == "stream-end":
            complete = True
            body |= {"finish_reason": data.get("finish_reason"), **part(data, "response", "")}
    return body, complete


REPLY: Final = Dialect("cohere", fits, read, fold)


def _is_no_call(body: Body, _exchange: Exchange) -> bool:
    """Tokenise, a list of models or data sets."""
    return any(name in body for name in _NOT_CALLS)


def _refuse(body: Body, _exchange: Exchange) -> Reading:
    detail = f"an answer with the fields {sorted(body)[:6]}, no model call; a chat or embed reply would be right"
    raise BadRecordError(Reason.NOT_A_CALL, "response", detail)


NO_CALL: Final = Dialect("cohere.no_call", _is_no_call, _refuse, fold)
