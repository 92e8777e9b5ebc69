"""Carving inclusive totals into disjoint leaves. A leaf that would be negative rejects the record, never clamped."""

from collections.abc import Mapping
from typing import Final

from tokenledger.normalise.reading import BadRecordError, Reading
from tokenledger.records.reasons import Anomaly, Reason

_NOTHING: Final[Mapping[str, int]] = {}


def carve_input(
    reading: Reading,
    total: int,
    *,
    cached: Mapping[str, int] = _NOTHING,
    modalities: Mapping[str, int] = _NOTHING,
    cached_modalities: Mapping[str, int] = _NOTHING,
    path: str = "usage",
) -> None:
    """Put `total` input tokens (cache included) into leaves of `reading`.

    `cached`: cache action (`cache_read`, `cache_write_5m`, …) → tokens, all inside the total. `modalities`: modality →
    tokens, all inside the total and including what was cached; what they leave over is text. `cached_modalities`:
    modality → cache-read tokens, where the provider splits them; otherwise text is taken first, then the others.
    """
    usage = reading.usage
    reading.input_tokens = total
    reading.explicit_leaves += len(cached) + len(modalities) + 1
    if modalities or cached_modalities:
        fresh = _by_modality(reading, total, modalities, path)
        for action, tokens in cached.items():
            split = cached_modalities if action == "cache_read" else _NOTHING
            _take(reading, fresh, (action, tokens), split, path)
        for name, tokens in fresh.items():
            if tokens or not usage:
                usage[f"input.{name}"] = usage.get(f"input.{name}", 0) + tokens
        return
    rest = total  # all of it text: the common case, kept short
    for action, tokens in cached.items():
        rest = subtract(rest, tokens, path, f"{action} tokens exceed what is left of the input total {total}")
        if tokens:
            usage[f"input.text.{action}"] = tokens
    if rest or not usage:
        usage["input.text"] = rest


def carve_text(reading: Reading, total: int, cached: int) -> None:
    """`carve_input` for the record that nearly all are: text only, `cached` of it read from the cache."""
    reading.input_tokens = total
    if not cached:
        reading.explicit_leaves += 1
        reading.usage["input.text"] = total
        return
    reading.explicit_leaves += 2
    rest = subtract(total, cached, "usage", f"cache_read tokens exceed the input total {total}")
    reading.usage["input.text.cache_read"] = cached
    if rest:
        reading.usage["input.text"] = rest


def carve_checked(reading: Reading, inputs: int, cached: int, *, outputs: int, reasoning: int) -> None:
    """Both totals of text into leaves, where `cached` and `reasoning` are known to be inside them."""
    reading.input_tokens, reading.output_tokens = inputs, outputs
    reading.explicit_leaves += 2 + bool(cached) + bool(reasoning)
    leaves = reading.usage
    if cached:
        leaves["input.text.cache_read"] = cached
    if inputs > cached or not cached:
        leaves["input.text"] = inputs - cached
    if reasoning:
        leaves["output.reasoning"] = reasoning
    if outputs > reasoning or not reasoning:
        leaves["output.text"] = outputs - reasoning


def carve_output(reading: Reading, total: int, *, parts: Mapping[str, int] = _NOTHING, path: str = "usage") -> None:
    """Put `total` output tokens (reasoning included) into leaves; `parts`: `reasoning`, `audio`, `image` → tokens."""
    usage = reading.usage
    reading.output_tokens = total
    reading.explicit_leaves += len(parts) + 1
    if not parts:
        usage["output.text"] = total
        return
    rest = total
    for name, tokens in parts.items():
        rest = subtract(rest, tokens, path, f"{name} tokens exceed what is left of the output total {total}")
        if tokens:
            usage[f"output.{name}"] = tokens
    if rest:
        usage["output.text"] = rest


def check_total(reading: Reading, reported: int | None) -> None:
    """Compare the reported grand total with the parts; the parts are priced either way."""
    if reported is None:
        return
    parts = (reading.input_tokens or 0) + (reading.output_tokens or 0)
    if reported > parts:
        reading.note(Anomaly.UNEXPLAINED_TOKENS)
    elif reported < parts and reported:
        reading.note(Anomaly.TOTAL_MISMATCH)


def subtract(whole: int, inside: int, path: str, complaint: str) -> int:
    """`whole - inside`; raises BadRecordError rather than return a negative leaf."""
    if inside > whole:
        raise BadRecordError(Reason.CONTRADICTING_USAGE, path, f"{complaint}: {inside} > {whole}")
    return whole - inside


def _by_modality(reading: Reading, total: int, modalities: Mapping[str, int], path: str) -> dict[str, int]:
    fresh = {name: tokens for name, tokens in modalities.items() if name != "text" and tokens}
    fresh["text"] = subtract(total, sum(fresh.values()), path, "modalities exceed the input total")
    stated = modalities.get("text")
    if stated is not None and stated != fresh["text"]:
        subtract(fresh["text"], stated, path, "text tokens exceed what other modalities leave of the input total")
        reading.note(Anomaly.UNKNOWN_METER_SPLIT)
    return fresh


def _take(
    reading: Reading,
    fresh: dict[str, int],
    taken: tuple[str, int],
    split: Mapping[str, int],
    path: str,
) -> None:
    """Move cached tokens from `fresh` into leaves: as the provider splits them, the rest text first."""
    action, tokens = taken
    usage = reading.usage
    for name, stated in split.items():
        if stated:
            fresh[name] = subtract(fresh.get(name, 0), stated, path, f"cached {name} tokens exceed {name} tokens")
            usage[f"input.{name}.{action}"] = stated
            tokens = subtract(tokens, stated, path, f"cached {name} tokens exceed the cached total")
    for name in sorted(fresh, key=lambda modality: (modality != "text", modality)):
        share = min(tokens, fresh[name])
        if share:
            usage[f"input.{name}.{action}"] = usage.get(f"input.{name}.{action}", 0) + share
            fresh[name] -= share
            tokens -= share
            if name != "text":
                reading.note(Anomaly.CACHE_SPLIT_OVERLAPS)
    if tokens:
        total = reading.input_tokens
        detail = f"{action} tokens exceed the input total {total} by {tokens}"
        raise BadRecordError(Reason.CONTRADICTING_USAGE, path, detail)
