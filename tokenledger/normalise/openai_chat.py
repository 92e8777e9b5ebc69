"""OpenAI chat completions, and every body of that shape.

`prompt_tokens` includes cached tokens, `completion_tokens` includes reasoning and rejected predictions
(openai/types/completion_usage.py). Cache writes, where a model has them, are inside `prompt_tokens` too.
"""

from typing import Any

from tokenledger.normalise.leaves import carve_input, carve_output, check_total
from tokenledger.normalise.reading import Body, Dialect, Event, Exchange, Reading, count, part, seconds_to_us, text

_INPUT_MODALITIES = ("text", "audio", "image", "video")
_OUTPUT_PARTS = ("audio", "image", "video")
_WRITE_TTLS = ("30m", "12h", "5m", "1h")


def fits(body: Body, _exchange: Exchange) -> bool:
    """Choices, or a usage object that counts prompt tokens."""
    usage = body.get("usage")
    return "choices" in body or (usage.__class__ is dict and "prompt_tokens" in usage)


def read(body: Body, _exchange: Exchange) -> Reading:
    """A chat completion → its Reading."""
    reading = start(body, "openai.chat", "chat")
    usage = body.get("usage")
    if usage.__class__ is dict and usage.get("prompt_tokens") is not None:  # type: ignore[union-attr]
        read_usage(reading, usage)  # type: ignore[arg-type]
    return reading


def start(body: Body, name: str, api: str) -> Reading:
    """A Reading with all of the OpenAI shape that is not usage."""
    choices = body.get("choices")
    first = choices[0] if choices.__class__ is list and choices else None  # type: ignore[index]
    return Reading(
        usage_reading=name,
        api=api,
        response_id=text(body, "id"),
        response_model=text(body, "model"),
        service_tier=text(body, "service_tier"),
        created_at_us=seconds_to_us(body.get("created")),
        finish_reason=text(first, "finish_reason") if first.__class__ is dict else None,  # type: ignore[arg-type]
    )


def read_usage(reading: Reading, usage: dict[str, Any]) -> None:
    """Carve prompt and completion tokens of the OpenAI shape into leaves."""
    reading.raw_usage = usage
    prompt = count(usage, "prompt_tokens", "usage") or 0
    completion = count(usage, "completion_tokens", "usage") or 0
    prompt_details = part(usage, "prompt_tokens_details", "usage")
    completion_details = part(usage, "completion_tokens_details", "usage")
    if prompt_details:
        carve_input(reading, prompt, cached=cache_actions(prompt_details), modalities=_modalities(prompt_details))
    else:
        carve_input(reading, prompt)
    carve_output(reading, completion, parts=_output_parts(completion_details) if completion_details else {})
    check_total(reading, count(usage, "total_tokens", "usage"))


def cache_actions(details: Body, path: str = "usage.prompt_tokens_details") -> dict[str, int]:
    """Cache action → tokens, from `cached_tokens` and `cache_write_tokens` (+ its details by lifetime)."""
    actions = {}
    if cached := count(details, "cached_tokens", path):
        actions["cache_read"] = cached
    written = count(details, "cache_write_tokens", path)
    if written:
        lifetimes = part(details, "cache_write_tokens_details", path)
        for ttl in _WRITE_TTLS:
            if tokens := count(lifetimes, f"ttl_{ttl}_tokens", path):
                actions[f"cache_write_{ttl}"] = tokens
                written -= tokens
        if written:
            actions["cache_write"] = written
    return actions


def _modalities(details: Body) -> dict[str, int]:
    found = {}
    for name in _INPUT_MODALITIES:
        tokens = count(details, f"{name}_tokens", "usage.prompt_tokens_details")
        if tokens:
            found[name] = tokens
    return found


def _output_parts(details: Body) -> dict[str, int]:
    parts = {}
    if reasoning := count(details, "reasoning_tokens", "usage.completion_tokens_details"):
        parts["reasoning"] = reasoning
    for name in _OUTPUT_PARTS:
        if tokens := count(details, f"{name}_tokens", "usage.completion_tokens_details"):
            parts[name] = tokens
    return parts


def fold(events: list[Event]) -> tuple[Body, bool]:
    """The last usage counts, on whichever chunk it came; a finish reason is the end of the stream."""
    body: dict[str, Any] = {}
    finish = None
    for _, chunk in events:
        if chunk.__class__ is not dict:
            continue
        body |= {name: value for name, value in chunk.items() if value is not None and name != "choices"}
        choices = chunk.get("choices")
        if choices and choices[0].__class__ is dict:
            finish = choices[0].get("finish_reason") or finish
    return body | {"choices": [{"finish_reason": finish}]}, finish is not None


CHAT = Dialect("openai.chat", fits, read, fold)
