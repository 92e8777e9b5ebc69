"""A whole chat completion → the events a caller who asked for a stream expects. Pure.

A role first, the text in pieces of some words, tool calls under their index, the finish, the usage where it was asked
for, and `[DONE]`. Ids and model are the completion's own.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec

_plain: Final = msgspec.json.Decoder()
_encode: Final = msgspec.json.Encoder().encode
_HEAD: Final = ("id", "created", "model", "service_tier", "system_fingerprint")
_PIECE: Final = re.compile(r"\s*\S+(?:\s+\S+){0,7}\s*|\s+")
_WHOLE: Final = ("reasoning_content", "reasoning", "refusal", "annotations", "audio", "function_call")
DONE: Final = b"data: [DONE]\n\n"


def replayed(reply: bytes, *, usage_wanted: bool) -> list[bytes]:
    """The events, one by one; the last is `[DONE]`. Raises ValueError for what is no completion."""
    completion = _plain.decode(reply)
    choices = completion.get("choices") if isinstance(completion, dict) else None
    if not choices:
        raise ValueError("the reply is no chat completion: it has no `choices`")
    head = {name: completion[name] for name in _HEAD if completion.get(name) is not None}
    head["object"] = "chat.completion.chunk"
    unsaid = {"usage": None} if usage_wanted else {}
    found = [
        _event(head | {"choices": [part]} | unsaid)
        for choice in choices
        if isinstance(choice, dict)
        for part in _parts(choice)
    ]
    if usage_wanted:
        found.append(_event(head | {"choices": [], "usage": completion.get("usage")}))
    return [*found, DONE]


def _event(chunk: dict[str, Any]) -> bytes:
    return b"data: " + _encode(chunk) + b"\n\n"


def _parts(choice: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """One choice, chunk by chunk. Log-probabilities come with the first piece of text: nobody knows whose they are."""
    message = choice.get("message") or {}
    index = choice.get("index", 0)
    content = message.get("content")
    pieces = _PIECE.findall(content) if isinstance(content, str) else []
    yield _part(index, {"role": message.get("role") or "assistant", "content": "" if pieces else None})
    if isinstance(content, list):
        yield _part(index, {"content": content})
    for name in _WHOLE:
        if message.get(name) is not None:
            yield _part(index, {name: message[name]})
    for place, piece in enumerate(pieces):
        logprobs = choice.get("logprobs") if place == 0 else None
        yield _part(index, {"content": piece}) | ({"logprobs": logprobs} if logprobs is not None else {})
    for place, call in enumerate(message.get("tool_calls") or ()):
        yield _part(index, {"tool_calls": [{"index": place} | call]})
    yield _part(index, {}) | {"finish_reason": choice.get("finish_reason") or "stop"}


def _part(index: int, delta: dict[str, Any]) -> dict[str, Any]:
    return {"index": index, "delta": delta, "finish_reason": None}
