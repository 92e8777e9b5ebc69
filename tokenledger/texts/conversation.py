"""One record with texts → its conversation as chat messages, or why there is none. Total over any bytes."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

import msgspec

from tokenledger.normalise.aws_eventstream import is_eventstream, read_recorded
from tokenledger.normalise.envelope import ENVELOPE_TYPE, Envelope, decode_envelope, decode_json
from tokenledger.normalise.litellm import PAYLOAD_TYPE
from tokenledger.normalise.reading import BadRecordError, Event
from tokenledger.normalise.streams import event_data, read_every_event
from tokenledger.records.raw import RawEvent
from tokenledger.texts.answered import read_answer
from tokenledger.texts.asked import read_request
from tokenledger.texts.blocks import Message, is_text, objects
from tokenledger.texts.streamed import read_events
from tokenledger.texts.tools import read_tools


class Unread(StrEnum):
    """Why a record of a tenant that allows capture gives no conversation."""

    UNKNOWN_TYPE = "unknown_type"
    """A log of another system whose texts are not read."""
    UNREADABLE = "unreadable"
    """The record is no JSON object of its type."""
    NO_REQUEST = "no_request"
    """The request is not there, or its texts were taken out before."""
    NO_CONVERSATION = "no_conversation"
    """Nothing was said: embeddings, reranking, pictures, speech."""
    UNKNOWN_SHAPE = "unknown_shape"
    """The request holds no prompt in a shape that is known."""


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked and answered."""

    messages: list[Message]
    """The prompt as chat messages."""
    tools: list[dict[str, Any]] | None = None
    """Tools offered, in OpenAI's shape."""
    answer: Message | None = None
    """The assistant's message; None where nothing usable came back."""


_SILENT: Final = frozenset({"embeddings", "rerank", "images", "audio", "ocr", "moderations", "realtime"})
"""APIs in which nobody is answered in words."""


def read_conversation(raw: RawEvent, api: str | None) -> Conversation | Unread:
    """The conversation of one record; `api` is what its reading found."""
    if api in _SILENT:
        return Unread.NO_CONVERSATION
    kind = raw.headers.get("ce_type", b"").decode(errors="replace") or ENVELOPE_TYPE
    if kind not in {ENVELOPE_TYPE, PAYLOAD_TYPE}:
        return Unread.UNKNOWN_TYPE
    try:
        return _payload(raw.value or b"") if kind == PAYLOAD_TYPE else _envelope(raw.value or b"")
    except (BadRecordError, RecursionError):
        return Unread.UNREADABLE


def _envelope(value: bytes) -> Conversation | Unread:
    envelope, _ = decode_envelope(value)
    request = envelope.request
    if not request:
        return Unread.NO_REQUEST
    asked = read_request(request)
    if asked is None:
        return Unread.UNKNOWN_SHAPE if _holds_text(request) else Unread.NO_REQUEST
    return Conversation(messages=asked.messages, tools=read_tools(request), answer=_answer(envelope))


def _payload(value: bytes) -> Conversation | Unread:
    """LiteLLM's payload: OpenAI's messages, and the reply in OpenAI's shape or as its text."""
    payload = decode_json(value)
    if not isinstance(payload, dict):
        return Unread.UNREADABLE
    parameters = payload.get("model_parameters")
    asked = read_request(payload)
    if asked is None:
        return Unread.NO_REQUEST
    reply = payload.get("response")
    answer = read_answer(reply) if isinstance(reply, dict) else None
    if answer is None and is_text(reply):
        answer = {"role": "assistant", "content": reply}
    tools = read_tools(parameters) if isinstance(parameters, dict) else None
    return Conversation(messages=asked.messages, tools=tools, answer=answer)


def _answer(envelope: Envelope) -> Message | None:
    if envelope.events is not None:
        return read_events([Event(event.event, event_data(event.data)) for event in envelope.events])
    if envelope.stream_text is not None:
        return _streamed(envelope)
    body = envelope.response
    if body is None and envelope.response_text:
        try:
            body = decode_json(envelope.response_text)
        except BadRecordError:
            return None
    if isinstance(body, list) and any("candidates" in row for row in objects(body)):
        return read_events([Event(None, row) for row in body])
    return read_answer(body)


def _streamed(envelope: Envelope) -> Message | None:
    text = envelope.stream_text or ""
    headers = {name.lower(): str(value) for name, value in (envelope.response_headers or {}).items()}
    try:
        events = read_recorded(text) if is_eventstream(headers) else read_every_event(text)
    except BadRecordError:
        return None
    return read_events(events)


def _holds_text(request: Mapping[str, Any]) -> bool:
    """Whether the request still holds what a first hop would have taken out."""
    return any(isinstance(value, (list, dict)) and value for value in request.values()) or any(
        is_text(request.get(name)) for name in ("prompt", "input", "text", "message", "query", "content")
    )
