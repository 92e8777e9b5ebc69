"""Anthropic Messages (JSON, SSE, batch results) and the legacy completions.

Usage in a stream is cumulative: the last word on each field counts.
"""

from typing import Any, Final

from tokenledger.normalise.anthropic_usage import read_usage
from tokenledger.normalise.reading import BadRecordError, Body, Dialect, Event, Exchange, Reading, part, text
from tokenledger.records.reasons import Reason

_EVENT_TYPES: Final = frozenset(
    {
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
        "ping",
    }
)
_REPLIES: Final = frozenset({"message", "completion"})
_NOT_CALLS: Final = frozenset(
    {"message_batch", "message_batch_deleted", "file", "file_deleted", "model", "skill", "organization"}
)
_COUNT_FIELDS: Final = frozenset({"input_tokens", "context_management"})


def fits(body: Body, exchange: Exchange) -> bool:
    """A message, one of its stream events, a legacy completion, or a line of a batch's results."""
    kind = body.get("type")
    if kind.__class__ is str:
        return kind in _EVENT_TYPES or (kind in _REPLIES and "object" not in body and "status" not in body)
    if "custom_id" in body:
        result = body.get("result")
        return isinstance(result, dict) and "type" in result
    usage = body.get("usage")
    if not isinstance(usage, dict) or "input_tokens" not in usage or "object" in body:
        return False
    # A body without its texts may have lost its type too; the usage object is known by itself.
    told = "cache_creation_input_tokens" in usage or "cache_read_input_tokens" in usage
    return told or (exchange.provider == "anthropic" and "input_tokens_details" not in usage)


def read(body: Body, exchange: Exchange) -> Reading:
    """A message → its Reading."""
    if "custom_id" in body and body.get("type") is None:
        return _read_batch_result(part(body, "result", ""), exchange)
    usage = body.get("usage")
    reading = Reading(
        usage_reading="anthropic.messages",
        api="completions" if body.get("type") == "completion" else "messages",
        response_id=text(body, "id"),
        response_model=text(body, "model"),
        finish_reason=text(body, "stop_reason"),
    )
    if usage.__class__ is dict and usage:
        read_usage(reading, usage)
    return reading


def _read_batch_result(result: Body, exchange: Exchange) -> Reading:
    """One line of a message batch's results: a message, or why there is none."""
    kind = text(result, "type") or ""
    message = result.get("message")
    if kind == "succeeded" and isinstance(message, dict):
        reading = read(message, exchange)
    else:
        error = part(part(result, "error", "result"), "error", "result.error")
        reading = Reading(
            usage_reading="error", api="messages", status="error", error_type=text(error, "type") or kind or "error"
        )
    reading.processing = "batch"
    return reading


def fold(events: list[Event]) -> tuple[Body, bool]:
    """The message of `message_start` with the last word on every usage field; complete once it says why it stopped."""
    body: dict[str, Any] = {"type": "message"}
    usage: dict[str, Any] = {}
    complete = False
    for _, data in events:
        if data.__class__ is not dict:
            continue
        kind = data.get("type")
        if kind == "message_start":
            body |= part(data, "message", "message_start")
        elif kind == "message_delta":
            body |= {name: value for name, value in part(data, "delta", "message_delta").items() if value is not None}
        elif kind == "message_stop":
            complete = True
        elif kind == "completion":
            body |= data
        else:
            continue
        stated = data["message"].get("usage") if kind == "message_start" and data.get("message") else data.get("usage")
        if stated.__class__ is dict:
            usage |= {name: value for name, value in stated.items() if value is not None}
    if usage:
        body["usage"] = usage
    return body, complete or body.get("stop_reason") is not None


MESSAGES: Final = Dialect("anthropic.messages", fits, read, fold)


def _is_no_call(body: Body, _exchange: Exchange) -> bool:
    """A token count, a batch, a file or a list of models."""
    if text(body, "type") in _NOT_CALLS:
        return True
    if body.keys() <= _COUNT_FIELDS:
        return "input_tokens" in body
    rows = body.get("data")
    return "has_more" in body and isinstance(rows, list) and "usage" not in body


def _refuse(body: Body, _exchange: Exchange) -> Reading:
    detail = f"an answer about {text(body, 'type') or 'tokens or a list'}, no model call; a message would be right"
    raise BadRecordError(Reason.NOT_A_CALL, "response", detail)


def _no_stream(_events: list[Event]) -> tuple[Body, bool]:
    return {}, True


NO_CALL: Final = Dialect("anthropic.no_call", _is_no_call, _refuse, _no_stream)
