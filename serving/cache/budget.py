"""How a tenant's route keeps its error budget: what it has learned, what was checked, and when it grows stricter.

A hit that was drawn is checked against a model; when the wrong ones are more than the budget explains, the budget is
halved, and in the end everything learned is forgotten: no hits until enough new pairs have shown that they are right.
"""

from collections import deque
from typing import Final

import msgspec

from serving.cache.bounds import at_most, upper_bound
from serving.cache.learning import WINDOW, Checked, Curve, Own, fitted
from serving.cache.pairing import Candidate

UNKNOWN: Final = Own()
"""An answer without checked pairs."""
_DRAWN: Final = 1_000
"""Checked hits that count for the rate of wrong ones."""
_STRICTEST: Final = 2
_FIT_OFTEN: Final = 5
_FIT_SELDOM: Final = 200
"""The curve is made anew after a tenth of the pairs it rests on, within these bounds."""
_BOUND_CONFIDENCE: Final = 0.95


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """How often served hits were wrong, of those that were checked."""

    checked: int
    """Hits that were checked."""
    wrong: int
    """Of these, wrong ones."""
    bound: float
    """The share of wrong hits is, with 95 % confidence, not greater."""
    strictness: int
    """How often the budget was halved."""
    pairs: int
    """Pairs the gate rests on."""
    serving: bool
    """Whether anything is served."""


class Budget:
    """One tenant's route. Used by one thread."""

    def __init__(self) -> None:
        self._pairs: deque[Checked] = deque(maxlen=WINDOW)
        self._own: dict[str, Own] = {}
        self._drawn: deque[bool] = deque(maxlen=_DRAWN)
        self._strictness = 0
        self._since_fit = 0
        self.curve = Curve()

    def offset(self, answer_id: str) -> float:
        """What is known of one answer alone."""
        own = self._own.get(answer_id)
        return UNKNOWN.offset if own is None else own.offset

    def is_sure(self, candidate: Candidate) -> bool:
        """Whether the candidate may be served."""
        return self.curve.logit(candidate.features) + self.offset(candidate.answer_id) >= self.curve.gate

    def learn(self, answer_id: str, checked: Checked, *, drawn: bool, budget: float, confidence: float) -> None:
        """One pair whose answers were compared; `drawn` if it would have been a hit."""
        self._pairs.append(checked)
        own = self._own.setdefault(answer_id, Own())
        own.add(self.curve.logit(checked.features), correct=checked.correct)
        self._since_fit += 1
        if drawn:
            self._drawn.append(not checked.correct)
            self._watch(budget, confidence)
        due = max(_FIT_OFTEN, min(_FIT_SELDOM, len(self._pairs) // 10))
        if self._since_fit >= due or (drawn and not checked.correct):
            self._since_fit = 0
            self.curve = fitted(list(self._pairs), budget=budget / 2**self._strictness, confidence=confidence)

    def _watch(self, budget: float, confidence: float) -> None:
        wrong = sum(self._drawn)
        if wrong == 0 or at_most(wrong - 1, len(self._drawn), share=budget) <= confidence:
            return
        if self._strictness < _STRICTEST:
            self._strictness += 1
        else:
            self._pairs.clear()
            self._own.clear()
        self._drawn.clear()
        self._since_fit = WINDOW

    def forget(self, answer_id: str) -> None:
        """The answer is gone."""
        self._own.pop(answer_id, None)

    def rate(self) -> Rate:
        """How it is doing."""
        checked, wrong = len(self._drawn), sum(self._drawn)
        return Rate(
            checked=checked,
            wrong=wrong,
            bound=upper_bound(wrong, checked, confidence=_BOUND_CONFIDENCE) if checked else 1.0,
            strictness=self._strictness,
            pairs=len(self._pairs),
            serving=self.curve.gate < float("inf"),
        )
