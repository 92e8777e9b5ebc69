"""A logged decision → what another policy would have chosen for the same request: no prompt is needed for it. Pure.

A policy only weighs what the model said of each tier, and that is logged. Another model reads the prompt anew, so to
judge one the texts are needed.
"""

from typing import Any

import msgspec

from serving.router import choice
from serving.router.choice import Ground, Online
from serving.router.policy import Policy
from tokenledger.records.decision import RouteDecision
from tokenledger.records.features import SpendFeatures, TrafficFeatures


def propensities(decision: RouteDecision, policy: Policy) -> dict[str, float]:
    """By tier, the probability with which this policy would have chosen it."""
    ground = _ground(decision, policy)
    best, why = choice.best_of(ground)
    return choice.propensities(ground, best, why)


def online_of(decision: RouteDecision) -> Online:
    """What was known when it was made."""
    parts: dict[str, dict[str, float | None]] = {}
    for name, value in decision.features.items():
        owner, _, what = name.rpartition(".")
        parts.setdefault(owner, {})[what] = value
    return Online(
        tiers={tier: _filled(TrafficFeatures, parts[tier]) for tier in decision.propensities if tier in parts},
        feature=_filled(TrafficFeatures, parts["feature"]) if "feature" in parts else None,
        spend=_filled(SpendFeatures, parts["spend"]) if "spend" in parts else None,
        age_us=decision.features_age_us or 0,
    )


def _filled(kind: type[Any], known: dict[str, float | None]) -> Any:
    """The record; whole numbers travelled as numbers with a point."""
    return msgspec.convert(known, kind, strict=False)


def _ground(decision: RouteDecision, policy: Policy) -> Ground:
    rules, online = policy.routes[decision.route], online_of(decision)
    if unknown := next((tier for tier in rules.tiers if tier not in decision.propensities), None):
        raise ValueError(f"{decision.route}: tier {unknown!r} was not there when {decision.decision_id} was made")
    chars = (decision.features.get("prompt.chars") or 0) + (decision.features.get("prompt.context_chars") or 0)
    strongest = rules.tiers[-1]
    return Ground(
        rules=rules,
        online=online,
        costs=choice.expected_costs(rules, policy, chars=int(chars), online=online),
        familiarity=decision.familiarity,
        losses=_against(decision.losses, strongest),
        risks=_against(decision.risks, strongest),
        quality=decision.features.get("model.quality") or 0.0,
        eligible=choice.eligible_of(rules, online),
    )


def _against(values: dict[str, float], strongest: str) -> dict[str, float]:
    """As `decide` has it, where the route's strongest tier is now another one."""
    return {tier: max(0.0, value - values[strongest]) for tier, value in values.items()} if values else {}
