"""Which upstreams serve a request, in which order, and which replica of one. Pure: features and clock are arguments."""

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from serving.gateway.configuration import Route
from serving.gateway.fleet import Deployment, Server
from serving.gateway.health import Known
from serving.gateway.requests import Asked
from tokenledger.records.decision import RouteDecision
from tokenledger.records.features import SpendFeatures, TrafficFeatures


class Rung(msgspec.Struct, frozen=True, gc=False):
    """One tier of a cascade."""

    tier: str
    """The tier."""
    upstreams: tuple[str, ...]
    """Its upstreams in the order they are tried."""


class Plan(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What was decided for one request."""

    upstreams: tuple[str, ...]
    """Upstreams in the order they are tried."""
    decision_id: str | None = None
    """The decision, where a router made it."""
    decision: RouteDecision | None = None
    """That decision."""
    rungs: tuple[Rung, ...] = ()
    """Tiers from the chosen one upwards, where answers are checked before they are served; else none."""
    escalation: float = 0.0
    """How likely the first tier's answer will not do."""
    told: tuple[tuple[bytes, bytes], ...] = ()
    """Response headers that tell the caller of the decision."""


class Features(Protocol):
    """What is known of upstreams and callers at this instant; answers come from memory."""

    def unhealthy(self, provider: str, model: str) -> bool:
        """Whether its calls of the last minute failed too often."""

    def tier(self, provider: str, model: str) -> Known[TrafficFeatures] | None:
        """Traffic of a model over the last minutes."""

    def caller(self, tenant_id: str, feature: str) -> Known[TrafficFeatures] | None:
        """Traffic of a tenant's product feature."""

    def spend(self, tenant_id: str, feature: str) -> Known[SpendFeatures] | None:
        """What it has spent."""


class Choice(Protocol):
    """Decides for one request."""

    def __call__(self, asked: Asked, route: Route, *, features: Features, deployments: dict[str, Deployment]) -> Plan:
        """The plan."""


def in_order(asked: Asked, route: Route, *, features: Features, deployments: dict[str, Deployment]) -> Plan:
    """As the configuration says, those that fail too often last."""
    if len(route.upstreams) == 1:
        return Plan(upstreams=route.upstreams)
    return Plan(upstreams=healthy_first(asked, route.upstreams, features=features, deployments=deployments))


def healthy_first(
    asked: Asked, upstreams: Sequence[str], *, features: Features, deployments: dict[str, Deployment]
) -> tuple[str, ...]:
    """In their order, those that fail too often last."""
    healthy: list[str] = []
    unhealthy: list[str] = []
    for name in upstreams:
        spec = deployments[name].spec
        is_bad = features.unhealthy(spec.provider, spec.model or asked.model)
        (unhealthy if is_bad else healthy).append(name)
    return (*healthy, *unhealthy)


def replica(
    servers: Sequence[Server], tried: Sequence[Server], *, now_s: float, draw: Callable[[], float]
) -> Server | None:
    """The replica least busy for its weight whose breaker lets one through; one not yet tried before one that was.

    Of equally busy ones chance decides by weight, so that replicas share even when calls do not overlap.
    """
    if len(servers) == 1:
        return servers[0] if servers[0].breaker.allows(now_s) else None
    open_to_us = [server for server in servers if server.breaker.allows(now_s)]
    fresh = [server for server in open_to_us if server not in tried] or open_to_us
    if len(fresh) < 2:  # noqa: PLR2004 - nothing to choose
        return fresh[0] if fresh else None
    if all(server.pool.busy == 0 for server in fresh):
        return _by_weight(fresh, draw())
    return min(fresh, key=lambda server: (server.load, draw()))


def _by_weight(servers: Sequence[Server], drawn: float) -> Server:
    left = drawn * sum(server.weight for server in servers)
    for server in servers:
        left -= server.weight
        if left < 0:
            return server
    return servers[-1]
