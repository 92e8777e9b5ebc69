"""The router in the gateway: a request and what is known of it → a plan with a decision, or the static plan.

Whatever goes wrong in here costs the request nothing but the router's judgement; it is counted.
"""

import hashlib
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from ledger.observing import logger
from serving.gateway import router_metrics as metrics
from serving.gateway.cascade_configuration import Experiment, Mode, RouterFiles
from serving.gateway.choosing import Features, Plan, Rung, healthy_first
from serving.gateway.configuration import Configuration, ConfigurationError, Route
from serving.gateway.fleet import Deployment
from serving.gateway.health import Model
from serving.gateway.prompts import prompt_of
from serving.gateway.requests import Asked, Members
from serving.router.current import Current
from serving.router.decide import Online, decide
from serving.router.policy import Policy, PolicyError, RoutePolicy
from tokenledger.records.decision import RouteDecision
from tokenledger.records.features import TrafficFeatures

log = logger("serving.gateway.routing")

_NOT_CHECKED: Final = {
    "n": frozenset({b"1", b"null"}),
    "audio": frozenset({b"null"}),
    "functions": frozenset({b"null", b"[]"}),
}
"""Members of a request that keep its answer from being checked, and the values that do not."""
_CASCADE_ARM: Final = "cascade"
_CONTROL_ARM: Final = "control"


class Caller(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Who asks, as far as a choice may depend on it."""

    operation_id: str
    """The request."""
    tenant_id: str
    """The tenant."""
    api_key_id: str
    """The key."""
    feature: str
    """The product feature, empty where none is named."""
    session_id: str | None
    """The conversation."""


class Router:
    """The router's files as they are at work."""

    def __init__(self, files: RouterFiles, configuration: Configuration) -> None:
        """Raises ConfigurationError."""
        self.files = files
        try:
            self._current = Current(Path(files.policy_file), Path(files.models_dir))
        except (PolicyError, OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"router.policy_file {files.policy_file}: {error}") from None
        self._told: list[str] = []
        self.serve(configuration)
        self.refresh()

    @property
    def policy(self) -> Policy:
        """The policy at work."""
        return self._current.policy

    def models(self) -> Iterable[Model]:
        """The models that tiers of the policy stand for."""
        return [(tier.provider, tier.model) for tier in self.policy.tiers.values()]

    def serve(self, configuration: Configuration) -> None:
        """From now on, for these routes. Raises ConfigurationError where the policy does not fit them."""
        if lacking := misfit(configuration, self.policy):
            raise ConfigurationError(lacking)
        self._current.misfit = lambda policy: misfit(configuration, policy)
        for line in idle(configuration, self.policy):
            log.warning("router: %s", line)

    def refresh(self) -> None:
        """Takes over what has changed of the files; what cannot be taken is told once. May take 100 ms."""
        told = self._current.refresh()
        for line in told:
            if line not in self._told:
                metrics.REFRESH_FAILED.inc()
                log.warning("router: %s", line)
        self._told = told

    def plan(
        self, asked: Asked, route: Route, *, caller: Caller, features: Features, deployments: dict[str, Deployment]
    ) -> Plan:
        """What serves this request."""
        began_ns = time.perf_counter_ns()
        try:
            made = self._plan(asked, route, caller=caller, features=features, deployments=deployments)
        except Exception:
            metrics.failures(asked.model).inc()
            log.exception("the router failed, the static plan serves", extra={"facts": {"route": asked.model}})
            made = _static_plan(asked, route, rules=self._rules(route), features=features, deployments=deployments)
        metrics.decision_seconds(asked.model).observe((time.perf_counter_ns() - began_ns) / 1e9)
        return made

    def _rules(self, route: Route) -> RoutePolicy | None:
        return self.policy.routes.get(route.cascade.policy) if route.cascade is not None else None

    def _plan(
        self, asked: Asked, route: Route, *, caller: Caller, features: Features, deployments: dict[str, Deployment]
    ) -> Plan:
        cascade = route.cascade
        assert cascade is not None  # noqa: S101  (whoever calls has looked)
        policy, model = self._current.policy, self._current.model
        rules = policy.routes[cascade.policy]
        order = healthy_first(asked, route.upstreams, features=features, deployments=deployments)
        tiers = _by_tier(order, deployments)
        online = _online(asked, policy, tiers=tiers, rules=rules, known=_Known(features, caller, deployments))
        prompt = prompt_of(asked.members)
        decision = decide(
            prompt,
            route=cascade.policy,
            policy=policy,
            model=model,
            online=online,
            operation_id=caller.operation_id,
        )
        arm = arm_of(route.experiment, caller, user_id=asked.user_id)
        mode = _mode(cascade.mode, arm, members=asked.members)
        _count(asked.model, decision, online=online, rules=rules)
        experiment = route.experiment.name if route.experiment is not None else None
        logged = msgspec.structs.replace(decision, mode=mode, experiment=experiment, arm=arm)
        if mode == "shadow":
            control = route.experiment.control_tier if route.experiment is not None else None
            fixed = _upwards(rules, tiers, tier=control) if control in rules.tiers else ()
            return _decided(logged, _flat(fixed) or order)
        rungs = _upwards(rules, tiers, tier=decision.tier)
        weaker = _weaker(rules, tiers, tier=decision.tier) if cascade.weaker_fallback else ()
        return _decided(
            logged,
            (*_flat(rungs), *_flat(weaker)),
            rungs=rungs if mode == "verify-first" else (),
            escalation=_escalation(decision, online),
        )


class _Known(msgspec.Struct, frozen=True, gc=False):
    """Where a choice looks things up."""

    features: Features
    caller: Caller
    deployments: dict[str, Deployment]


def misfit(configuration: Configuration, policy: Policy) -> str | None:
    """What the policy lacks of what the configuration's routes need."""
    for name, route in configuration.routes.items():
        if route.cascade is None:
            continue
        rules = policy.routes.get(route.cascade.policy)
        if rules is None:
            known = ", ".join(policy.routes)
            return f"routes.{name}.cascade.policy is {route.cascade.policy!r}; routes of the router's policy: {known}"
        second = route.cascade.second_opinion
        served = {configuration.upstreams[one].tier for one in route.upstreams if one != second}
        if lacking := next((tier for tier in rules.tiers if tier not in served), None):
            beside = "" if second is None else f" beside the second opinion {second!r}"
            return (
                f"routes.{name}: no upstream{beside} has the tier {lacking!r} of the router's {route.cascade.policy!r}"
            )
    return None


def idle(configuration: Configuration, policy: Policy) -> list[str]:
    """Upstreams that no decision can choose, as their tier is not in the policy: a tier is added here first."""
    return [
        f"routes.{name}: {one!r} is never chosen, as the router's policy {route.cascade.policy!r} has no tier {tier!r}"
        for name, route in configuration.routes.items()
        if route.cascade is not None
        for one in route.upstreams
        if one != route.cascade.second_opinion
        and (tier := configuration.upstreams[one].tier) not in policy.routes[route.cascade.policy].tiers
    ]


def arm_of(experiment: Experiment | None, caller: Caller, *, user_id: str | None) -> str | None:
    """The arm of one caller: the same for every request of it, and another deal in every experiment."""
    if experiment is None:
        return None
    sticky = {"session": caller.session_id, "user": user_id, "key": caller.api_key_id}[experiment.by]
    who = f"{experiment.name}\x1f{caller.tenant_id}\x1f{sticky or caller.api_key_id}"
    digest = hashlib.blake2b(who.encode("utf-8", "surrogatepass"), digest_size=6).digest()
    return _CASCADE_ARM if int.from_bytes(digest, "big") / 2**48 < experiment.share else _CONTROL_ARM


def _mode(mode: Mode, arm: str | None, *, members: Members) -> Mode:
    """The mode of one request: the control is only watched, and what cannot be checked is not held back."""
    if arm == _CONTROL_ARM:
        return "shadow"
    return "stream-now" if mode == "verify-first" and unverifiable(members) else mode


def unverifiable(members: Members) -> bool:
    """Whether the answer is none that can be checked as a whole: several choices, sound, functions of the old kind."""
    return any(name in members and bytes(members[name]) not in nothing for name, nothing in _NOT_CHECKED.items())


# What is known


def _by_tier(order: Iterable[str], deployments: dict[str, Deployment]) -> dict[str, tuple[str, ...]]:
    """Tier → its upstreams, in that order."""
    found: dict[str, list[str]] = {}
    for name in order:
        found.setdefault(deployments[name].spec.tier or "", []).append(name)
    return {tier: tuple(names) for tier, names in found.items()}


def _online(
    asked: Asked, policy: Policy, *, tiers: dict[str, tuple[str, ...]], rules: RoutePolicy, known: _Known
) -> Online:
    """A tier is as its first upstream is, else as the policy's model is."""
    now_us = time.time_ns() // 1_000
    found: dict[str, TrafficFeatures] = {}
    oldest_us = now_us
    for tier in rules.tiers:
        spec, named = known.deployments[tiers[tier][0]].spec, policy.tiers[tier]
        traffic = known.features.tier(spec.provider, spec.model or asked.model)
        traffic = traffic or known.features.tier(named.provider, named.model)
        if traffic is not None:
            found[tier] = traffic.values
            oldest_us = min(oldest_us, traffic.event_at_us)
    who = known.caller.tenant_id, known.caller.feature
    feature, spend = known.features.caller(*who), known.features.spend(*who)
    # Who asks seldom has old figures that are true all the same; they count where the policy asks for them.
    if feature is not None and rules.escalation_ratio is not None:
        oldest_us = min(oldest_us, feature.event_at_us)
    if spend is not None and rules.month_ceiling_usd_pico is not None:
        oldest_us = min(oldest_us, spend.event_at_us)
    return Online(
        tiers=found,
        feature=feature.values if feature is not None else None,
        spend=spend.values if spend is not None else None,
        age_us=now_us - oldest_us,
    )


def _escalation(decision: RouteDecision, online: Online) -> float:
    """How likely the answer will not do: by the router's doubt of this prompt, or by what happened to this feature."""
    doubt = 0.0 if decision.confidence is None else 1 - decision.confidence
    seen = online.feature.escalation_ratio if online.feature is not None else None
    return max(doubt, seen or 0.0)


def _count(route: str, decision: RouteDecision, *, online: Online, rules: RoutePolicy) -> None:
    metrics.decisions(route, decision.tier, reason=decision.reason).inc()
    missing = {
        "tier": any(tier not in online.tiers for tier in rules.tiers),
        "feature": online.feature is None,
        "spend": online.spend is None,
    }
    for what, is_missing in missing.items():
        if is_missing:
            metrics.features_missing(route, what).inc()


# The order


def _upwards(rules: RoutePolicy, tiers: dict[str, tuple[str, ...]], *, tier: str) -> tuple[Rung, ...]:
    """From a tier to the strongest; a fallback is never weaker than what was chosen."""
    above = rules.tiers[rules.tiers.index(tier) :]
    return tuple(Rung(name, tiers[name]) for name in above if name in tiers)


def _weaker(rules: RoutePolicy, tiers: dict[str, tuple[str, ...]], *, tier: str) -> tuple[Rung, ...]:
    """The strongest of the weaker ones first."""
    below = rules.tiers[: rules.tiers.index(tier)]
    return tuple(Rung(name, tiers[name]) for name in reversed(below) if name in tiers)


def _flat(rungs: Iterable[Rung]) -> tuple[str, ...]:
    return tuple(name for rung in rungs for name in rung.upstreams)


def _decided(
    logged: RouteDecision, upstreams: tuple[str, ...], *, rungs: tuple[Rung, ...] = (), escalation: float = 0.0
) -> Plan:
    return Plan(
        upstreams=upstreams,
        decision_id=logged.decision_id,
        decision=logged,
        rungs=rungs,
        escalation=escalation,
        told=((b"x-tokenledger-decision", logged.decision_id.encode()),),
    )


def _static_plan(
    asked: Asked,
    route: Route,
    *,
    rules: RoutePolicy | None,
    features: Features,
    deployments: dict[str, Deployment],
) -> Plan:
    """Without the router's judgement: the policy's static tier; in shadow and without a policy, the plain order."""
    cascade = route.cascade
    plain = healthy_first(asked, route.upstreams, features=features, deployments=deployments)
    if rules is None or cascade is None or cascade.mode == "shadow":
        return Plan(upstreams=plain)
    tiers = _by_tier(plain, deployments)
    rungs = _upwards(rules, tiers, tier=rules.static)
    return Plan(upstreams=_flat(rungs) or plain, rungs=rungs if cascade.mode == "verify-first" else ())
