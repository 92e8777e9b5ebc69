"""Which pairs of questions may share an answer: learned from checked pairs, held to an error budget. Pure.

Each kept answer has its own logistic curve over similarity, as in vCache (Schroeder et al., arXiv 2502.03771): the
slopes are shared by a tenant's route, the offset is the answer's own and counts with its uncertainty. What such a score
is worth is not believed but counted: the lowest score that is served is the lowest down to which the share of wrong
pairs keeps within the budget by an exact bound (as in Learn then Test, Angelopoulos et al., arXiv 2110.01052). No
checked pairs, no hits.
"""

import math
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from serving.cache.bounds import at_most, least_trials

Array = NDArray[np.float64]

FEATURES: Final = ("one", "similarity", "margin", "agreement", "overlap", "swapped", "length")
"""What is known of a pair, in this order."""

WINDOW: Final = 4_000
"""Checked pairs that count; older ones are forgotten."""
_PRIOR: Final = np.array([0.0, 1.0, 1.0, 1.0, 1.0, -1.0, 0.0])
"""Before anything is known: closer and more alone is better."""
_PRIOR_WEIGHT: Final = 1.0
_OFFSET_SD: Final = 1.0
"""How far the offset of an answer may lie from the others', a priori."""
_CAUTION: Final = 1.0
"""Standard deviations by which an answer's offset is taken below its estimate."""
_STEPS: Final = 12
_SIZES: Final = 16
"""Sizes of the surest part that are tried; what the bound may fail by is shared among them (Bonferroni)."""
_GROWTH: Final = 1.2
_LONGEST_STEP: Final = 2.0
_SMALL: Final = 1e-4
_NEVER: Final = float("inf")
_OWN_PAIRS: Final = 32


class Checked(msgspec.Struct, frozen=True, gc=False):
    """One pair whose answers were compared."""

    features: tuple[float, ...]
    """As FEATURES says."""
    offset: float
    """Of the kept answer, as it was when the pair was met."""
    correct: bool
    """Whether the kept answer was right for the question."""


class Own(msgspec.Struct, gc=False):
    """Checked pairs of one answer: what the shared curve says of each, and whether it was right."""

    logits: list[float] = msgspec.field(default_factory=list)
    correct: list[bool] = msgspec.field(default_factory=list)
    offset: float = -_CAUTION * _OFFSET_SD
    """What they say of the answer, on the cautious side; without any, only the caution."""

    def add(self, logit: float, *, correct: bool) -> None:
        """One more; the oldest goes."""
        self.logits.append(logit)
        self.correct.append(correct)
        if len(self.logits) > _OWN_PAIRS:
            del self.logits[0], self.correct[0]
        self.offset = _offset(self.logits, self.correct)


def _offset(logits: list[float], correct: list[bool]) -> float:
    """The offset that explains the pairs best, by Newton's method, less its uncertainty."""
    offset = curvature = 0.0
    for _ in range(_STEPS):
        chances = [1 / (1 + math.exp(-max(min(logit + offset, 30.0), -30.0))) for logit in logits]
        curvature = sum([chance * (1 - chance) for chance in chances]) + _OFFSET_SD**-2
        step = (sum(correct) - sum(chances) - offset * _OFFSET_SD**-2) / curvature
        offset += max(min(step, _LONGEST_STEP), -_LONGEST_STEP)
        if abs(step) < _SMALL:
            break
    return offset - _CAUTION / math.sqrt(curvature)


class Curve(msgspec.Struct, frozen=True, gc=False):
    """What a tenant's route has learned."""

    weights: tuple[float, ...] = tuple(_PRIOR)
    """Slopes, as FEATURES says."""
    gate: float = _NEVER
    """Lowest score that is served."""

    def logit(self, features: tuple[float, ...]) -> float:
        """What the shared slopes say of a pair."""
        return sum(weight * value for weight, value in zip(self.weights, features, strict=True))


def fitted(checked: list[Checked], *, budget: float, confidence: float) -> Curve:
    """Slopes and gate from the pairs that count."""
    if not checked:
        return Curve()
    features = np.array([one.features for one in checked])
    offsets = np.array([one.offset for one in checked])
    wrong = np.array([not one.correct for one in checked])
    weights = _slopes(features, (~wrong).astype(np.float64))
    return Curve(tuple(weights), gate_of(features @ weights + offsets, wrong, budget=budget, confidence=confidence))


def _slopes(features: Array, correct: Array) -> Array:
    """Ridge logistic regression around the prior, by Newton's method."""
    weights = _PRIOR.copy()
    ridge = np.eye(len(_PRIOR)) * _PRIOR_WEIGHT
    for _ in range(_STEPS):
        chance = _sigmoid(features @ weights)
        gradient = features.T @ (correct - chance) - _PRIOR_WEIGHT * (weights - _PRIOR)
        hessian = (features * (chance * (1 - chance))[:, None]).T @ features + ridge
        step = np.linalg.solve(hessian, gradient)
        # A full step from far away may overshoot, and never come back.
        weights = weights + step * min(1.0, _LONGEST_STEP / max(float(np.abs(step).max()), 1e-9))
    return weights


def gate_of(scores: Array, wrong: NDArray[np.bool_], *, budget: float, confidence: float) -> float:
    """The lowest score down to which the share of wrong pairs is, surely enough, within the budget."""
    order = np.argsort(-scores, kind="stable")
    scores, errors = scores[order], np.cumsum(wrong[order])
    unsure = (1 - confidence) / _SIZES
    least = least_trials(budget, 1 - unsure)
    sizes = [size for step in range(_SIZES) if (size := int(least * _GROWTH**step)) <= len(scores)]
    kept = [size for size in sizes if at_most(int(errors[size - 1]), size, share=budget) <= unsure]
    return float(scores[kept[-1] - 1]) if kept else _NEVER


def _sigmoid(values: Array) -> Array:
    return 1 / (1 + np.exp(-np.clip(values, -30, 30)))
