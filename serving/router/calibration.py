"""Scores → frequencies: isotonic regression, as knots between which lines are drawn. Pure."""

from bisect import bisect_right

import msgspec
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Isotonic(msgspec.Struct, frozen=True, kw_only=True):
    """A map of a score to a value that never falls (or never rises); flat beyond its ends."""

    scores: tuple[float, ...]
    """Knots, ascending."""
    values: tuple[float, ...]
    """Value at each knot."""

    def __call__(self, score: float) -> float:
        """The value between the two nearest knots."""
        right = bisect_right(self.scores, score)
        if right in {0, len(self.scores)}:
            return self.values[max(0, right - 1)]
        left, above = self.scores[right - 1], self.scores[right]
        part = (score - left) / (above - left)
        return self.values[right - 1] * (1 - part) + self.values[right] * part


def isotonic(scores: Array, observed: Array, *, rising: bool, smallest_block: int) -> Isotonic:
    """Fitted by pooling adjacent violators, over blocks of at least so many pairs.

    A block smaller than that would be a claim of certainty from a handful of answers.
    """
    order = np.argsort(scores, kind="stable")
    blocks = np.array_split(order, max(1, len(order) // smallest_block))
    sign = 1.0 if rising else -1.0
    pooled: list[tuple[float, float, float]] = []
    for block in blocks:
        pooled.append((float(len(block)), float(scores[block].mean()), sign * float(observed[block].mean())))
        while len(pooled) > 1 and pooled[-2][2] >= pooled[-1][2]:
            last, before = pooled.pop(), pooled.pop()
            pooled.append(_pool(before, last))
    return Isotonic(scores=tuple(score for _, score, _ in pooled), values=tuple(sign * value for _, _, value in pooled))


def _pool(one: tuple[float, float, float], other: tuple[float, float, float]) -> tuple[float, float, float]:
    weight = one[0] + other[0]
    return (
        weight,
        (one[0] * one[1] + other[0] * other[1]) / weight,
        (one[0] * one[2] + other[0] * other[2]) / weight,
    )
