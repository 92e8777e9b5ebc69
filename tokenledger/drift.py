"""How far a distribution has moved from a stored reference: PSI and KL over bins that the reference alone decides.

Because the bins are fixed, histograms of parts add up: a stream that counts by minutes and a batch that counts a month
come to the same figures. Quantile bins hold equal shares of the reference, so that one huge value moves one count.
"""

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

EMPTY_SHARE: Final = 0.0001
"""What an empty bin counts as, so that its logarithm exists; as Evidently has it."""
MISSING: Final = "missing"
"""The bin of what was not measured."""
OTHER: Final = "other"
"""The bin of words that the reference does not know."""


class Bins(msgspec.Struct, frozen=True, kw_only=True):
    """How values of one column are told apart: by edges or by words, never by both."""

    edges: tuple[float, ...] | None = None
    """Numbers, ascending: bin i holds what is at least edge i − 1 and below edge i. None for words."""
    words: tuple[str, ...] = ()
    """Words that have a bin of their own."""

    @property
    def labels(self) -> tuple[str, ...]:
        """A name for each bin; the last one is of what was not measured."""
        if self.edges is None:
            return (*self.words, OTHER, MISSING)
        if not self.edges:
            return ("all", MISSING)
        edges = self.edges
        around = zip((-math.inf, *edges[:-1]), edges, (*edges[1:], math.inf), strict=True)
        named = (_name(before, low, high=high) for before, low, high in around)
        return (f"below {edges[0]:g}", *named, MISSING)

    def bin_of(self, value: float | str | None) -> int:
        """The bin of a value."""
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return len(self.labels) - 1
        if self.edges is None:
            return self.words.index(str(value)) if str(value) in self.words else len(self.words)
        return bisect_right(self.edges, value)


def quantile_bins(quantiles: Iterable[float]) -> Bins:
    """Bins between quantiles of the reference. What many values share, as 0 often is, has a bin of its own.

    Else a column that never changed, such as the turns of a chat, could rise without being seen.
    """
    seen = Counter(map(float, quantiles))
    shared = (math.nextafter(value, math.inf) for value, times in seen.items() if times > 1)
    return Bins(edges=tuple(sorted({*seen, *shared})))


def _name(before: float, low: float, *, high: float) -> str:
    """The name of the bin between two edges; what stands before tells one that begins just above a shared value."""
    if high == math.nextafter(low, math.inf):
        return f"{low:g}"
    begins = f"above {before:g}" if low == math.nextafter(before, math.inf) else f"{low:g}"
    if high < math.inf:
        return f"{begins} to {high:g}"
    return begins if begins.startswith("above") else f"from {begins}"


def word_bins(counts: Mapping[str, int], *, most: int) -> Bins:
    """A bin for each of the commonest words of the reference; of equally common ones the first by name."""
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    return Bins(words=tuple(sorted(ranked[:most])))


def histogram(bins: Bins, values: Iterable[float | str | None]) -> tuple[int, ...]:
    """How many values each bin has."""
    counts = [0] * len(bins.labels)
    for value in values:
        counts[bins.bin_of(value)] += 1
    return tuple(counts)


def merge(one: Sequence[int], other: Sequence[int]) -> tuple[int, ...]:
    """The histogram of both."""
    return tuple(first + second for first, second in zip(one, other, strict=True))


def _shares(counts: Sequence[int]) -> list[float]:
    """Share of each bin; an empty one counts as a little, or as much less than the smallest there is."""
    total = sum(counts)
    shares = [count / total for count in counts]
    smallest = min(share for share in shares if share > 0)
    little = smallest / 10**6 if smallest <= EMPTY_SHARE else EMPTY_SHARE
    return [share or little for share in shares]


def psi(reference: Sequence[int], current: Sequence[int]) -> float:
    """Population stability index: 0 for equal shares, below 0.1 usually called small, from 0.25 on large."""
    pairs = _seen(reference, current)
    return math.fsum((before - now) * math.log(before / now) for before, now in pairs)


def kl(reference: Sequence[int], current: Sequence[int]) -> float:
    """Kullback-Leibler divergence of the reference from the current counts, in nats."""
    pairs = _seen(reference, current)
    before_all, now_all = (math.fsum(column) for column in zip(*pairs, strict=True))
    return math.fsum(before / before_all * math.log(before * now_all / (now * before_all)) for before, now in pairs)


def _seen(reference: Sequence[int], current: Sequence[int]) -> list[tuple[float, float]]:
    """Shares before and now, of bins that either has. Raises ValueError where one has nothing at all."""
    both = [(before, now) for before, now in zip(reference, current, strict=True) if before or now]
    if not any(before for before, _ in both) or not any(now for _, now in both):
        raise ValueError("a distribution without values has no distance from another; ask for a minimum sample first")
    before_counts, now_counts = zip(*both, strict=True)
    return list(zip(_shares(before_counts), _shares(now_counts), strict=True))


def noise(bins: int, *, reference: int, current: int) -> float:
    """The PSI that chance alone gives on average: (bins − 1) (1/n + 1/m), after Yurdakul."""
    return max(bins - 1, 0) * (1 / reference + 1 / current)
