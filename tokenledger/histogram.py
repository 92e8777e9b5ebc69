"""A mergeable histogram of durations: exponential buckets, any quantile within one per cent of the true value.

Bucket 0 holds values up to 1 µs; bucket i > 0 holds values in (g^(i-1), g^i] with g = 1.02. The value reported for a
bucket, 2g^i / (g + 1), differs from every value in it by at most (g - 1) / (g + 1) = 0.99 %. Two histograms merge by
adding counts, and one is taken back by subtracting them.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import Final

GAMMA: Final = 1.02
"""Growth from one bucket to the next."""
RELATIVE_ERROR: Final = (GAMMA - 1) / (GAMMA + 1)
"""The greatest relative error of a quantile."""
MAX_US: Final = 30 * 24 * 3600 * 1_000_000
"""Longer durations fall into the last bucket: no call takes a month."""


def _bounds() -> list[int]:
    """Upper bound of every bucket, µs; whole, since durations are. Small neighbours may be equal, thus empty."""
    bounds = [1]
    edge = 1.0
    while bounds[-1] < MAX_US:
        edge *= GAMMA
        bounds.append(int(edge))
    return bounds


BOUNDS_US: Final = _bounds()
"""Upper bound of every bucket, µs."""
_LAST: Final = len(BOUNDS_US) - 1


def bucket(value_us: int) -> int:
    """The bucket of a duration; negative ones count as 0."""
    return min(bisect_left(BOUNDS_US, value_us), _LAST)


def bucket_value_us(index: int) -> int:
    """The duration that stands for all of a bucket."""
    return round(2 * GAMMA**index / (GAMMA + 1)) if index > 0 else 1


def histogram(values_us: Iterable[int]) -> dict[int, int]:
    """Bucket → count."""
    counts: dict[int, int] = {}
    for value_us in values_us:
        index = bucket(value_us)
        counts[index] = counts.get(index, 0) + 1
    return counts


def merge(one: Mapping[int, int], other: Mapping[int, int]) -> dict[int, int]:
    """The histogram of both; buckets that cancel out are gone."""
    counts = {index: one.get(index, 0) + other.get(index, 0) for index in one.keys() | other.keys()}
    return {index: n for index, n in counts.items() if n}


def quantile_us(counts: Mapping[int, int], q: float) -> int | None:
    """The value below or at which the share `q` of all values lies (nearest rank); None without values."""
    total = sum(counts.values())
    if total <= 0:
        return None
    rank = min(max(-int(-q * total // 1), 1), total)
    seen = 0
    for index in sorted(counts):
        seen += counts[index]
        if seen >= rank:
            return bucket_value_us(index)
    return None
