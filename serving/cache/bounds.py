"""Exact bounds of a share that was counted: Clopper and Pearson, Biometrika 26 (1934). Pure."""

import math
from functools import lru_cache
from typing import Final

_HALVINGS: Final = 50


@lru_cache(maxsize=65_536)
def upper_bound(hits: int, trials: int, *, confidence: float) -> float:
    """The share that is, with this confidence, not exceeded: the greatest p with P(at most `hits`) ≥ 1 - confidence."""
    if hits >= trials:
        return 1.0
    low, high = hits / trials, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if at_most(hits, trials, share=middle) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def at_most(hits: int, trials: int, *, share: float) -> float:
    """P(X ≤ hits) of a binomial X."""
    if hits < 0:
        return 0.0
    if share <= 0 or hits >= trials:
        return 1.0
    if share >= 1:
        return 0.0
    log_odds = math.log(share) - math.log1p(-share)
    term = trials * math.log1p(-share)
    total = math.exp(term)
    for count in range(1, hits + 1):
        term += math.log((trials - count + 1) / count) + log_odds
        total += math.exp(term)
    return min(total, 1.0)


def least_trials(share: float, confidence: float) -> int:
    """Without a single hit, so many trials show that the share is not exceeded."""
    return math.ceil(math.log(1 - confidence) / math.log1p(-share))
