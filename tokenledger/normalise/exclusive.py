"""Leaves of the providers that count fresh, cached and written input apart (Anthropic, Bedrock Converse)."""

from collections.abc import Mapping

from tokenledger.normalise.reading import BadRecordError, Reading
from tokenledger.records.reasons import Anomaly, Reason


def add_input(reading: Reading, fresh: int, cached: int, *, writes: Mapping[str, int] | None = None) -> None:
    """Put text input that is counted apart into leaves; the inclusive total is their sum. `writes`: action → tokens."""
    usage = reading.usage = {}
    total = fresh
    if cached:
        usage["input.text.cache_read"] = cached
        total += cached
    if writes:
        for action, tokens in writes.items():
            usage[f"input.text.{action}"] = tokens
            total += tokens
    if fresh or not usage:
        usage["input.text"] = fresh
    reading.input_tokens = total
    reading.explicit_leaves += 1


def written(reading: Reading, total: int | None, *, split: Mapping[str, int], path: str) -> dict[str, int]:
    """Cache writes by lifetime; what the split leaves over of the total has no stated lifetime.

    Raises BadRecordError where the split exceeds the total.
    """
    parts = sum(split.values())
    if total is None or total == parts:
        return dict(split)
    if parts > total:
        detail = f"cache writes by lifetime exceed their total: {parts} > {total}"
        raise BadRecordError(Reason.CONTRADICTING_USAGE, path, detail)
    if parts:
        reading.note(Anomaly.UNKNOWN_METER_SPLIT)
    return {**split, "cache_write": split.get("cache_write", 0) + total - parts}
