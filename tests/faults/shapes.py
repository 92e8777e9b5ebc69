"""Replies of several providers, written by hand, each beside what it means: which meters, how much of each."""

import random
from collections.abc import Callable
from typing import Any, Final, NamedTuple

Meters = dict[str, int]


class Shape(NamedTuple):
    """One reply and its meaning."""

    provider: str
    model: str
    meters: Meters
    """What it used, by meter; empty where it does not say."""
    data: dict[str, Any]
    """The envelope's fields that carry the reply."""
    has_response_id: bool = True
    """Whether the reply has an id that identifies the call."""
    status: str = "ok"
    """`ok`, `aborted` or `error`."""


def chat(dice: random.Random, response_id: str) -> Shape:
    """An OpenAI chat completion: cached tokens are inside the prompt, reasoning inside the completion."""
    model = "faults-mini" if dice.random() < 0.6 else "faults-gpt"
    fresh, cached, visible, thought = _counts(dice)
    usage = {
        "prompt_tokens": fresh + cached,
        "completion_tokens": visible + thought,
        "total_tokens": fresh + cached + visible + thought,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": thought},
    }
    choice = {"index": 0, "message": {"role": "assistant"}, "finish_reason": "stop"}
    reply = {"id": response_id, "object": "chat.completion", "model": model, "choices": [choice], "usage": usage}
    return Shape("openai", model, _meters(fresh, cached, visible, thought), {"api": "chat", "response": reply})


def chat_stream(dice: random.Random, response_id: str) -> Shape:
    """The same as the raw text of its stream; the last chunk accounts for all."""
    fresh, cached, visible, _ = _counts(dice)
    usage = (
        f'{{"prompt_tokens":{fresh + cached},"completion_tokens":{visible},"total_tokens":{fresh + cached + visible},'
        f'"prompt_tokens_details":{{"cached_tokens":{cached}}}}}'
    )
    text = (
        _chunk(response_id, '[{"index":0,"delta":{"content":"On"},"finish_reason":null}]')
        + _chunk(response_id, '[{"index":0,"delta":{},"finish_reason":"stop"}]')
        + _chunk(response_id, "[]", f',"usage":{usage}')
        + "data: [DONE]\n\n"
    )
    data = {"api": "chat", "request": {"stream": True}, "stream_text": text}
    return Shape("openai", "faults-gpt", _meters(fresh, cached, visible, 0), data)


def chat_broken_off(_: random.Random, response_id: str) -> Shape:
    """A stream that ends in the middle and never says what it used."""
    text = _chunk(response_id, '[{"index":0,"delta":{"content":"On"},"finish_reason":null}]')
    data = {"api": "chat", "request": {"stream": True}, "stream_text": text}
    return Shape("openai", "faults-gpt", {}, data, status="aborted")


def _chunk(response_id: str, choices: str, more: str = "") -> str:
    return (
        f'data: {{"id":"{response_id}","object":"chat.completion.chunk","model":"faults-gpt",'
        f'"choices":{choices}{more}}}\n\n'
    )


def responses(dice: random.Random, response_id: str) -> Shape:
    """An OpenAI response: other names than chat, the same meaning. New producers send it, with fields nobody knows."""
    fresh, cached, visible, thought = _counts(dice)
    reply = {
        "id": response_id, "object": "response", "status": "completed", "model": "faults-gpt",
        "output": [{"type": "message", "status": "completed"}],
        "usage": {
            "input_tokens": fresh + cached, "input_tokens_details": {"cached_tokens": cached},
            "output_tokens": visible + thought, "output_tokens_details": {"reasoning_tokens": thought},
            "total_tokens": fresh + cached + visible + thought,
        },
        "carbon": {"grams": 2},
    }  # fmt: skip
    data = {"api": "responses", "schema": 2, "quality": {"score": 1, "by": ["a", "b"]}, "response": reply}
    return Shape("openai", "faults-gpt", _meters(fresh, cached, visible, thought), data)


def messages(dice: random.Random, response_id: str) -> Shape:
    """An Anthropic message: the counts of the cache stand beside the input."""
    fresh, cached, visible, _ = _counts(dice)
    short, long = dice.choice(((0, 0), (148, 0), (40, 260)))
    usage = {
        "input_tokens": fresh, "cache_read_input_tokens": cached, "cache_creation_input_tokens": short + long,
        "cache_creation": {"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long},
        "output_tokens": visible,
    }  # fmt: skip
    reply = _message(response_id, usage) | {"stop_reason": "end_turn"}
    meters = _meters(fresh, cached, visible, 0)
    meters |= {"input.text.cache_write_5m": short, "input.text.cache_write_1h": long}
    data = {"api": "messages", "response": reply}
    return Shape("anthropic", "faults-claude", {meter: count for meter, count in meters.items() if count}, data)


def messages_broken_off(dice: random.Random, response_id: str) -> Shape:
    """An Anthropic stream that ends in the middle: what it said so far stands."""
    fresh, cached, _, _ = _counts(dice)
    usage = {
        "input_tokens": fresh, "cache_read_input_tokens": cached, "cache_creation_input_tokens": 0, "output_tokens": 1,
    }  # fmt: skip
    start = {"type": "message_start", "message": _message(response_id, usage) | {"stop_reason": None}}
    block = {"type": "content_block_start", "index": 0}
    events = [{"event": "message_start", "data": start}, {"event": "content_block_start", "data": block}]
    data = {"api": "messages", "events": events}
    return Shape("anthropic", "faults-claude", _meters(fresh, cached, 1, 0), data, status="aborted")


def messages_to_the_end(dice: random.Random, response_id: str) -> Shape:
    """The same stream with its end: the last word on each count holds."""
    broken = messages_broken_off(dice, response_id)
    visible = dice.randrange(2, 900)
    delta = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": visible}}
    ending = [{"event": "message_delta", "data": delta}, {"event": "message_stop", "data": {"type": "message_stop"}}]
    data = broken.data | {"events": broken.data["events"] + ending}
    return broken._replace(meters=broken.meters | {"output.text": visible}, data=data, status="ok")


def _message(response_id: str, usage: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": response_id, "type": "message", "role": "assistant", "model": "faults-claude", "content": [],
        "stop_sequence": None, "usage": usage,
    }  # fmt: skip


def gemini(dice: random.Random, response_id: str) -> Shape:
    """A Gemini reply: cached content is inside the prompt, thoughts stand beside the candidates."""
    fresh, cached, visible, thought = _counts(dice)
    usage = {
        "promptTokenCount": fresh + cached, "cachedContentTokenCount": cached, "candidatesTokenCount": visible,
        "thoughtsTokenCount": thought, "totalTokenCount": fresh + cached + visible + thought,
    }  # fmt: skip
    reply = {
        "candidates": [{"finishReason": "STOP", "index": 0}], "usageMetadata": usage,
        "modelVersion": "faults-gemini", "responseId": response_id,
    }  # fmt: skip
    data = {"api": "generate_content", "response": reply}
    return Shape("gcp.gemini", "faults-gemini", _meters(fresh, cached, visible, thought), data)


def ollama(dice: random.Random, _: str) -> Shape:
    """An Ollama reply has no id: the event's own id is all that tells one call from another."""
    read, written = dice.randrange(1, 4000), dice.randrange(1, 900)
    reply = {
        "model": "faults-llama", "message": {"role": "assistant"}, "done_reason": "stop", "done": True,
        "prompt_eval_count": read, "eval_count": written,
    }  # fmt: skip
    meters = {"input.text": read, "output.text": written}
    return Shape("ollama", "faults-llama", meters, {"api": "chat", "response": reply}, has_response_id=False)


def refused(_: random.Random, __: str) -> Shape:
    """The provider took too many calls: nothing was used, nothing is owed."""
    reply = {"error": {"type": "rate_limit_error", "message": "slow down"}}
    data = {"api": "chat", "http_status": 429, "request_model": "faults-gpt", "response": reply}
    return Shape("openai", "faults-gpt", {}, data, has_response_id=False, status="error")


Make = Callable[[random.Random, str], Shape]
OLD: Final[tuple[tuple[Make, int], ...]] = (
    (chat, 36), (chat_stream, 12), (messages, 20), (gemini, 16), (ollama, 9), (refused, 2),
    (chat_broken_off, 3), (messages_broken_off, 2),
)  # fmt: skip
"""What producers send at first, and how often."""
NEW: Final[tuple[tuple[Make, int], ...]] = ((responses, 30), *OLD)
"""What they send after half of them were upgraded."""


def _counts(dice: random.Random) -> tuple[int, int, int, int]:
    """Fresh and cached input, visible and reasoning output; each of them at least one token."""
    chance = dice.random()
    large = int(chance * 7919)
    return 1 + large % 4000, 1 + large % 997, 1 + large % 701, 1 + large % 113


def _meters(fresh: int, cached: int, visible: int, thought: int) -> Meters:
    found = {
        "input.text": fresh, "input.text.cache_read": cached, "output.text": visible, "output.reasoning": thought,
    }  # fmt: skip
    return {meter: count for meter, count in found.items() if count}
