"""The events of a stream in any dialect → the assistant's message they add up to."""

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

from tokenledger.normalise.envelope import decode_json
from tokenledger.normalise.reading import BadRecordError, Event
from tokenledger.texts.answered import assistant, read_answer
from tokenledger.texts.blocks import Message, is_text, objects, tool_call

_Call = dict[str, Any]


class _Heard(msgspec.Struct):
    """What has been said so far."""

    texts: list[str] = []
    calls: dict[object, _Call] = {}
    whole: Message | None = None
    """The whole answer, where the stream's end repeats it."""

    def say(self, text: object) -> bool:
        if is_text(text):
            self.texts.append(text)
        return True

    def call(self, key: object, *, call_id: object = None, name: object = None, arguments: object = None) -> bool:
        """A tool call, or one more piece of it."""
        begun = self.calls.setdefault(key, {"id": None, "name": None, "arguments": []})
        begun["id"] = begun["id"] or call_id
        begun["name"] = begun["name"] or name
        if isinstance(arguments, dict) and arguments:
            begun["arguments"] = [msgspec.json.encode(arguments).decode()]
        elif is_text(arguments):
            begun["arguments"].append(arguments)
        return True


def read_events(events: Iterable[Event]) -> Message | None:
    """What the stream said; None where that is nothing."""
    heard = _Heard()
    for event in events:
        data = _opened(event.data)
        if isinstance(data, dict):
            _hear(heard, data, name=event.name)
    if heard.whole is not None:
        return heard.whole
    calls = [
        tool_call(one["id"], one["name"], arguments="".join(one["arguments"]) or "{}") for one in heard.calls.values()
    ]
    return assistant("".join(heard.texts), calls)


def _hear(heard: _Heard, data: dict[str, Any], *, name: str | None) -> None:
    if name in _WRAPPED:  # Converse names its events outside, Nova's InvokeModel inside
        data = {name: data}
    for hear in _HEARERS:
        if hear(heard, data):
            return


def _opened(data: Any) -> Any:
    """Bedrock wraps each event of a model's own stream in base64."""
    if isinstance(data, dict) and isinstance(data.get("chunk"), dict):
        data = data["chunk"]
    if not isinstance(data, dict) or not is_text(data.get("bytes")):
        return data
    try:
        return decode_json(base64.b64decode(data["bytes"], validate=True))
    except (binascii.Error, ValueError, BadRecordError):
        return None


def _chunk(heard: _Heard, data: Mapping[str, Any]) -> bool:
    """OpenAI's chat and completions; of several choices the first."""
    if "choices" not in data:
        return False
    for choice in objects(data["choices"])[:1]:
        if choice.get("index", 0) != 0:
            continue
        delta = choice.get("delta") or choice.get("message")
        if not isinstance(delta, dict):
            heard.say(choice.get("text"))
            continue
        content = delta.get("content")
        for piece in content if isinstance(content, list) else [content]:
            heard.say(piece.get("text") if isinstance(piece, dict) else piece)
        heard.say(delta.get("refusal"))
        for number, call in enumerate(objects(delta.get("tool_calls"))):
            _add_function(heard, call, key=call.get("index", number))
        if isinstance(delta.get("function_call"), dict):
            _add_function(heard, {"function": delta["function_call"]}, key=0)
    return True


def _add_function(heard: _Heard, call: Mapping[str, Any], *, key: object) -> None:
    function = call.get("function")
    stated = function if isinstance(function, dict) else {}
    heard.call(key, call_id=call.get("id"), name=stated.get("name"), arguments=stated.get("arguments"))


def _anthropic(heard: _Heard, data: Mapping[str, Any]) -> bool:
    match data:
        case {"type": "content_block_start", "index": index, "content_block": {"type": "tool_use", "name": name}}:
            return heard.call(index, call_id=data["content_block"].get("id"), name=name)
        case {"type": "content_block_start", "content_block": dict(begun)}:
            return heard.say(begun.get("text"))
        case {"type": "content_block_delta", "index": index, "delta": {"partial_json": piece}}:
            return heard.call(index, arguments=piece)
        case {"type": "content_block_delta", "delta": dict(delta)}:
            return heard.say(delta.get("text"))
    return str(data.get("type", "")).startswith(("message_", "content_block_"))


def _responses(heard: _Heard, data: Mapping[str, Any]) -> bool:
    """OpenAI's Responses; its end repeats the whole."""
    match data:
        case {"type": "response.completed" | "response.incomplete", "response": dict(response)}:
            heard.whole = read_answer(response)
        case {"type": "response.output_text.delta" | "response.refusal.delta", "delta": text}:
            heard.say(text)
        case {"type": "response.output_item.done", "item": {"type": "function_call", **item}}:
            call_id, name = item.get("call_id"), item.get("name")
            heard.call(item.get("id"), call_id=call_id, name=name, arguments=item.get("arguments"))
    return str(data.get("type", "")).startswith("response.")


def _cohere_second(heard: _Heard, data: Mapping[str, Any]) -> bool:
    match data:
        case {"type": "content-delta", "delta": {"message": {"content": {"text": text}}}}:
            return heard.say(text)
        case {"type": "tool-call-start" | "tool-call-delta", "delta": {"message": {"tool_calls": dict(call)}}}:
            _add_function(heard, call, key=data.get("index"))
            return True
    return str(data.get("type", "")).startswith(("message-", "content-", "tool-"))


def _gemini(heard: _Heard, data: Mapping[str, Any]) -> bool:
    if "candidates" not in data:
        return False
    answer = read_answer(dict(data))
    if answer:
        heard.say(answer["content"])
        for call in answer.get("tool_calls", ()):
            _add_function(heard, call, key=len(heard.calls))
    return True


_WRAPPED: Final = frozenset({"contentBlockStart", "contentBlockDelta", "messageStart", "messageStop", "metadata"})


def _converse(heard: _Heard, data: Mapping[str, Any]) -> bool:
    match data:
        case {"contentBlockStart": {"contentBlockIndex": index, "start": {"toolUse": dict(use)}}}:
            return heard.call(index, call_id=use.get("toolUseId"), name=use.get("name"))
        case {"contentBlockDelta": {"contentBlockIndex": index, "delta": {"toolUse": {"input": arguments}}}}:
            return heard.call(index, arguments=arguments)
        case {"contentBlockDelta": {"delta": {"text": text}}}:
            return heard.say(text)
        case _:
            return not _WRAPPED.isdisjoint(data)


def _cohere(heard: _Heard, data: Mapping[str, Any]) -> bool:
    """Cohere's first chat API; its end repeats the whole."""
    if "event_type" not in data:
        return False
    if data["event_type"] == "text-generation":
        heard.say(data.get("text"))
    elif data["event_type"] == "stream-end":
        heard.whole = read_answer(data.get("response"))
    return True


def _assistants(heard: _Heard, data: Mapping[str, Any]) -> bool:
    if data.get("object") != "thread.message.delta":
        return False
    delta = data.get("delta")
    for block in objects(delta.get("content")) if isinstance(delta, dict) else ():
        text = block.get("text")
        heard.say(text.get("value") if isinstance(text, dict) else None)
    return True


def _token(heard: _Heard, data: Mapping[str, Any]) -> bool:
    """Text Generation Inference; its end repeats the whole."""
    token = data.get("token")
    if not isinstance(token, dict):
        return False
    if token.get("special") is not True:
        heard.say(token.get("text"))
    return True


def _ollama(heard: _Heard, data: Mapping[str, Any]) -> bool:
    message = data.get("message")
    if not isinstance(message, dict):
        return False
    heard.say(message.get("content"))
    for call in objects(message.get("tool_calls")):
        _add_function(heard, call, key=len(heard.calls))
    return True


def _plain(heard: _Heard, data: Mapping[str, Any]) -> bool:
    """Pieces of text under one of the names that generators use."""
    if is_text(data.get("value")):
        return heard.say(data["value"])
    answer = read_answer(dict(data))
    return heard.say(answer["content"]) if answer else False


_HEARERS: Final[tuple[Callable[[_Heard, Mapping[str, Any]], bool], ...]] = (
    _chunk, _cohere, _anthropic, _responses, _cohere_second, _gemini, _converse, _assistants, _token, _ollama, _plain,
)  # fmt: skip
