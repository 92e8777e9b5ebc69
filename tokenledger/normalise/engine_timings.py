"""Durations that an engine reports of itself inside an OpenAI-shaped reply, and what its fields give away of it.

vLLM `metrics` (`--enable-per-request-metrics`), llama.cpp `timings`, Groq in its usage object, Cerebras `time_info`.
"""

from decimal import Decimal
from typing import Any, Final

from tokenledger.normalise.openai_usage import CHAT as NAMES
from tokenledger.normalise.openai_usage import read_tokens
from tokenledger.normalise.reading import Body, Exchange, Reading, count
from tokenledger.records.call import Timings

_SIGNS: Final = frozenset(("metrics", "timings", "time_info", "x_groq", "kv_transfer_params", "prompt_logprobs"))
_LONGEST_US: Final = 2**53
# A hosted provider that runs vLLM may pass its fields on; only where no paid provider is named do they mean our own.
_NO_PROVIDER: Final = frozenset({"", "openai", "vllm"})


def add(reading: Reading, body: Body, exchange: Exchange) -> None:
    """Put durations and engine into `reading`, where the reply has them."""
    if _SIGNS.isdisjoint(body):
        usage = reading.raw_usage
        if usage is not None and "queue_time" in usage:
            reading.timings = of_seconds(usage)
        return
    if body.get("timings").__class__ is dict and "prompt_n" in body["timings"]:
        _llama(reading, body["timings"])
    elif body.get("metrics").__class__ is dict:
        _vllm(reading, body["metrics"], exchange)
    elif body.get("time_info").__class__ is dict:
        reading.timings = of_seconds(body["time_info"], total="total_time")
    elif reading.raw_usage is not None and "queue_time" in reading.raw_usage:
        reading.timings = of_seconds(reading.raw_usage)
    elif exchange.provider in _NO_PROVIDER and ("kv_transfer_params" in body or "prompt_logprobs" in body):
        reading.engine = "vllm"


def of_seconds(times: Body, total: str = "") -> Timings:
    """Groq's and Cerebras' names; Groq's `total_time` leaves out the queue, so it is no total."""
    return Timings(
        queue_us=to_us(times.get("queue_time"), 1_000_000),
        prefill_us=to_us(times.get("prompt_time"), 1_000_000),
        decode_us=to_us(times.get("completion_time"), 1_000_000),
        total_us=to_us(times.get(total), 1_000_000),
    )


def to_us(value: object, factor: int, divisor: int = 1) -> int | None:
    """A duration as µs, floored; None where it is none. A duration that is not one is no reason to lose the call."""
    if value.__class__ is not int and not isinstance(value, Decimal):
        return None
    if not 0 <= value < _LONGEST_US:
        return None
    duration_us = int(value * factor) // divisor
    return duration_us if duration_us <= _LONGEST_US else None


def _vllm(reading: Reading, metrics: dict[str, Any], exchange: Exchange) -> None:
    """The first token is counted from scheduling, so it is prefill without the queue."""
    if not any(name.endswith("_ms") for name in metrics):
        return
    if exchange.provider in _NO_PROVIDER:
        reading.engine = "vllm"
    reading.timings = Timings(
        queue_us=to_us(metrics.get("queue_time_ms"), 1000),
        prefill_us=to_us(metrics.get("time_to_first_token_ms"), 1000),
        decode_us=to_us(metrics.get("generation_time_ms"), 1000),
    )


def _llama(reading: Reading, timings: dict[str, Any]) -> None:
    reading.engine = "llama.cpp"
    reading.timings = llama_times(timings)
    stated = reading.raw_usage
    usage = llama_usage(timings)
    if stated is None and usage is not None:
        read_tokens(reading, usage, NAMES)
        reading.raw_usage = llama_counts(timings)
    elif stated is not None and not stated.get("prompt_tokens_details") and llama_cached(timings):
        reading.usage, reading.explicit_leaves = {}, 0
        read_tokens(reading, stated | {"prompt_tokens_details": {"cached_tokens": llama_cached(timings)}}, NAMES)
        reading.raw_usage = stated


def llama_times(timings: Body) -> Timings:
    """Prefill and decode of llama.cpp `timings`."""
    return Timings(prefill_us=to_us(timings.get("prompt_ms"), 1000), decode_us=to_us(timings.get("predicted_ms"), 1000))


def llama_usage(timings: Body) -> dict[str, Any] | None:
    """The usage that llama.cpp `timings` amount to: `prompt_n` leaves out what `cache_n` found in the cache."""
    fresh = count(timings, "prompt_n", "timings")
    if fresh is None:
        return None
    cached = count(timings, "cache_n", "timings") or 0
    return {
        "prompt_tokens": fresh + cached,
        "completion_tokens": count(timings, "predicted_n", "timings"),
        "prompt_tokens_details": {"cached_tokens": cached},
    }


def llama_counts(timings: Body) -> dict[str, Any]:
    """The counts of llama.cpp `timings`, to be kept as the raw usage."""
    return {name: timings[name] for name in ("cache_n", "prompt_n", "predicted_n") if name in timings}


def llama_cached(timings: Body) -> int:
    """Tokens of the prompt that llama.cpp found in its cache."""
    return count(timings, "cache_n", "timings") or 0
