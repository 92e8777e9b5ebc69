"""OpenAI's wire format, outgoing: completions, chunks, embeddings, models, errors. Pure."""

import array
import base64
import sys
from typing import Any

import msgspec

Json = dict[str, Any]

encode = msgspec.json.encode
DONE = b"data: [DONE]\n\n"


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of one request."""

    prompt_tokens: int
    """Input, cached tokens included."""
    cached_tokens: int = 0
    """Of it, read from the prompt cache."""
    completion_tokens: int = 0
    """Output, reasoning included."""
    reasoning_tokens: int = 0
    """Of it, reasoning."""


def usage(counts: Counts) -> Json:
    """The usage object of a chat completion."""
    return {
        "prompt_tokens": counts.prompt_tokens,
        "completion_tokens": counts.completion_tokens,
        "total_tokens": counts.prompt_tokens + counts.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": counts.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": counts.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """What every part of one answer says."""

    id: str
    """Id of the completion."""
    created_s: int
    """When, in seconds."""
    model: str
    """The model that answers."""
    service_tier: str | None = None
    """Tier that served it, where one was asked for."""


def _headed(head: Head, kind: str) -> Json:
    common: Json = {"id": head.id, "object": kind, "created": head.created_s, "model": head.model}
    if head.service_tier is not None:
        common["service_tier"] = head.service_tier
    return common | {"system_fingerprint": "fp_simulator"}


def completion(head: Head, choices: list[Json], *, usage_object: Json | None) -> Json:
    """A whole chat completion."""
    whole = _headed(head, "chat.completion") | {"choices": choices}
    return whole if usage_object is None else whole | {"usage": usage_object}


def choice(index: int, text: str, *, finish_reason: str, tool_calls: list[Json]) -> Json:
    """One choice of a whole chat completion."""
    message: Json = {"role": "assistant", "content": None if tool_calls else text, "refusal": None, "annotations": []}
    if tool_calls:
        message["tool_calls"] = tool_calls
    return {"index": index, "message": message, "logprobs": None, "finish_reason": finish_reason}


def chunk(head: Head, index: int, *, delta: Json, finish_reason: str | None, usage_asked: bool) -> bytes:
    """One event of a stream; where usage was asked for, all but the last say that it is not yet known."""
    body = _headed(head, "chat.completion.chunk")
    body["choices"] = [{"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}]
    if usage_asked:
        body["usage"] = None
    return event(body)


def usage_chunk(head: Head, usage_object: Json) -> bytes:
    """The event that reports usage: it has no choices."""
    return event(_headed(head, "chat.completion.chunk") | {"choices": [], "usage": usage_object})


def event(body: Json) -> bytes:
    """One server-sent event."""
    return b"data: " + encode(body) + b"\n\n"


def error(message: str, kind: str, *, code: str | None = None, param: str | None = None) -> Json:
    """An error object."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def embeddings(model: str, vectors: list[list[float]], *, prompt_tokens: int, as_base64: bool) -> Json:
    """A whole answer to an embeddings request."""
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": _base64(vector) if as_base64 else vector}
            for index, vector in enumerate(vectors)
        ],
        "model": model,
        "usage": {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens},
    }


def _base64(vector: list[float]) -> str:
    floats = array.array("f", vector)
    if sys.byteorder == "big":
        floats.byteswap()
    return base64.b64encode(floats.tobytes()).decode("ascii")


def model(name: str) -> Json:
    """One entry of the list of models."""
    return {"id": name, "object": "model", "created": 1_735_689_600, "owned_by": "simulator"}


def models(names: list[str]) -> Json:
    """The list of models."""
    return {"object": "list", "data": [model(name) for name in names]}
