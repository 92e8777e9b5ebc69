"""llama.cpp's own `/completion`: `tokens_evaluated` is the whole prompt, `timings.prompt_n` the part not in the cache.

`tokens_cached` is how much the slot holds afterwards, not what was read from the cache.
"""

from typing import Any

from tokenledger.normalise.engine_timings import llama_counts, llama_times
from tokenledger.normalise.leaves import carve_input, carve_output
from tokenledger.normalise.reading import Body, Dialect, Event, Exchange, Reading, count, part, text


def fits(body: Body, _exchange: Exchange) -> bool:
    """Evaluated and predicted tokens, or a piece of a stream that says whether it stopped."""
    return "tokens_evaluated" in body or "tokens_predicted" in body or ("stop" in body and "content" in body)


def read(body: Body, _exchange: Exchange) -> Reading:
    """A completion, or a folded stream → its Reading."""
    reading = Reading(
        usage_reading="llama.cpp",
        api="completions",
        engine="llama.cpp",
        response_model=text(body, "model"),
        finish_reason=text(body, "stop_type"),
    )
    timings = part(body, "timings", "")
    prompt, answer = count(body, "tokens_evaluated", ""), count(body, "tokens_predicted", "")
    fresh = count(timings, "prompt_n", "timings")
    if prompt is not None:
        cached = prompt - fresh if fresh is not None and fresh < prompt else 0
        carve_input(reading, prompt, cached={"cache_read": cached} if cached else {}, path="tokens_evaluated")
    if answer is not None:
        carve_output(reading, answer)
    if prompt is not None or answer is not None:
        names = ("tokens_evaluated", "tokens_predicted", "tokens_cached")
        reading.raw_usage = {name: body[name] for name in names if name in body} | llama_counts(timings)
    if timings:
        reading.timings = llama_times(timings)
    return reading


def fold(events: list[Event]) -> tuple[Body, bool]:
    """The last piece, which alone carries the counts."""
    body: dict[str, Any] = {}
    for event in events:
        if event.data.__class__ is dict:
            body |= event.data
    return body, body.get("stop") is True


COMPLETION = Dialect("llama.cpp", fits, read, fold)
