"""How good an order of prompts is: the gap recovered by sending the first ones to the strong model. Pure.

A *gain* is strong − weak quality of one prompt; an order is a score per prompt, the greatest is sent first.
"""

from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

POINTS: Final = 10
"""The area is taken by trapezoids between shares of strong calls 0, 1/10, … 1, as the published figures are."""
QUALITIES: Final = (0.95, 0.99, 1.0)
"""Shares of the strong model's quality at which saved cost is stated."""


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """What an order achieves. Each is a share unless it says otherwise."""

    apgr: float
    """Area under the recovered gap over the share of strong calls; a random order has 0.5."""
    cpt50: float
    """Smallest share of strong calls that recovers half of the gap."""
    cpt80: float
    """Smallest share of strong calls that recovers four fifths of it."""
    saved_at_95: float
    """Cost saved against all-strong where quality is 95 % of the strong model's, every call paid."""
    saved_at_99: float
    """The same at 99 %."""
    saved_at_100: float
    """The same at the strong model's own quality."""


def recovered(scores: Array, gains: Array) -> Array:
    """Recovered gap after 0, 1, … n strong calls; 1 at the end. Equal scores keep their order."""
    return _recovered(gains[_order(scores)])


def apgr(scores: Array, gains: Array) -> float:
    """Area under `recovered` over the share of strong calls."""
    return _area(recovered(scores, gains))


def call_share(scores: Array, gains: Array, *, recover: float) -> float:
    """Smallest share of strong calls that recovers so much of the gap (CPT)."""
    return _first(recovered(scores, gains), recover)


def curve(scores: Array, weak: Array, strong: Array, *, cost_ratio: float) -> Curve:
    """All of it; `cost_ratio` is the price of a weak call ÷ that of a strong one."""
    ordered = (strong - weak)[_order(scores)]
    heights = _recovered(ordered)
    reached = (weak.sum() + np.concatenate(([0.0], np.cumsum(ordered)))) / strong.sum()
    # A prompt costs one call, weak or strong: nothing is tried first and paid for nothing.
    saved = [(1 - _first(reached, quality)) * (1 - cost_ratio) for quality in QUALITIES]
    return Curve(
        apgr=_area(heights),
        cpt50=_first(heights, 0.5),
        cpt80=_first(heights, 0.8),
        saved_at_95=saved[0],
        saved_at_99=saved[1],
        saved_at_100=saved[2],
    )


def _order(scores: Array) -> NDArray[np.intp]:
    return np.argsort(-scores, kind="stable")


def _recovered(ordered: Array) -> Array:
    summed = np.concatenate(([0.0], np.cumsum(ordered)))
    assert summed[-1] > 0, "without a gap there is nothing to recover"  # noqa: S101  (whoever calls saw to it)
    shares: Array = summed / summed[-1]
    return shares


def _area(heights: Array) -> float:
    shares = np.linspace(0, 1, POINTS + 1)
    return float(np.trapezoid(heights[np.rint(shares * (len(heights) - 1)).astype(int)], shares))


def _first(heights: Array, wanted: float) -> float:
    """Share of strong calls at which the height is first reached; sums may miss it by a last digit."""
    return int(np.argmax(heights >= wanted - 1e-9)) / (len(heights) - 1)


def calibration_error(expected: Array, observed: Array, bins: int = 10) -> float:
    """Mean distance between what was expected and what was seen, over equally filled bins (ECE)."""
    order = np.argsort(expected, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return float(sum(abs(expected[part].sum() - observed[part].sum()) for part in parts) / len(expected))


def interval(values: Array) -> tuple[float, float]:
    """The middle 95 % of bootstrapped values."""
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)
