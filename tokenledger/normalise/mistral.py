"""Mistral: chat, FIM, embeddings, transcription, OCR, and conversations of agents.

Chat counts as OpenAI does, cached tokens inside the prompt. Audio is billed by its length: `prompt_audio_seconds`
stands beside the text tokens, and only `total_tokens` contains the audio's tokens (mistralai UsageInfo). Connectors of
an agent put `connector_tokens` beside the prompt (ConversationUsageInfo).
"""

from typing import Any, Final

from tokenledger.normalise import openai_chat
from tokenledger.normalise.leaves import carve_input, carve_output, check_total
from tokenledger.normalise.openai_usage import CHAT as NAMES
from tokenledger.normalise.openai_usage import read_tokens
from tokenledger.normalise.reading import Body, Dialect, Event, Exchange, Reading, count, last_of, part, text
from tokenledger.records.reasons import Anomaly

_CONNECTORS: Final = {
    "web_search": "tool.web_search",
    "web_search_premium": "tool.web_search",
    "code_interpreter": "tool.code_execution",
    "document_library": "tool.file_search",
    "image_generation": "image",
}


def fits(body: Body, _exchange: Exchange) -> bool:
    """A chat reply or chunk, or a usage object with prompt tokens."""
    if "choices" in body or str(body.get("type", "")).startswith("transcription."):
        return True
    usage = body.get("usage")
    return isinstance(usage, dict) and ("prompt_tokens" in usage or "prompt_audio_seconds" in usage)


def read(body: Body, exchange: Exchange) -> Reading:
    """A reply that counts tokens or audio seconds → its Reading."""
    reading = openai_chat.start(body, exchange, "mistral.chat", _api(body))
    usage = openai_chat.usage_of(body)
    if not usage:
        return reading
    reading.service_tier = reading.service_tier or text(usage, "service_tier")
    counted = _with_cached(usage)
    seconds = count(usage, "prompt_audio_seconds", "usage")
    if reading.api == "embeddings":
        carve_input(reading, count(usage, "prompt_tokens", "usage") or 0)
        check_total(reading, count(usage, "total_tokens", "usage"))
    else:
        if seconds:  # the total contains tokens of the audio that no other field states
            counted = {name: value for name, value in counted.items() if name != "total_tokens"}
        read_tokens(reading, counted, NAMES)
    reading.raw_usage = usage
    if seconds:
        reading.usage["audio_ms"] = seconds * 1000
        reading.explicit_leaves += 1
    return reading


def _api(body: Body) -> str:
    if body.get("object") == "list":
        return "embeddings"
    return "audio" if "segments" in body or "language" in body else "chat"


def _with_cached(usage: dict[str, Any]) -> dict[str, Any]:
    """Older replies state cached tokens beside the details."""
    cached = usage.get("num_cached_tokens")
    if not cached or usage.get("prompt_tokens_details") or usage.get("prompt_token_details"):
        return usage
    return usage | {"prompt_tokens_details": {"cached_tokens": cached}}


def fold(events: list[Event]) -> tuple[Body, bool]:
    """Chat chunks fold as OpenAI's do; a transcription ends in `transcription.done`."""
    done = next(
        (e.data for e in reversed(events) if isinstance(e.data, dict) and e.data.get("type") == "transcription.done"),
        None,
    )
    if done is not None:
        return {"language": None, **done}, True
    return openai_chat.fold(events)


CHAT: Final = Dialect("mistral.chat", fits, read, fold)


def _is_ocr(body: Body, _exchange: Exchange) -> bool:
    usage = body.get("usage_info")
    return isinstance(usage, dict) and "pages_processed" in usage


def _read_ocr(body: Body, _exchange: Exchange) -> Reading:
    """OCR bills pages; figures of a `document_annotation` are billed by another rate, under the same count."""
    usage = dict(part(body, "usage_info", ""))
    pages = count(usage, "pages_processed", "usage_info")
    return Reading(
        usage_reading="mistral.ocr",
        api="ocr",
        response_id=text(body, "id"),
        response_model=text(body, "model"),
        raw_usage=usage,
        usage={} if pages is None else {"page": pages},
        explicit_leaves=1,
    )


OCR: Final = Dialect("mistral.ocr", _is_ocr, _read_ocr, last_of(_is_ocr))


def _is_conversation(body: Body, _exchange: Exchange) -> bool:
    return body.get("object") == "conversation.response" or str(body.get("type", "")).startswith(
        ("conversation.response.", "message.output.", "tool.execution.", "agent.handoff.", "function.call.")
    )


def _read_conversation(body: Body, _exchange: Exchange) -> Reading:
    """A turn of a conversation; its `conversation_id` is shared by all turns, so the last message's id names it."""
    outputs = body.get("outputs")
    entries = [entry for entry in outputs if isinstance(entry, dict)] if isinstance(outputs, list) else []
    spoken = next((entry for entry in reversed(entries) if text(entry, "model")), {})
    reading = Reading(
        usage_reading="mistral.conversation",
        api="conversations",
        response_id=text(spoken, "id"),
        response_model=text(spoken, "model"),
    )
    usage = part(body, "usage", "")
    if usage:
        reading.raw_usage = dict(usage)
        _read_conversation_usage(reading, usage)
    if body.get("failed"):
        reading.status, reading.error_type = "error", text(body, "code") or "error"
    return reading


def _read_conversation_usage(reading: Reading, usage: Body) -> None:
    if (total := count(usage, "prompt_tokens", "usage")) is not None:
        carve_input(reading, total)
    if (output := count(usage, "completion_tokens", "usage")) is not None:
        carve_output(reading, output)
    if tool := count(usage, "connector_tokens", "usage"):
        reading.usage["input.tool"] = tool
        reading.input_tokens = (reading.input_tokens or 0) + tool
        reading.explicit_leaves += 1
    connectors = part(usage, "connectors", "usage")
    for name in connectors:
        calls = count(connectors, name, "usage.connectors")
        meter = _CONNECTORS.get(name)
        if calls and meter:
            reading.usage[meter] = reading.usage.get(meter, 0) + calls
            reading.explicit_leaves += 1
        elif calls:
            reading.note(Anomaly.UNKNOWN_METER_SPLIT)
    check_total(reading, count(usage, "total_tokens", "usage"))


def _fold_conversation(events: list[Event]) -> tuple[Body, bool]:
    body: dict[str, Any] = {"object": "conversation.response"}
    outputs: list[dict[str, Any]] = []
    complete = False
    for _, data in events:
        if not isinstance(data, dict):
            continue
        kind = data.get("type")
        if kind == "message.output.delta":
            outputs.append({"id": data.get("id"), "model": data.get("model")})
        elif kind == "conversation.response.done":
            complete, body["usage"] = True, data.get("usage")
        elif kind == "conversation.response.error":
            body |= {"failed": True, "code": str(data.get("code") or "error")}
    body["outputs"] = outputs[-1:]
    return body, complete


CONVERSATION: Final = Dialect("mistral.conversation", _is_conversation, _read_conversation, _fold_conversation)
