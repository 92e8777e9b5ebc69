"""Prompt, model, policy and what the stream knows → the tier, why, and everything that judging the choice later needs.

Pure: no clock, no chance. Exploration is drawn by a hash of the operation, so a decision can be made again and checked.
"""

import hashlib
from typing import Final

import msgspec

from serving.router import choice
from serving.router.choice import NOTHING_KNOWN, Ground, Online, Reason
from serving.router.features import Features, Prompt, features
from serving.router.model import Model, estimate
from serving.router.policy import Policy, RoutePolicy
from tokenledger.records.decision import RouteDecision
from tokenledger.records.features import SpendFeatures

__all__ = ["NOTHING_KNOWN", "Online", "Reason", "decide", "features_hash", "static"]

_OF_TIER: Final = (
    *("calls", "error_ratio", "ttft_us_p95", "total_us_p95"),
    *("output_tokens_per_call", "known_cost_usd_pico_per_call"),
)
"""Features of a tier that are logged: those a choice looks at, and what another might."""
_OF_CALLER: Final = ("calls", "escalation_ratio", "cache_hit_ratio")


def decide(
    prompt: Prompt, *, route: str, policy: Policy, model: Model | None, online: Online, operation_id: str
) -> RouteDecision:
    """The choice for one request; `operation_id` draws the lot."""
    seen = features(prompt)
    ground = _ground(prompt, seen, rules=policy.routes[route], policy=policy, model=model, online=online)
    best, why = choice.best_of(ground)
    chances = choice.propensities(ground, best, why)
    tier = _drawn(chances, _lot(operation_id, policy.version))
    hashed = features_hash(seen, online)
    model_version = model.version if model else None
    return RouteDecision(
        decision_id=_hash(operation_id, route, policy.version, model_version or "", hashed),
        route=route,
        tier=tier,
        reason=(why if tier == best else Reason.EXPLORED).value,
        best_tier=best,
        best_reason=why.value,
        expected_cost_usd_pico=ground.costs[tier],
        strongest_cost_usd_pico=ground.costs[ground.rules.tiers[-1]],
        confidence=1 - ground.risks[tier] if ground.risks else None,
        expected_loss=ground.losses[tier] if ground.losses else None,
        familiarity=ground.familiarity,
        propensity=chances[tier],
        propensities=chances,
        left_out=tuple(name for name in ground.rules.tiers if name not in ground.eligible),
        features_hash=hashed,
        features=_named(prompt, ground),
        features_age_us=max(online.age_us, 0) if online.tiers else None,
        model_version=model_version,
        policy_version=policy.version,
        losses=ground.losses,
        risks=ground.risks,
    )


def static(prompt: Prompt, *, route: str, policy: Policy, operation_id: str) -> RouteDecision:
    """The static tier, for want of time: the prompt is not read, only its size."""
    rules = policy.routes[route]
    chars = len(prompt.text) + prompt.context_chars
    costs = choice.expected_costs(rules, policy, chars=chars, online=NOTHING_KNOWN)
    return RouteDecision(
        decision_id=_hash(operation_id, route, policy.version, "", Reason.DEADLINE),
        route=route,
        tier=rules.static,
        reason=Reason.DEADLINE.value,
        best_tier=rules.static,
        best_reason=Reason.DEADLINE.value,
        expected_cost_usd_pico=costs[rules.static],
        strongest_cost_usd_pico=costs[rules.tiers[-1]],
        propensity=1.0,
        propensities={tier: float(tier == rules.static) for tier in rules.tiers},
        features={"prompt.chars": len(prompt.text), "prompt.context_chars": prompt.context_chars},
        policy_version=policy.version,
    )


def _ground(  # the six things a choice is made from
    prompt: Prompt, seen: Features, *, rules: RoutePolicy, policy: Policy, model: Model | None, online: Online
) -> Ground:
    known = model is not None and set(rules.tiers) <= set(model.card.tiers)
    said = estimate(model, seen) if model and known else None
    chars = len(prompt.text) + prompt.context_chars
    return Ground(
        rules=rules,
        online=online,
        costs=choice.expected_costs(rules, policy, chars=chars, online=online),
        familiarity=said.familiarity if said else None,
        losses=_against_strongest(rules, model, values=said.gains) if model and said else {},
        risks=_against_strongest(rules, model, values=said.worse) if model and said else {},
        quality=model.card.strong_quality if model else 0.0,
        eligible=choice.eligible_of(rules, online),
    )


def _against_strongest(rules: RoutePolicy, model: Model, *, values: tuple[float, ...]) -> dict[str, float]:
    """Per tier of the route; where its strongest is not the model's, what that one lacks itself is no loss."""
    of = dict(zip(model.card.tiers, (*values, 0.0), strict=True))
    return {tier: max(0.0, of[tier] - of[rules.tiers[-1]]) for tier in rules.tiers}


# What is logged


def _named(prompt: Prompt, ground: Ground) -> dict[str, float | None]:
    """Everything the choice looked at but the n-grams, which could be turned back into words (docs/routing.md)."""
    online = ground.online
    found: dict[str, float | None] = {
        "prompt.chars": len(prompt.text),
        "prompt.context_chars": prompt.context_chars,
        "prompt.tools": prompt.tools,
        "prompt.turns": prompt.turns,
        "prompt.format": float(prompt.format != ""),
    }
    if ground.familiarity is not None:
        found["model.quality"] = ground.quality
    for tier in ground.rules.tiers:
        if traffic := online.tiers.get(tier):
            found |= {f"{tier}.{name}": getattr(traffic, name) for name in _OF_TIER}
    if online.feature:
        found |= {f"feature.{name}": getattr(online.feature, name) for name in _OF_CALLER}
    if online.spend:
        found |= {f"spend.{name}": getattr(online.spend, name) for name in SpendFeatures.__struct_fields__}
    return found


# The lot and the hashes


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
