"""What the gateway counts of choices and checks. Labels come from the configuration and from closed sets."""

from functools import cache
from typing import Final

from prometheus_client import Counter, Histogram

_SECONDS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1)

_DECISIONS: Final = Counter(
    "tokenledger_router_decisions_total",
    "Choices of the router, by route, the tier it chose and why; `explored` is by lot",
    ["route", "tier", "reason"],
)
_FAILURES: Final = Counter(
    "tokenledger_router_failures_total", "Requests for which the router failed and the static plan served", ["route"]
)
_MISSING: Final = Counter(
    "tokenledger_router_features_missing_total",
    "Choices made without the features of a tier, of the caller's feature, or of its spend",
    ["route", "what"],
)
_SECONDS_OF: Final = Histogram(
    "tokenledger_router_decision_seconds", "Time of one choice, features of the prompt included", ["route"],
    buckets=_SECONDS,
)  # fmt: skip
REFRESH_FAILED: Final = Counter(
    "tokenledger_router_refresh_failures_total", "Changed policies or models of the router that were not taken"
)


@cache
def decisions(route: str, tier: str, *, reason: str) -> Counter:
    """Choices of the router."""
    return _DECISIONS.labels(route, tier, str(reason))


@cache
def failures(route: str) -> Counter:
    """Requests for which the router failed."""
    return _FAILURES.labels(route)


@cache
def features_missing(route: str, what: str) -> Counter:
    """Choices made without some features."""
    return _MISSING.labels(route, what)


@cache
def decision_seconds(route: str) -> Histogram:
    """Time of one choice."""
    return _SECONDS_OF.labels(route)
