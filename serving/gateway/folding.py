"""A streamed chat completion → the same in one piece, as it would have come without streaming. Pure.

What a chunk adds to a text is appended, what it says anew counts; members nobody here knows are kept as they came.
"""

from typing import Any, Final

import msgspec

from serving.gateway.sse import data_of, events

_plain: Final = msgspec.json.Decoder()
_encode: Final = msgspec.json.Encoder().encode
_WRONG: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_TEXTS: Final = ("content", "refusal", "reasoning_content", "reasoning")


def folded(stream: bytes) -> bytes | None:
    """The completion that these events tell; None where they tell none."""
    reply: dict[str, Any] = {}
    choices: dict[int, dict[str, Any]] = {}
    for event in events(stream.replace(b"\r\n", b"\n")):
        chunk = _chunk(data_of(event))
        if chunk is None:
            continue
        reply |= {name: value for name, value in chunk.items() if name != "choices" and value is not None}
        for part in chunk.get("choices") or ():
            if isinstance(part, dict):
                _add(choices.setdefault(part.get("index", 0), _choice(part.get("index", 0))), part)
    if not choices:
        return None
    return _encode(reply | {"object": "chat.completion", "choices": [choices[index] for index in sorted(choices)]})


def _chunk(data: bytes) -> dict[str, Any] | None:
    try:
        found = _plain.decode(data)
    except _WRONG:
        return None
    return found if isinstance(found, dict) else None


def _choice(index: int) -> dict[str, Any]:
    return {"index": index, "message": {"role": "assistant", "content": None}, "logprobs": None, "finish_reason": None}


def _add(choice: dict[str, Any], part: dict[str, Any]) -> None:
    if part.get("finish_reason"):
        choice["finish_reason"] = part["finish_reason"]
    if isinstance(logprobs := part.get("logprobs"), dict):
        known = choice["logprobs"] = choice["logprobs"] or {}
        for name, tokens in logprobs.items():
            if isinstance(tokens, list):
                known.setdefault(name, []).extend(tokens)
    if isinstance(delta := part.get("delta"), dict):
        _add_message(choice["message"], delta)


def _add_message(message: dict[str, Any], delta: dict[str, Any]) -> None:
    for name, value in delta.items():
        if value is None:
            continue
        if name == "tool_calls" and isinstance(value, list):
            _add_calls(message.setdefault("tool_calls", []), value)
        elif name in _TEXTS and isinstance(value, str):
            message[name] = (message.get(name) or "") + value
        elif name != "role" or value:
            message[name] = value


def _add_calls(calls: list[dict[str, Any]], parts: list[Any]) -> None:
    """A call comes in pieces under one index: its name first, its arguments bit by bit."""
    for part in parts:
        if not isinstance(part, dict):
            continue
        index = part.get("index", len(calls))
        if not isinstance(index, int) or not 0 <= index <= len(calls):
            continue
        if index == len(calls):
            calls.append({"id": None, "type": "function", "function": {"name": "", "arguments": ""}})
        call, function = calls[index], part.get("function") or {}
        call |= {name: part[name] for name in ("id", "type") if part.get(name)}
        call["function"]["name"] += function.get("name") or ""
        call["function"]["arguments"] += function.get("arguments") or ""
