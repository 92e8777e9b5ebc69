"""A streamed chat completion → the same in one piece, as it would have come without streaming. Pure, total.

What a chunk adds to a text is appended, what it says anew counts; members nobody here knows are kept as they came.
What cannot be put together is no completion: half an answer must not pass for a whole one.
"""

from typing import Any, Final

import msgspec

from serving.gateway.sse import data_of, events

_plain: Final = msgspec.json.Decoder()
_encode: Final = msgspec.json.Encoder().encode
_WRONG: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_TEXTS: Final = ("content", "refusal", "reasoning_content", "reasoning")


class _NoPartError(Exception):
    """A piece that does not go with those before it, or is of no type that pieces have."""


def folded(stream: bytes) -> bytes | None:
    """The completion that these events tell; None where they tell none."""
    reply: dict[str, Any] = {}
    choices: dict[int, dict[str, Any]] = {}
    try:
        for event in events(stream.replace(b"\r\n", b"\n")):
            chunk = _chunk(data_of(event))
            if chunk is None:
                continue
            reply |= {name: value for name, value in chunk.items() if name != "choices" and value is not None}
            for part in _dicts(chunk.get("choices")):
                index = _index(part, 0)
                _add(choices.setdefault(index, _choice(index)), part)
        whole = [_whole(choices[index]) for index in sorted(choices)]
        return _encode(reply | {"object": "chat.completion", "choices": whole}) if whole else None
    except (_NoPartError, RecursionError):  # as a whole, it may be too deep for what its chunks were not
        return None


def _chunk(data: bytes) -> dict[str, Any] | None:
    try:
        found = _plain.decode(data)
    except _WRONG:
        return None
    return found if isinstance(found, dict) else None


def _choice(index: int) -> dict[str, Any]:
    return {"index": index, "message": {"role": "assistant", "content": None}, "logprobs": None, "finish_reason": None}


def _whole(choice: dict[str, Any]) -> dict[str, Any]:
    """The choice when all its pieces have come."""
    message = choice["message"]
    if "tool_calls" in message:
        message["tool_calls"] = list(message["tool_calls"].values())
    return choice


def _dicts(parts: Any) -> list[dict[str, Any]]:
    """A list of objects, which may be absent."""
    if not parts:
        return []
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise _NoPartError
    return parts


def _index(part: dict[str, Any], absent: int) -> int:
    index = part.get("index")
    if index is None:
        return absent
    if index.__class__ is not int or index < 0:
        raise _NoPartError
    return int(index)


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
        if name == "tool_calls":
            _add_calls(message.setdefault(name, {}), _dicts(value))
        elif name == "function_call":
            _add_function(message.setdefault(name, {"name": "", "arguments": ""}), value)
        elif name in _TEXTS:
            message[name] = _joined(message.get(name), value)
        elif name != "role" or value:
            message[name] = value


def _joined(known: Any, more: Any) -> Any:
    """A text and what comes to it. One that came as a list of parts is whole."""
    if not known:
        return more
    if not more:
        return known
    if not isinstance(known, str) or not isinstance(more, str):
        raise _NoPartError
    return known + more


def _add_calls(calls: dict[int, dict[str, Any]], parts: list[dict[str, Any]]) -> None:
    """A call comes in pieces under one index, whatever the upstream counts from: its name, its arguments in bits."""
    for part in parts:
        index = _index(part, max(calls, default=-1) + 1)
        new = {"id": None, "type": "function", "function": {"name": "", "arguments": ""}}
        call = calls.setdefault(index, new)
        call |= {name: part[name] for name in ("id", "type") if part.get(name)}
        _add_function(call["function"], part.get("function") or {})


def _add_function(function: dict[str, str], part: Any) -> None:
    if not isinstance(part, dict):
        raise _NoPartError
    for name in function:
        more = part.get(name) or ""
        if not isinstance(more, str):
            raise _NoPartError
        function[name] += more
