"""What the gateway counts of checked answers. Labels come from the configuration and from closed sets."""

from functools import cache
from typing import Final

from prometheus_client import Counter

_ANSWERS: Final = Counter(
    "tokenledger_cascade_answers_total",
    "Checked answers that served, by tier and check: `passed`, `agreed`, `strongest`, or what is wrong with it",
    ["route", "tier", "check"],
)
_ESCALATIONS: Final = Counter(
    "tokenledger_cascade_escalations_total", "Times a stronger tier was needed, by why", ["route", "reason"]
)
_OPINIONS: Final = Counter(
    "tokenledger_cascade_opinions_total",
    "Second opinions that were waited for: `agreed`, `disagreed`, or `missing`",
    ["route", "outcome"],
)
_SPECULATIONS: Final = Counter(
    "tokenledger_cascade_speculations_total",
    "Stronger tiers asked before it was known whether they would be needed: `used`, `cancelled`, `failed`",
    ["route", "outcome"],
)
UNCOMPARED: Final = Counter(
    "tokenledger_cascade_uncompared_total", "Answers taken to differ because no vectors were to be had of them"
)


@cache
def answers(route: str, tier: str, *, check: str) -> Counter:
    """Checked answers that served."""
    return _ANSWERS.labels(route, tier, str(check))


@cache
def escalations(route: str, reason: str) -> Counter:
    """Times a stronger tier was needed."""
    return _ESCALATIONS.labels(route, str(reason))


@cache
def opinions(route: str, outcome: str) -> Counter:
    """Second opinions that were waited for."""
    return _OPINIONS.labels(route, outcome)


@cache
def speculations(route: str, outcome: str) -> Counter:
    """Stronger tiers asked before they were needed."""
    return _SPECULATIONS.labels(route, outcome)
