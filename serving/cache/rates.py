"""How often hits were wrong, from the checked pairs a store holds. Pure."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Final, NamedTuple

from serving.cache.bounds import upper_bound
from serving.cache.store import Pair

CONFIDENCE: Final = 0.95


class DrawnRate(NamedTuple):
    """Hits that were checked, and the wrong ones among them."""

    checked: int
    wrong: int
    bound: float
    """The share of wrong hits is, with 95 % confidence, not greater."""


def drawn_rates(pairs: Iterable[Pair]) -> dict[tuple[str, str], DrawnRate]:
    """By tenant and route. A pair that would not have been a hit says nothing of hits."""
    found: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for pair in pairs:
        if pair.drawn:
            found[pair.tenant_id, pair.route].append(not pair.checked.correct)
    return {
        key: DrawnRate(len(wrong), sum(wrong), upper_bound(sum(wrong), len(wrong), confidence=CONFIDENCE))
        for key, wrong in found.items()
    }
