"""What another router would have been worth, from calls this one served: inverse propensity weights. Pure."""

import math
from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

SMALLEST_PROPENSITY: Final = 1e-4
"""A call less likely than that weighs more than all others together; it is a defect, not a sample."""


class Served(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One logged decision and what came of it."""

    propensity: float
    """Probability with which the tier that served was chosen."""
    outcome: float
    """What is valued: quality, or minus cost, in any unit."""
    other: float
    """Probability with which the other router chooses the same tier for this request."""


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """An estimate and how much it stands on."""

    mean: float
    """Expected outcome of a call under the other router (self-normalised)."""
    low: float
    """Lower end of the 95 % interval."""
    high: float
    """Upper end."""
    effective_calls: float
    """So many calls of its own would tell as much."""


def value(served: Sequence[Served]) -> Value | None:
    """The other router's value; None where it never chooses what was served."""
    if any(one.propensity < SMALLEST_PROPENSITY for one in served):
        raise ValueError(f"a propensity is below {SMALLEST_PROPENSITY:g}; log the propensity of the tier that served")
    weights = np.array([one.other / one.propensity for one in served])
    total = float(weights.sum())
    if total == 0:
        return None
    outcomes = np.array([one.outcome for one in served])
    mean = float(weights @ outcomes) / total
    spread = 1.96 * math.sqrt(float(np.square(weights * (outcomes - mean)).sum())) / total
    return Value(
        mean=mean, low=mean - spread, high=mean + spread, effective_calls=total**2 / float(np.square(weights).sum())
    )
