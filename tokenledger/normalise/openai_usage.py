"""Token counts of the OpenAI family. Field names differ by API, their meaning does not.

The input count includes cached and written tokens, the output count includes reasoning and rejected predictions
(openai/types/completion_usage.py, openai/types/responses/response_usage.py). Where a server counts reasoning beside
the output, its own total gives it away.
"""

from itertools import compress
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec
from msgspec import convert

from tokenledger.normalise.leaves import carve_checked, carve_input, carve_output, carve_text, check_total, subtract
from tokenledger.normalise.reading import Body, Count, Reading, Zero, count, part
from tokenledger.records.reasons import Anomaly


class _Inputs(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    cached_tokens: Count | None = None
    audio_tokens: Zero = None


class _Outputs(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    reasoning_tokens: Count | None = None
    audio_tokens: Zero = None
    accepted_prediction_tokens: Count | None = None
    rejected_prediction_tokens: Count | None = None


class ChatUsage(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """What nearly every usage object is; checked in C, at a third of what looking at each count costs."""

    prompt_tokens: Count
    """Inclusive input total."""
    completion_tokens: Count
    """Inclusive output total."""
    total_tokens: Count
    """Both."""
    prompt_tokens_details: _Inputs | None = None
    """What is inside the input."""
    completion_tokens_details: _Outputs | None = None
    """What is inside the output."""


class _ResponsesUsage(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """The same in the words of the Responses API."""

    prompt_tokens: Count = msgspec.field(name="input_tokens")
    completion_tokens: Count = msgspec.field(name="output_tokens")
    total_tokens: Count
    prompt_tokens_details: _Inputs | None = msgspec.field(name="input_tokens_details", default=None)
    completion_tokens_details: _Outputs | None = msgspec.field(name="output_tokens_details", default=None)


_Usual: TypeAlias = ChatUsage | _ResponsesUsage


class Names(NamedTuple):
    """How one API spells its counts; details have a second spelling in the singular (realtime, Writer, Assistants)."""

    input: str
    output: str
    input_details: tuple[str, str]
    output_details: tuple[str, str]
    usual: type[_Usual] = _ResponsesUsage


CHAT: Final = Names(
    "prompt_tokens",
    "completion_tokens",
    ("prompt_tokens_details", "prompt_token_details"),
    ("completion_tokens_details", "completion_token_details"),
    ChatUsage,
)
RESPONSES: Final = Names(
    "input_tokens",
    "output_tokens",
    ("input_tokens_details", "input_token_details"),
    ("output_tokens_details", "output_token_details"),
)

_MODALITIES: Final = {
    "text_tokens": "text",
    "audio_tokens": "audio",
    "image_tokens": "image",
    "video_tokens": "video",
}
_READ_NAMES: Final = ("cached_tokens", "cache_read_input_tokens")
_WRITE_NAMES: Final = ("cache_write_tokens", "cache_creation_tokens", "cache_creation_input_tokens")
_KNOWN_INPUT: Final = frozenset((*_MODALITIES, *_READ_NAMES, *_WRITE_NAMES))
# Predictions, accepted or rejected, are billed as output text and are inside it.
_KNOWN_OUTPUT: Final = frozenset(
    (*_MODALITIES, "reasoning_tokens", "accepted_prediction_tokens", "rejected_prediction_tokens")
)
_TTLS: Final = ("5m", "1h", "30m", "12h")

# Beside the details: Moonshot and Together, DeepSeek, then proxies that keep Anthropic's names in a chat body.
_READ_BESIDE: Final = ("cached_tokens", "prompt_cache_hit_tokens", "cache_read_input_tokens")
_WRITE_BESIDE: Final = ("cache_write_tokens", "cache_creation_input_tokens")
_CACHED_ONLY: Final = frozenset({"cached_tokens"})
_BESIDE: Final = frozenset((*_READ_BESIDE, *_WRITE_BESIDE, "reasoning_tokens"))


def read_tokens(reading: Reading, usage: dict[str, Any], names: Names, *, reasoning_beside: bool = False) -> None:
    """Carve the counts of one usage object into leaves. An absent count leaves no leaf, a zero leaves a zero.

    `reasoning_beside`: the provider counts reasoning beside the output count; a stated total decides otherwise.
    """
    reading.raw_usage = usage
    if _read_usual(reading, usage, names.usual):
        return
    input_name, output_name, input_details, output_details, _ = names
    plain = _BESIDE.isdisjoint(usage)
    inputs, outputs = count(usage, input_name, "usage"), count(usage, output_name, "usage")
    if inputs is not None:
        details, path = _details(usage, input_details), f"usage.{input_details[0]}"
        if plain and _CACHED_ONLY.issuperset(compress(details, details.values())):
            cached = count(details, "cached_tokens", path) if details.get("cached_tokens") else None
            carve_text(reading, inputs, cached or 0)
        else:
            _read_input(reading, usage, inputs, details=details, path=path)
    reported = count(usage, "total_tokens", "usage")
    if outputs is not None:
        details = _details(usage, output_details)
        if plain and not (details and any(details.values())):
            carve_output(reading, outputs)
        else:
            parts = _output_parts(reading, usage, details, f"usage.{output_details[0]}")
            if "reasoning" in parts and _is_beside(reading, outputs, parts["reasoning"], reported, reasoning_beside):
                outputs += parts["reasoning"]
            carve_output(reading, outputs, parts=parts)
    if reported != (inputs or 0) + (outputs or 0):
        check_total(reading, reported)


def _read_usual(reading: Reading, usage: dict[str, Any], usual: type[_Usual]) -> bool:
    """Whether these were the counts of nearly every reply, text with cached input and reasoning, and add up.

    Then they are in `reading`, as the long way would have put them there.
    """
    try:
        found = convert(usage, usual)
    except msgspec.ValidationError:
        return False
    inside = cached_and_reasoning(found)
    if inside is None:
        return False
    cached, reasoning = inside
    reading.textless = usage
    carve_checked(reading, found.prompt_tokens, cached, outputs=found.completion_tokens, reasoning=reasoning)
    return True


def cached_and_reasoning(usage: _Usual) -> tuple[int, int] | None:
    """The tokens inside its two totals; None where the counts do not add up."""
    inputs, outputs = usage.prompt_tokens, usage.completion_tokens
    cached = usage.prompt_tokens_details.cached_tokens or 0 if usage.prompt_tokens_details else 0
    reasoning = usage.completion_tokens_details.reasoning_tokens or 0 if usage.completion_tokens_details else 0
    if usage.total_tokens != inputs + outputs or cached > inputs or reasoning > outputs:
        return None
    return cached, reasoning


def cache_actions(details: Body, path: str) -> dict[str, int]:
    """Cache action → tokens: reads, and writes by lifetime where the details say so."""
    actions = {}
    if cached := _first(details, _READ_NAMES, path):
        actions["cache_read"] = cached
    if written := _first(details, _WRITE_NAMES, path):
        lifetimes = part(details, "cache_write_tokens_details", path)
        for ttl in _TTLS:
            if tokens := count(lifetimes, f"ttl_{ttl}_tokens", f"{path}.cache_write_tokens_details"):
                actions[f"cache_write_{ttl}"] = tokens
                complaint = f"tokens written for {ttl} exceed what is left of those written"
                written = subtract(written, tokens, f"{path}.cache_write_tokens", complaint)
        if written:
            actions["cache_write"] = written
    return actions


def modality_counts(details: Body, path: str) -> dict[str, int]:
    """Modality → tokens, of those that are not zero."""
    return {modality: tokens for name, modality in _MODALITIES.items() if (tokens := count(details, name, path))}


def _details(usage: Body, spellings: tuple[str, str]) -> Body:
    details = usage.get(spellings[0])
    if details and details.__class__ is dict:
        return details
    return part(usage, spellings[0], "usage") or part(usage, spellings[1], "usage")


def _read_input(reading: Reading, usage: Body, total: int, *, details: Body, path: str) -> None:
    cached = cache_actions(details, path)
    if "cache_read" not in cached and (tokens := _first(usage, _READ_BESIDE, "usage")):
        cached["cache_read"] = tokens
    if not any(action.startswith("cache_write") for action in cached) and (
        tokens := _first(usage, _WRITE_BESIDE, "usage")
    ):
        cached["cache_write"] = tokens
    _note_unknown(reading, details, _KNOWN_INPUT)
    split = part(details, "cached_tokens_details", path)
    carve_input(
        reading,
        total,
        cached=cached,
        modalities=modality_counts(details, path),
        cached_modalities=modality_counts(split, f"{path}.cached_tokens_details") if split else {},
        path=path,
    )


def _output_parts(reading: Reading, usage: Body, details: Body, path: str) -> dict[str, int]:
    parts = modality_counts(details, path)
    parts.pop("text", None)  # reasoning may be inside it, so what is left over says more
    if reasoning := _first(details, ("reasoning_tokens",), path) or _first(usage, ("reasoning_tokens",), "usage"):
        parts["reasoning"] = reasoning
    _note_unknown(reading, details, _KNOWN_OUTPUT)
    return parts


def _is_beside(reading: Reading, output: int, reasoning: int, reported: int | None, default: bool) -> bool:  # noqa: FBT001
    """Whether reasoning is counted beside the output count; the provider's own total decides where it can."""
    without = (reading.input_tokens or 0) + output
    if reported == without + reasoning:
        return True
    return default and reported != without


def _first(holder: Body, names: tuple[str, ...], path: str) -> int:
    for name in names:
        if tokens := count(holder, name, path):
            return tokens
    return 0


def _note_unknown(reading: Reading, details: Body, known: frozenset[str]) -> None:
    for name, value in details.items():
        if value.__class__ is int and value and name not in known and name.endswith("_tokens"):
            reading.note(Anomaly.UNKNOWN_METER_SPLIT)
