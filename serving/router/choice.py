"""What a choice stands on, and the choice: a tier, why, and how likely each tier was. Pure: no clock, no chance."""

from enum import StrEnum
from typing import Final

import msgspec

from serving.router.policy import Policy, RoutePolicy
from tokenledger.records.features import SpendFeatures, TrafficFeatures

_CHARS_PER_TOKEN: Final = 4
_US_PER_MS: Final = 1_000
_MOST_USD_PICO: Final = 2**63 - 1
"""What a record can say; no price of this world comes near."""


class Reason(StrEnum):
    """Why a tier was chosen. A closed set: each is counted."""

    GOOD_ENOUGH = "good_enough"
    """The cheapest tier that keeps the quality floor with confidence."""
    QUALITY_FLOOR = "quality_floor"
    """No cheaper tier is expected to keep the floor: the strongest."""
    LOW_CONFIDENCE = "low_confidence"
    """A cheaper tier keeps the floor on average, but is too likely to be worse here: the strongest."""
    FAR_FROM_TRAINING = "far_from_training"
    """The prompt is unlike those the model learnt from: the strongest."""
    ESCALATES_OFTEN = "escalates_often"
    """Cheap answers of this feature are escalated too often to be worth asking: the strongest."""
    FEATURES_MISSING = "features_missing"
    """The stream's features are missing: the static tier."""
    FEATURES_OLD = "features_old"
    """They are too old: the static tier."""
    NO_MODEL = "no_model"
    """No model is promoted, or it does not know the route's tiers: the static tier."""
    COST_CEILING = "cost_ceiling"
    """What would have been chosen is expected to cost too much: the strongest tier that does not."""
    SPEND_CEILING = "spend_ceiling"
    """The month's ceiling is reached: the cheapest tier."""
    DEADLINE = "deadline"
    """There was no time left to judge: the static tier."""
    EXPLORED = "explored"
    """By lot."""


_WITHOUT_LOT: Final = frozenset(
    {Reason.FEATURES_MISSING, Reason.FEATURES_OLD, Reason.NO_MODEL, Reason.SPEND_CEILING, Reason.COST_CEILING}
)
"""Reasons that a lot must not overrule."""


class Online(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the stream and the ledger know at this instant. None where they do not."""

    tiers: dict[str, TrafficFeatures]
    """Traffic of each tier's model; a tier that nothing is known of is left out."""
    feature: TrafficFeatures | None = None
    """Traffic of the tenant's product feature."""
    spend: SpendFeatures | None = None
    """What it has spent."""
    age_us: int = 0
    """Age of the oldest of these."""


NOTHING_KNOWN: Final = Online(tiers={})
"""What is known while the feature store does not answer."""


class Ground(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Everything a choice stands on."""

    rules: RoutePolicy
    """The route's policy."""
    online: Online
    """What was known of its tiers."""
    costs: dict[str, int]
    """Expected cost by tier, 10⁻¹² USD."""
    familiarity: float | None
    """Of the prompt; None without a model."""
    losses: dict[str, float]
    """By tier, quality that the strongest would add; empty without a model."""
    risks: dict[str, float]
    """By tier, probability of a worse answer than the strongest tier's; empty without a model."""
    quality: float
    """The strongest tier's mean quality in training."""
    eligible: tuple[str, ...]
    """Tiers that answer and are fast enough."""

    @property
    def strongest(self) -> str:
        """The strongest of them."""
        return self.eligible[-1]


def expected_costs(rules: RoutePolicy, policy: Policy, *, chars: int, online: Online) -> dict[str, int]:
    """By tier of the route, what a call with so many characters of input may cost, 10⁻¹² USD."""
    input_tokens = chars // _CHARS_PER_TOKEN + 1
    costs = {}
    for name in rules.tiers:
        tier, traffic = policy.tiers[name], online.tiers.get(name)
        measured = traffic.output_tokens_per_call if traffic else None
        output_tokens = tier.output_tokens if measured is None else round(measured)
        cost = input_tokens * tier.input_usd_pico_per_token + output_tokens * tier.output_usd_pico_per_token
        costs[name] = min(cost, _MOST_USD_PICO)
    return costs


# The choice


def best_of(ground: Ground) -> tuple[str, Reason]:
    """The tier without the lot."""
    rules = ground.rules
    if static := _why_static(ground):
        return rules.static, static
    if _reached(ground.online.spend, rules.month_ceiling_usd_pico):
        return ground.eligible[0], Reason.SPEND_CEILING
    tier, why = _by_quality(ground)
    ceiling = rules.cost_ceiling_usd_pico
    if ceiling is None or ground.costs[tier] <= ceiling:
        return tier, why
    cheaper = [name for name in ground.eligible if ground.costs[name] <= ceiling]
    return (cheaper[-1] if cheaper else ground.eligible[0]), Reason.COST_CEILING


def _by_quality(ground: Ground) -> tuple[str, Reason]:
    if ground.familiarity is None:
        return ground.rules.static, Reason.NO_MODEL
    if ground.familiarity < ground.rules.familiarity:
        return ground.strongest, Reason.FAR_FROM_TRAINING
    if _escalates_often(ground):
        return ground.strongest, Reason.ESCALATES_OFTEN
    why = Reason.QUALITY_FLOOR
    for tier in ground.eligible[:-1]:
        if ground.losses[tier] > (1 - ground.rules.quality_floor) * ground.quality:
            continue
        if 1 - ground.risks[tier] >= ground.rules.confidence:
            return tier, Reason.GOOD_ENOUGH
        why = Reason.LOW_CONFIDENCE
    return ground.strongest, why


def _why_static(ground: Ground) -> Reason | None:
    rules, online = ground.rules, ground.online
    if rules.without_features == "prompt":
        return None
    missing = (
        any(tier not in online.tiers or online.tiers[tier].calls is None for tier in rules.tiers)
        or (rules.month_ceiling_usd_pico is not None and online.spend is None)
        or (rules.escalation_ratio is not None and online.feature is None)
    )
    if missing:
        return Reason.FEATURES_MISSING
    return Reason.FEATURES_OLD if online.age_us > rules.features_age_ms * _US_PER_MS else None


def _reached(spend: SpendFeatures | None, ceiling: int | None) -> bool:
    return ceiling is not None and spend is not None and (spend.known_cost_usd_pico_month or 0) >= ceiling


def _escalates_often(ground: Ground) -> bool:
    limit, traffic = ground.rules.escalation_ratio, ground.online.feature
    if limit is None or traffic is None or (traffic.calls or 0) < ground.rules.calls:
        return False
    return (traffic.escalation_ratio or 0.0) > limit


def eligible_of(rules: RoutePolicy, online: Online) -> tuple[str, ...]:
    """Tiers that answer and are fast enough; all of them where none is: refusing is not the router's to do."""
    return tuple(tier for tier in rules.tiers if _fit(rules, online.tiers.get(tier))) or rules.tiers


def _fit(rules: RoutePolicy, traffic: TrafficFeatures | None) -> bool:
    if traffic is None or (traffic.calls or 0) < rules.calls:
        return True
    return (
        (traffic.error_ratio or 0.0) <= rules.error_ratio
        and _within(traffic.ttft_us_p95, rules.ttft_ms)
        and _within(traffic.total_us_p95, rules.total_ms)
    )


def _within(measured_us: int | None, limit_ms: int | None) -> bool:
    return measured_us is None or limit_ms is None or measured_us <= limit_ms * _US_PER_MS


def propensities(ground: Ground, best: str, why: Reason) -> dict[str, float]:
    """Every tier that is eligible and within the ceiling has its part of the lot; the best has the rest."""
    explore = 0.0 if why in _WITHOUT_LOT else ground.rules.explore
    ceiling = ground.rules.cost_ceiling_usd_pico
    drawn = [tier for tier in ground.eligible if ceiling is None or ground.costs[tier] <= ceiling]
    chances = {tier: explore / len(drawn) if tier in drawn else 0.0 for tier in ground.rules.tiers}
    chances[best] += 1 - explore if drawn else 1.0
    return chances
