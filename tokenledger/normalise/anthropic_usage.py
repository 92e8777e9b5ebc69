"""The usage object of Anthropic's replies, wherever it turns up.

`input_tokens` is what neither came from the cache nor was written to it; `output_tokens` includes thinking
(anthropic/types/usage.py).

`usage.iterations` (beta): one call whose parts may have run on several models. Top-level counts are the sum of
`message` and `fallback_message` entries; `compaction` entries are not in them (anthropic/types/beta/beta_usage.py), and
neither are `advisor_message` entries, which run on a model of their own. So the sum of all entries is what was
consumed. Should the top level exceed that sum, the list is not complete: then the top level counts, with the entries
that stand beside it.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
from msgspec import convert

from tokenledger.normalise.exclusive import add_input, written
from tokenledger.normalise.leaves import subtract
from tokenledger.normalise.reading import BadRecordError, Body, Count, Reading, Word, Zero, count, part, text
from tokenledger.records.call import ModelShare
from tokenledger.records.reasons import Anomaly, Reason

_TOOLS: Final = (
    ("web_search_requests", "tool.web_search"),
    ("web_fetch_requests", "tool.web_fetch"),
    ("code_execution_requests", "tool.code_execution"),
)
_LIFETIMES: Final = {f"ephemeral_{ttl}_input_tokens": f"cache_write_{ttl}" for ttl in ("5m", "1h", "30m", "12h")}
_INSIDE: Final = frozenset({"message", "fallback_message"})
"""Entries that the top-level counts contain."""


class _Lifetimes(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    ephemeral_5m_input_tokens: Count = 0
    ephemeral_1h_input_tokens: Count = 0


class _Tools(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    web_search_requests: Zero = None
    web_fetch_requests: Zero = None


class _Usual(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """What nearly every usage object is; checked in C, at a third of what looking at each count costs."""

    input_tokens: Count
    output_tokens: Count
    cache_creation_input_tokens: Count | None = None
    cache_read_input_tokens: Count | None = None
    cache_creation: _Lifetimes | None = None
    server_tool_use: _Tools | None = None
    service_tier: Word | None = None
    inference_geo: Word | None = None


def read_usage(reading: Reading, usage: dict[str, Any]) -> None:
    """Put the counts of an Anthropic usage object into leaves, and note tier, speed and geography."""
    reading.raw_usage = usage
    if _read_usual(reading, usage):
        return
    iterations = usage.get("iterations")
    if iterations:
        read_iterations(reading, usage, iterations)
    else:
        read_counts(reading, usage)
    tools = usage.get("server_tool_use")
    if tools:
        _add_tools(reading, part(usage, "server_tool_use", "usage"))
    speed = text(usage, "speed")
    if speed != "standard":
        reading.speed = speed
    _add_terms(reading, text(usage, "service_tier"), text(usage, "inference_geo"))


def _add_terms(reading: Reading, tier: str | None, geo: str | None) -> None:
    if tier == "batch":
        reading.processing = "batch"
    else:
        reading.service_tier = tier
    if geo != "not_available":
        reading.region = geo


def _read_usual(reading: Reading, usage: dict[str, Any]) -> bool:
    """Whether these were the counts of nearly every reply, whose cache writes have stated lifetimes or are none.

    Then they are in `reading`, as the long way would have put them there.
    """
    try:
        found = convert(usage, _Usual)
    except msgspec.ValidationError:
        return False
    cached, creation, split = found.cache_read_input_tokens, found.cache_creation_input_tokens, found.cache_creation
    stated = split.ephemeral_5m_input_tokens + split.ephemeral_1h_input_tokens if split else 0
    if stated != creation and (stated or creation):
        return False
    writes = (
        {_LIFETIMES[name]: tokens for name, tokens in usage["cache_creation"].items() if tokens} if stated else None
    )
    add_input(reading, found.input_tokens, cached or 0, writes=writes)
    reading.output_tokens = reading.usage["output.text"] = found.output_tokens
    reading.explicit_leaves += 1 + (cached is not None) + (creation is not None)
    reading.textless = usage
    _add_terms(reading, found.service_tier or None, found.inference_geo or None)
    return True


def read_counts(reading: Reading, usage: Body, path: str = "usage") -> None:
    """Put input, cache and output counts of one usage object, or of one iteration, into leaves."""
    fresh = count(usage, "input_tokens", path)
    cached = count(usage, "cache_read_input_tokens", path)
    creation = count(usage, "cache_creation_input_tokens", path)
    split = usage.get("cache_creation")
    if split or creation:
        writes = written(
            reading, creation, split=_lifetimes(reading, part(usage, "cache_creation", path), path), path=path
        )
    else:
        writes = None
    if fresh is not None or cached or writes:
        add_input(reading, fresh or 0, cached or 0, writes=writes)
        reading.explicit_leaves += (cached is not None) + (creation is not None)
    output = count(usage, "output_tokens", path)
    if output is None:
        return
    details = usage.get("output_tokens_details")
    thinking = count(part(usage, "output_tokens_details", path), "thinking_tokens", path) if details else None
    add_output(reading, output, thinking, path=path)


def add_output(reading: Reading, output: int, thinking: int | None, *, path: str) -> None:
    """Put `output` tokens, `thinking` of them reasoning, into leaves."""
    reading.output_tokens = output
    reading.explicit_leaves += 1
    if thinking:
        reading.explicit_leaves += 1
        reading.usage["output.reasoning"] = thinking
        output = subtract(output, thinking, path, "thinking tokens exceed the output tokens")
        if not output:
            return
    reading.usage["output.text"] = output


def _lifetimes(reading: Reading, split: Body, path: str) -> dict[str, int]:
    """`ephemeral_5m_input_tokens` and the like → cache action → tokens."""
    lifetimes: dict[str, int] = {}
    within = f"{path}.cache_creation"
    for name in split:
        tokens = count(split, name, within) if name.endswith("_tokens") else None
        if not tokens:
            continue
        action = _LIFETIMES.get(name)
        if action is None:
            reading.note(Anomaly.UNKNOWN_METER_SPLIT)
            action = "cache_write"
        lifetimes[action] = lifetimes.get(action, 0) + tokens
    return lifetimes


def _add_tools(reading: Reading, tools: Body) -> None:
    for name, meter in _TOOLS:
        if calls := count(tools, name, "usage.server_tool_use"):
            reading.usage[meter] = calls
            reading.explicit_leaves += 1


def read_iterations(reading: Reading, usage: Body, iterations: Any) -> None:
    """Sum the entries into leaves; parts that another model consumed become shares that name it."""
    entries = list(_entries(reading, iterations))
    top = _leaves(usage, "usage", reading)
    inside = _sum(part for entry, part in entries if text(entry, "type") in _INSIDE)
    everything = _sum(part for _, part in entries)
    if _covers(everything, top):
        summed = everything
        if _totals(top) not in (_totals(inside), _totals(everything)):
            reading.note(Anomaly.TOTAL_MISMATCH)
    else:
        summed = _sum([top, *(part for entry, part in entries if text(entry, "type") not in _INSIDE)])
        reading.note(Anomaly.TOTAL_MISMATCH)
    shares = tuple(
        ModelShare(model=model, usage=part.usage, kind=text(entry, "type") or "")
        for entry, part in entries
        if (model := text(entry, "model")) and model != reading.response_model
    )
    _split_reasoning(reading, summed, usage, shares)
    reading.usage, reading.shares = summed.usage, shares
    reading.input_tokens, reading.output_tokens = summed.input_tokens, summed.output_tokens
    reading.explicit_leaves = summed.explicit_leaves


def _entries(reading: Reading, iterations: Any) -> Iterator[tuple[Body, Reading]]:
    if not isinstance(iterations, list) or not all(isinstance(entry, dict) for entry in iterations):
        detail = f"found {type(iterations).__name__}; a list of objects would be right"
        raise BadRecordError(Reason.INVALID_COUNT, "usage.iterations", detail)
    for number, entry in enumerate(iterations):
        yield entry, _leaves(entry, f"usage.iterations[{number}]", reading)


def _leaves(usage: Body, path: str, reading: Reading) -> Reading:
    found = Reading(usage_reading="", anomalies=reading.anomalies)
    # The top level's thinking is carved out of the sum, once.
    inclusive = path == "usage"
    counts = {k: v for k, v in usage.items() if k != "output_tokens_details"} if inclusive else usage
    read_counts(found, counts, path)
    return found


def _sum(parts: Iterable[Reading]) -> Reading:
    total = Reading(usage_reading="", usage={}, input_tokens=0, output_tokens=0)
    for found in parts:
        for meter, tokens in found.usage.items():
            total.usage[meter] = total.usage.get(meter, 0) + tokens
        total.input_tokens = (total.input_tokens or 0) + (found.input_tokens or 0)
        total.output_tokens = (total.output_tokens or 0) + (found.output_tokens or 0)
        total.explicit_leaves += found.explicit_leaves
    return total


def _totals(found: Reading) -> tuple[int, int]:
    return found.input_tokens or 0, found.output_tokens or 0


def _covers(everything: Reading, top: Reading) -> bool:
    return all(whole >= stated for whole, stated in zip(_totals(everything), _totals(top), strict=True))


def _split_reasoning(reading: Reading, summed: Reading, usage: Body, shares: tuple[ModelShare, ...]) -> None:
    """Thinking that only the top level states belongs to the call's own model, if its output can hold it."""
    stated = count(part(usage, "output_tokens_details", "usage"), "thinking_tokens", "usage.output_tokens_details")
    if not stated or "output.reasoning" in summed.usage:
        return
    output = summed.usage.get("output.text", 0)
    if stated > output:
        detail = f"thinking tokens exceed the output tokens: {stated} > {output}"
        raise BadRecordError(Reason.CONTRADICTING_USAGE, "usage.output_tokens_details", detail)
    if stated > output - sum(share.usage.get("output.text", 0) for share in shares):
        reading.note(Anomaly.UNKNOWN_METER_SPLIT)
        return
    summed.usage["output.reasoning"] = stated
    summed.usage["output.text"] = output - stated
