"""Prompt, model, policy and what the stream knows → the tier, why, and everything that judging the choice later needs.

Pure: no clock, no chance. Exploration is drawn by a hash of the operation, so a decision can be made again and checked.
"""

import hashlib
from enum import StrEnum
from typing import Final

import msgspec

from serving.router.features import Features, Prompt, features
from serving.router.model import Estimate, Model, estimate
from serving.router.policy import Policy, RoutePolicy, Tier
from tokenledger.records.features import SpendFeatures, TrafficFeatures

_CHARS_PER_TOKEN: Final = 4
_US_PER_MS: Final = 1_000


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


class Decision(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One choice, as it is logged with the call. It holds no text and nothing a text could be made of."""

    decision_id: str
    """Hash of the operation, the route, the versions and the features."""
    route: str
    """The route."""
    tier: str
    """The tier that serves."""
    reason: Reason
    """Why."""
    best_tier: str
    """The tier without the lot; differs from `tier` only where it was explored."""
    best_reason: Reason
    """Why that one."""
    expected_cost_usd_pico: int
    """What the call may cost, by the policy's prices, 10⁻¹² USD; for expectation only."""
    strongest_cost_usd_pico: int
    """What it may cost on the route's strongest tier."""
    confidence: float | None = None
    """Probability that the answer is not worse than the strongest tier's; None without a model."""
    expected_loss: float | None = None
    """Quality that the strongest tier would add, 0 to 1; None without a model."""
    familiarity: float | None = None
    """Share of held-out training prompts at least as strange; 0 is unlike any. None without a model."""
    propensity: float
    """Probability with which this tier is chosen for this request."""
    propensities: dict[str, float]
    """The same for every tier of the route; they add up to 1."""
    left_out: tuple[str, ...] = ()
    """Tiers that were not eligible: failing, too slow, too dear."""
    features_hash: str
    """Hash of everything the choice was made from, prompt features included."""
    model_version: str | None = None
    """The model."""
    policy_version: str
    """The policy."""


class _Ground(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Everything a choice stands on."""

    rules: RoutePolicy
    online: Online
    costs: dict[str, int]
    said: Estimate | None
    losses: dict[str, float]
    worse: dict[str, float]
    quality: float
    eligible: tuple[str, ...]

    @property
    def strongest(self) -> str:
        return self.eligible[-1]


def decide(
    prompt: Prompt, *, route: str, policy: Policy, model: Model | None, online: Online, operation_id: str
) -> Decision:
    """The choice for one request; `operation_id` draws the lot."""
    seen = features(prompt)
    ground = _ground(prompt, seen, rules=policy.routes[route], policy=policy, model=model, online=online)
    best, why = _best(ground)
    chances = _propensities(ground, best, explore=0.0 if why in _WITHOUT_LOT else ground.rules.explore)
    tier = _drawn(chances, _lot(operation_id, policy.version))
    hashed = features_hash(seen, online)
    model_version = model.version if model else None
    return Decision(
        decision_id=_hash(operation_id, route, policy.version, model_version or "", hashed),
        route=route,
        tier=tier,
        reason=why if tier == best else Reason.EXPLORED,
        best_tier=best,
        best_reason=why,
        expected_cost_usd_pico=ground.costs[tier],
        strongest_cost_usd_pico=ground.costs[ground.rules.tiers[-1]],
        confidence=1 - ground.worse[tier] if ground.said else None,
        expected_loss=ground.losses[tier] if ground.said else None,
        familiarity=ground.said.familiarity if ground.said else None,
        propensity=chances[tier],
        propensities=chances,
        left_out=tuple(name for name in ground.rules.tiers if name not in ground.eligible),
        features_hash=hashed,
        model_version=model_version,
        policy_version=policy.version,
    )


def _ground(  # the six things a choice is made from
    prompt: Prompt, seen: Features, *, rules: RoutePolicy, policy: Policy, model: Model | None, online: Online
) -> _Ground:
    known = model is not None and set(rules.tiers) <= set(model.card.tiers)
    said = estimate(model, seen) if model and known else None
    losses = _against_strongest(rules, model, values=said.gains) if model and said else {}
    worse = _against_strongest(rules, model, values=said.worse) if model and said else {}
    return _Ground(
        rules=rules,
        online=online,
        costs={tier: _cost(prompt, policy.tiers[tier], traffic=online.tiers.get(tier)) for tier in rules.tiers},
        said=said,
        losses=losses,
        worse=worse,
        quality=model.card.strong_quality if model else 0.0,
        eligible=_eligible(rules, online),
    )


def _against_strongest(rules: RoutePolicy, model: Model, *, values: tuple[float, ...]) -> dict[str, float]:
    """Per tier of the route; where its strongest is not the model's, what that one lacks itself is no loss."""
    of = dict(zip(model.card.tiers, (*values, 0.0), strict=True))
    return {tier: max(0.0, of[tier] - of[rules.tiers[-1]]) for tier in rules.tiers}


# The choice


def _best(ground: _Ground) -> tuple[str, Reason]:
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


def _by_quality(ground: _Ground) -> tuple[str, Reason]:
    if ground.said is None:
        return ground.rules.static, Reason.NO_MODEL
    if ground.said.familiarity < ground.rules.familiarity:
        return ground.strongest, Reason.FAR_FROM_TRAINING
    if _escalates_often(ground):
        return ground.strongest, Reason.ESCALATES_OFTEN
    why = Reason.QUALITY_FLOOR
    for tier in ground.eligible[:-1]:
        if ground.losses[tier] > (1 - ground.rules.quality_floor) * ground.quality:
            continue
        if 1 - ground.worse[tier] >= ground.rules.confidence:
            return tier, Reason.GOOD_ENOUGH
        why = Reason.LOW_CONFIDENCE
    return ground.strongest, why


def _why_static(ground: _Ground) -> Reason | None:
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


def _escalates_often(ground: _Ground) -> bool:
    limit, traffic = ground.rules.escalation_ratio, ground.online.feature
    if limit is None or traffic is None or (traffic.calls or 0) < ground.rules.calls:
        return False
    return (traffic.escalation_ratio or 0.0) > limit


def _eligible(rules: RoutePolicy, online: Online) -> tuple[str, ...]:
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


def _cost(prompt: Prompt, tier: Tier, *, traffic: TrafficFeatures | None) -> int:
    input_tokens = (len(prompt.text) + prompt.context_chars) // _CHARS_PER_TOKEN + 1
    measured = traffic.output_tokens_per_call if traffic else None
    output_tokens = tier.output_tokens if measured is None else round(measured)
    return input_tokens * tier.input_usd_pico_per_token + output_tokens * tier.output_usd_pico_per_token


# The lot and the hashes


def _propensities(ground: _Ground, best: str, *, explore: float) -> dict[str, float]:
    """Every tier that is eligible and within the ceiling has its part of the lot; the best has the rest."""
    ceiling = ground.rules.cost_ceiling_usd_pico
    drawn = [tier for tier in ground.eligible if ceiling is None or ground.costs[tier] <= ceiling]
    chances = {tier: explore / len(drawn) if tier in drawn else 0.0 for tier in ground.rules.tiers}
    chances[best] += 1 - explore if drawn else 1.0
    return chances


def _drawn(chances: dict[str, float], lot: float) -> str:
    """The tier on which the lot falls: each owns a stretch of [0, 1) as long as its chance."""
    for tier, chance in chances.items():
        if lot < chance:
            return tier
        lot -= chance
    return max(chances, key=chances.__getitem__)  # the stretches may end a rounding error before 1


def _lot(operation_id: str, salt: str) -> float:
    digest = hashlib.blake2b(operation_id.encode(), digest_size=6, key=salt.encode()).digest()
    return int.from_bytes(digest, "big") / 2**48


def features_hash(seen: Features, online: Online) -> str:
    """Hash of the prompt's features and of what the stream knew."""
    digest = hashlib.blake2b(msgspec.msgpack.encode(online), digest_size=16)
    for array in (seen.buckets, seen.counts, seen.shape):
        digest.update(array.tobytes())
    return digest.hexdigest()


def _hash(*parts: str) -> str:
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()
