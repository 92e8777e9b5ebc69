"""OpenAI Responses API: whole, streamed, retrieved again, in the background; Azure, xAI, OpenRouter and others too.

Input includes cached and written tokens, output includes reasoning. One response keeps its id however often it is
retrieved. Image generation by tool is counted apart in `tool_usage` and is another model's.
"""

from typing import Any, Final

from tokenledger.normalise.openai_chat import azure_deployment
from tokenledger.normalise.openai_usage import RESPONSES as NAMES
from tokenledger.normalise.openai_usage import read_tokens
from tokenledger.normalise.provider_bills import add_bill
from tokenledger.normalise.reading import Body, Dialect, Event, Exchange, Reading, count, part, seconds_to_us, text
from tokenledger.records.call import ModelShare
from tokenledger.records.reasons import Anomaly

_PENDING: Final = frozenset({"queued", "in_progress"})
_TERMINAL: Final = frozenset({"completed", "incomplete", "failed", "cancelled"})


def fits(body: Body, _exchange: Exchange) -> bool:
    """A response object, or a stream event that holds one."""
    response = body.get("response")
    if response.__class__ is dict:
        return "type" in body and response.get("object", "response") == "response"
    if body.get("object") == "response":
        return True
    output, usage = body.get("output"), body.get("usage")
    items = output.__class__ is list and all(item.__class__ is dict for item in output[:1])
    return items and "status" in body and (usage is None or usage.__class__ is dict)


def read(body: Body, exchange: Exchange) -> Reading:
    """A response → its Reading."""
    inner = body.get("response")
    if inner.__class__ is dict:
        body = inner  # one event of a stream, kept alone
    reading = Reading(
        usage_reading="openai.responses",
        api="responses",
        response_id=text(body, "id"),
        response_model=text(body, "model"),
        service_tier=text(body, "service_tier"),
        created_at_us=seconds_to_us(body.get("created_at")),
        deployment_id=azure_deployment(exchange.url) if exchange.url else None,
    )
    _read_status(reading, body)
    usage = body.get("usage")
    if usage and usage.__class__ is dict:
        read_tokens(reading, usage, NAMES)
        add_bill(reading, body, exchange)
    _add_tools(reading, body)
    return reading


def fold(events: list[Event]) -> tuple[Body, bool]:
    """The last response object of the stream; it is complete if that one is terminal."""
    body: dict[str, Any] = {}
    for event in events:
        response = event.data.get("response") if event.data.__class__ is dict else None
        if response.__class__ is dict:
            body = response
    complete = text(body, "status") in _TERMINAL
    return (body if complete else body | {"status": None}), complete


def _read_status(reading: Reading, body: Body) -> None:
    status = text(body, "status")
    if status in _PENDING:
        reading.status = "in_progress"
        reading.note(Anomaly.IN_PROGRESS)
    elif status == "failed":
        reading.status = "error"
        reading.error_type = text(part(body, "error", ""), "code") or "failed"
    elif status == "cancelled":
        reading.status = "aborted"
        reading.note(Anomaly.ABORTED)
    reading.finish_reason = text(part(body, "incomplete_details", ""), "reason") or status


def _add_tools(reading: Reading, body: Body) -> None:
    """Calls of the provider's own tools. Of web searches only `search` is billed, opening a page is free."""
    output = body.get("output")
    items = [item for item in output if item.__class__ is dict] if output.__class__ is list else []
    calls = {
        "tool.web_search": sum(map(_is_search, items)),
        "tool.file_search": sum(item.get("type") == "file_search_call" for item in items),
        "tool.code_execution": _containers(items),
    }
    if body.get("tool_usage"):
        tools = part(body, "tool_usage", "")
        calls["tool.web_search"] = (
            count(part(tools, "web_search", "tool_usage"), "num_requests", "tool_usage.web_search")
            or calls["tool.web_search"]
        )
        _add_images(reading, body, part(tools, "image_gen", "tool_usage"))
    for meter, number in calls.items():
        if number and meter not in reading.usage:
            reading.usage[meter] = number


def _containers(items: list[dict[str, Any]]) -> int:
    """Containers the code interpreter ran in: they are billed, not the calls; a call that names none counts as one."""
    named = [text(item, "container_id") for item in items if item.get("type") == "code_interpreter_call"]
    return len({name for name in named if name}) + named.count(None)


def _is_search(item: dict[str, Any]) -> bool:
    if item.get("type") != "web_search_call" or item.get("status") == "failed":
        return False
    action = item.get("action")
    return action.__class__ is not dict or action.get("type", "search") == "search"


def _add_images(reading: Reading, body: Body, made: Body) -> None:
    """Tokens of the image tool, which its own model consumed beside the response's."""
    inputs, outputs = (count(made, name, "tool_usage.image_gen") or 0 for name in ("input_tokens", "output_tokens"))
    if not inputs and not outputs:
        return
    model = _image_model(body)
    if model is None:
        reading.note(Anomaly.UNEXPLAINED_TOKENS)
        return
    share = Reading(usage_reading="")
    image = dict(made)
    if outputs and not part(made, "output_tokens_details", "tool_usage.image_gen"):
        image["output_tokens_details"] = {"image_tokens": outputs}
    read_tokens(share, image, NAMES)
    share.usage = {meter: tokens for meter, tokens in share.usage.items() if tokens}
    for meter, tokens in share.usage.items():
        reading.usage[meter] = reading.usage.get(meter, 0) + tokens
    reading.input_tokens = (reading.input_tokens or 0) + inputs
    reading.output_tokens = (reading.output_tokens or 0) + outputs
    reading.shares = (*reading.shares, ModelShare(model=model, usage=share.usage, kind="image_generation"))
    reading.raw_usage = (reading.raw_usage or {}) | {"tool_usage": {"image_gen": dict(made)}}


def _image_model(body: Body) -> str | None:
    tools = body.get("tools")
    for tool in tools if tools.__class__ is list else ():
        if tool.__class__ is dict and tool.get("type") == "image_generation":
            return text(tool, "model")
    return None


RESPONSES = Dialect("openai.responses", fits, read, fold)
