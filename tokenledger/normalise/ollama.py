"""Ollama's own API (chat, generate, embed; whole or NDJSON): counts and nanoseconds on the reply itself.

A prompt that was wholly cached leaves `prompt_eval_count` out in older versions: unknown, not zero. Replies have no id.
"""

from typing import Any, Final

from tokenledger.normalise.assemble import parse_time
from tokenledger.normalise.engine_timings import to_us
from tokenledger.normalise.leaves import carve_input, carve_output
from tokenledger.normalise.reading import Body, Dialect, Event, Exchange, Reading, count, text
from tokenledger.records.call import Timings

_COUNTS: Final = (
    "prompt_eval_count",
    "eval_count",
    "total_duration",
    "load_duration",
    "prompt_eval_duration",
    "eval_duration",
)


_OLD_EMBEDDING: Final = {"embedding"}
_EMBEDDINGS: Final = frozenset({"embedding", "embeddings"})


def fits(body: Body, exchange: Exchange) -> bool:
    """`done` beside a model, or embeddings with Ollama's durations; the older embedding is a bare vector."""
    if body.keys() == _OLD_EMBEDDING:
        return exchange.url.endswith("/api/embeddings")
    if "model" not in body or "choices" in body:
        return False
    return "done" in body or ("embeddings" in body and ("total_duration" in body or "prompt_eval_count" in body))


def read(body: Body, exchange: Exchange) -> Reading:
    """A reply, or the last line of a stream → its Reading."""
    prompt, answer = count(body, "prompt_eval_count", ""), count(body, "eval_count", "")
    reading = Reading(
        usage_reading="ollama",
        api="chat" if "message" in body else "generate" if _EMBEDDINGS.isdisjoint(body) else "embeddings",
        engine="ollama",
        provider=None if exchange.provider else "ollama",
        response_model=text(body, "model"),
        created_at_us=parse_time(text(body, "created_at")),
        finish_reason=text(body, "done_reason"),
    )
    if prompt is not None:
        carve_input(reading, prompt)
    if answer is not None:
        carve_output(reading, answer)
    if prompt is not None or answer is not None:
        reading.raw_usage = {name: body[name] for name in _COUNTS if name in body}
    if "total_duration" in body:
        reading.timings = _timings(body)
    return reading


def fold(events: list[Event]) -> tuple[Body, bool]:
    """The last line; only one that says `done` carries counts."""
    body: dict[str, Any] = {}
    for event in events:
        if event.data.__class__ is dict:
            body |= event.data
    return body, body.get("done") is True


def _timings(body: Body) -> Timings:
    """Loading the model is waiting in the engine before the prompt is read."""
    return Timings(
        queue_us=to_us(body.get("load_duration"), 1, 1000),
        prefill_us=to_us(body.get("prompt_eval_duration"), 1, 1000),
        decode_us=to_us(body.get("eval_duration"), 1, 1000),
        total_us=to_us(body.get("total_duration"), 1, 1000),
    )


OLLAMA = Dialect("ollama", fits, read, fold)
