"""LangChain's `AIMessage` as JSON: one usage shape for all providers, with inclusive totals.

`usage_metadata.input_tokens` contains cache reads and writes, `output_tokens` contains reasoning
(langchain_core/messages/ai.py); so a Claude reply in this shape must not be read by Anthropic's rule. Where an
integration left the input exclusive, the total gives it away.
"""

from typing import Any, Final

from tokenledger.normalise.leaves import carve_input, carve_output, check_total
from tokenledger.normalise.reading import Body, Dialect, Event, Exchange, Reading, count, part, text

_WRITES: Final = {
    "cache_creation": "cache_write",
    "ephemeral_5m_input_tokens": "cache_write_5m",
    "ephemeral_1h_input_tokens": "cache_write_1h",
}
_MODALITIES: Final = ("audio", "image", "video")
_PATH: Final = "usage_metadata"


def fits(body: Body, _exchange: Exchange) -> bool:
    """`usage_metadata` with `input_tokens`, at the top or in a serialised object's `kwargs`."""
    usage = _message(body).get("usage_metadata")
    return isinstance(usage, dict) and "input_tokens" in usage


def _message(body: Body) -> Body:
    kwargs = body.get("kwargs")
    return kwargs if isinstance(kwargs, dict) and "usage_metadata" not in body else body


def read(body: Body, _exchange: Exchange) -> Reading:
    """An `AIMessage` → its Reading."""
    message = _message(body)
    usage = dict(part(message, "usage_metadata", "response"))
    about = part(message, "response_metadata", "response")
    reading = Reading(
        usage_reading="langchain.message",
        api="chat",
        # LangChain's own `run-…` ids are of the run, not of the reply.
        response_id=text(about, "id"),
        response_model=text(about, "model_name") or text(about, "model"),
        finish_reason=text(about, "finish_reason") or text(about, "stop_reason"),
        service_tier=text(about, "service_tier"),
        raw_usage=usage,
    )
    _read_usage(reading, usage)
    return reading


def _read_usage(reading: Reading, usage: Body) -> None:
    inside, out = part(usage, "input_token_details", _PATH), part(usage, "output_token_details", _PATH)
    total, stated_output = count(usage, "input_tokens", _PATH) or 0, count(usage, "output_tokens", _PATH)
    output, parts = stated_output or 0, _stated(out, ("reasoning", *_MODALITIES))
    cached = _cache_actions(inside)
    reported = count(usage, "total_tokens", _PATH)
    apart = sum(cached.values())
    if apart and (apart > total or reported == total + apart + output):
        reading.usage_reading = "langchain.message.exclusive"
        total += apart
    carve_input(reading, total, cached=cached, modalities=_stated(inside, _MODALITIES), path=_PATH)
    if stated_output is not None or parts:
        carve_output(reading, output, parts=parts, path=_PATH)
    if reading.usage_reading == "langchain.message":
        check_total(reading, reported)


def _cache_actions(details: Body) -> dict[str, int]:
    path = f"{_PATH}.input_token_details"
    cached = {}
    if read_tokens := count(details, "cache_read", path):
        cached["cache_read"] = read_tokens
    # Where lifetimes are stated, `cache_creation` is 0 or their sum.
    lifetimes = {
        action: tokens
        for name, action in _WRITES.items()
        if name != "cache_creation" and (tokens := count(details, name, path))
    }
    written = (count(details, "cache_creation", path) or 0) - sum(lifetimes.values())
    cached |= lifetimes
    if written > 0:
        cached["cache_write"] = written
    return cached


def _stated(details: Body, names: tuple[str, ...]) -> dict[str, int]:
    return {name: tokens for name in names if (tokens := count(details, name, f"{_PATH}.details"))}


def fold(events: list[Event]) -> tuple[Body, bool]:
    """Usage of `AIMessageChunk`s is made to be added up: each carries only what is new (`add_usage`)."""
    body: dict[str, Any] = {}
    usage: dict[str, Any] = {}
    for _, data in events:
        if isinstance(data, dict):
            message = _message(data)
            body |= {name: value for name, value in message.items() if value}
            usage = _added(usage, part(message, "usage_metadata", ""))
    return body | {"usage_metadata": usage}, bool(usage)


def _added(usage: Body, more: Body) -> dict[str, Any]:
    total = dict(usage)
    for name, value in more.items():
        if isinstance(value, dict):
            total[name] = _added(part(total, name, _PATH), value)
        elif value is not None:
            total[name] = (count(total, name, _PATH) or 0) + (count(more, name, _PATH) or 0)
    return total


MESSAGE: Final = Dialect("langchain.message", fits, read, fold)
