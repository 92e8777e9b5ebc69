"""Whether a new router may be promoted: judged on golden pairs that neither it nor the current one saw. Pure."""

from typing import Final

import msgspec

MOST_WORSE: Final = 0.005
"""So much APGR below the current router is still called equal: less than one shuffle of the folds changes."""
LEAST_GOLDEN: Final = 100
"""Fewer golden pairs decide nothing."""


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """What one router is worth on the golden pairs."""

    version: str
    """The router."""
    apgr: float
    """Part of the quality gap recovered, averaged over all shares of strong calls; by lot it is 0.5."""
    low: float
    """Lower end of its 95 % interval."""
    calibration_error: float
    """Calibration error of the expected gain."""


class Candidacy(msgspec.Struct, frozen=True, kw_only=True):
    """One candidate, as it is registered."""

    candidate: Judged
    """The new one."""
    current: Judged | None
    """The one that serves; None where none does."""
    pairs: str
    """Dataset it was trained on, `name@version`."""
    golden: str
    """Where the golden pairs are from."""
    golden_pairs: int
    """How many."""
    golden_gap_low: float | None = None
    """How much better the strongest tier surely is on them: lower end of the 95 % interval; None in old records."""
    fit: bool
    """Whether it may be promoted."""
    why: str
    """Why, or why not, in a sentence."""


def verdict(candidate: Judged, current: Judged | None, *, golden_pairs: int, golden_gap_low: float) -> tuple[bool, str]:
    """(whether it may be promoted, why). It must beat chance, and not be worse than what serves."""
    if doubt := _doubt(candidate, golden_pairs=golden_pairs, gap_low=golden_gap_low):
        return False, doubt
    if current is None:
        return True, f"its APGR is {candidate.apgr:.3f}, and none serves"
    if candidate.version == current.version:
        return True, "it is the one that serves"
    if candidate.apgr < current.apgr - MOST_WORSE:
        return False, f"its APGR {candidate.apgr:.3f} is below {current.apgr:.3f} of {current.version}"
    return True, f"its APGR {candidate.apgr:.3f} is not below {current.apgr:.3f} of {current.version}"


def _doubt(candidate: Judged, *, golden_pairs: int, gap_low: float) -> str:
    """Why nothing can be said for it, whatever serves; empty where something can."""
    if golden_pairs < LEAST_GOLDEN:
        return f"{golden_pairs} golden pairs decide nothing; review at least {LEAST_GOLDEN}"
    if gap_low <= 0:
        return (
            f"the strongest tier is not surely better on the golden pairs (95 % from {gap_low:+.3f}): "
            "there is no gap to recover, so APGR says nothing"
        )
    if candidate.low <= 0.5:  # noqa: PLR2004  (what a lot draws)
        return f"its APGR {candidate.apgr:.3f} is not surely better than a lot's 0.5 (95 % from {candidate.low:.3f})"
    return ""
