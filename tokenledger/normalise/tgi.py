"""Hugging Face text-generation-inference, its own shape. Its chat is OpenAI-shaped.

Generated tokens are in `details`; the prompt's are there only in streams, and otherwise in the response headers.
"""

from typing import Any

from tokenledger.normalise.engine_timings import to_us
from tokenledger.normalise.leaves import carve_input, carve_output
from tokenledger.normalise.reading import Body, Dialect, Event, Exchange, Reading, count, part, text
from tokenledger.records.call import Timings


def fits(body: Body, _exchange: Exchange) -> bool:
    """A generated text, or a token of a stream."""
    return "generated_text" in body


def read(body: Body, exchange: Exchange) -> Reading:
    """A generation → its Reading."""
    details = part(body, "details", "")
    reading = Reading(
        usage_reading="huggingface.tgi",
        api="generate",
        finish_reason=text(details, "finish_reason"),
        timings=_timings(exchange),
    )
    prompt = count(details, "input_length", "details")
    prefill = details.get("prefill")
    if prompt is None and prefill and prefill.__class__ is list:
        prompt = len(prefill)
    prompt = _header(exchange, "x-prompt-tokens") if prompt is None else prompt
    answer = count(details, "generated_tokens", "details")
    answer = _header(exchange, "x-generated-tokens") if answer is None else answer
    raw = {"input_length": prompt, "generated_tokens": answer}
    if prompt is not None:
        carve_input(reading, prompt)
    if answer is not None:
        carve_output(reading, answer)
    if prompt is not None or answer is not None:
        reading.raw_usage = {name: tokens for name, tokens in raw.items() if tokens is not None}
    return reading


def fold(events: list[Event]) -> tuple[Body, bool]:
    """The last event carries the whole text and the counts."""
    body: dict[str, Any] = {}
    for event in events:
        if event.data.__class__ is dict:
            body |= event.data
    return body, bool(body.get("details") or body.get("generated_text"))


def _header(exchange: Exchange, name: str) -> int | None:
    value = exchange.headers.get(name, "")
    return int(value) if value.isdecimal() and len(value) < 16 else None  # noqa: PLR2004 - within 2^53


def _timings(exchange: Exchange) -> Timings | None:
    """`x-queue-time` and `x-total-time`, in milliseconds."""
    queue, total = _header(exchange, "x-queue-time"), _header(exchange, "x-total-time")
    if queue is None and total is None:
        return None
    return Timings(queue_us=to_us(queue, 1000), total_us=to_us(total, 1000))


TGI = Dialect("huggingface.tgi", fits, read, fold)
