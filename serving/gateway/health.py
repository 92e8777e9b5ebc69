"""What the stream knows of models and callers, read in the background and answered from memory.

A request never waits for it. Where a feature is missing or too old, the policy's default holds and is counted.
"""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final, Generic, TypeVar

import msgspec

from feature_repo.online import Entity, FeatureVector, Status
from serving.gateway.configuration import MILLIS_PER_SECOND, Configuration
from serving.gateway.metrics import FEATURE_DEFAULTS, FEATURE_READS
from tokenledger.records.features import VIEWS, SpendFeatures, TrafficFeatures

Model = tuple[str, str]
"""Provider and model."""
Caller = tuple[str, str]
"""Tenant and product feature."""
Read = Callable[[Mapping[str, Sequence[Entity]]], Awaitable[FeatureVector]]
"""Reads views of entities. Never raises, never long."""
R = TypeVar("R", TrafficFeatures, SpendFeatures)

HEALTH: Final = "model_traffic_1m"
TIERS: Final = "model_traffic_5m"
CALLERS: Final = "feature_traffic_1h"
SPEND: Final = "feature_spend"
_TTL_US: Final = {view.name: view.ttl_us for view in VIEWS}

_MOST_CALLERS: Final = 128
"""Tenants and features whose figures are kept fresh; of more, those that were seen last."""
_AT_ONCE: Final = 32
"""Entities of one read, so that each stays within the reader's deadline."""


class Known(msgspec.Struct, Generic[R], frozen=True, gc=False):
    """Features of one entity."""

    values: R
    """The features."""
    event_at_us: int
    """When they were true, µs UTC."""


class Unknown:
    """Features where there is no feature store: all upstreams are taken for healthy."""

    def unhealthy(self, _provider: str, _model: str) -> bool:
        """No."""
        return False

    def tier(self, _provider: str, _model: str) -> Known[TrafficFeatures] | None:
        """Nothing."""
        return None

    def caller(self, _tenant_id: str, _feature: str) -> Known[TrafficFeatures] | None:
        """Nothing."""
        return None

    def spend(self, _tenant_id: str, _feature: str) -> Known[SpendFeatures] | None:
        """Nothing."""
        return None


class FeatureMemory:
    """Features of the configuration's models and of those who called last, at most `refresh_ms` and a read old."""

    def __init__(
        self,
        read: Read,
        configuration: Callable[[], Configuration],
        *,
        more_models: Callable[[], Iterable[Model]] = tuple,
        clock_us: Callable[[], int] = lambda: time.time_ns() // 1_000,
    ) -> None:
        self._read = read
        self._configuration = configuration
        self._more_models = more_models
        self._clock_us = clock_us
        self._known: dict[tuple[str, Entity], Known[TrafficFeatures] | Known[SpendFeatures]] = {}
        self._callers: dict[Caller, None] = {}

    def unhealthy(self, provider: str, model: str) -> bool:
        """Whether its calls of the last minute failed too often."""
        policy = self._configuration().health
        known = self._of(HEALTH, (provider, model))
        values = known.values if known is not None else None
        if not isinstance(values, TrafficFeatures) or values.error_ratio is None or values.calls is None:
            FEATURE_DEFAULTS.inc()
            return policy.default_error_ratio >= policy.error_ratio
        return values.calls >= policy.calls and values.error_ratio >= policy.error_ratio

    def tier(self, provider: str, model: str) -> Known[TrafficFeatures] | None:
        """Traffic of a model over the last minutes, for the router."""
        return self._of(TIERS, (provider, model))  # type: ignore[return-value]  # the view says which

    def caller(self, tenant_id: str, feature: str) -> Known[TrafficFeatures] | None:
        """Traffic of a tenant's product feature; who is asked for is read from now on."""
        self._callers.pop((tenant_id, feature), None)
        self._callers[tenant_id, feature] = None
        if len(self._callers) > _MOST_CALLERS:
            del self._callers[next(iter(self._callers))]
        return self._of(CALLERS, (tenant_id, feature))  # type: ignore[return-value]  # the view says which

    def spend(self, tenant_id: str, feature: str) -> Known[SpendFeatures] | None:
        """What it has spent."""
        return self._of(SPEND, (tenant_id, feature))  # type: ignore[return-value]  # the view says which

    def _of(self, view: str, entity: Entity) -> Known[TrafficFeatures] | Known[SpendFeatures] | None:
        known = self._known.get((view, entity))
        return known if known is not None and self._clock_us() - known.event_at_us <= _TTL_US[view] else None

    async def refresh(self) -> None:
        """Read once. What could not be read now stays until it is too old."""
        models = dict.fromkeys((*models_of(self._configuration()), *self._more_models()))
        wanted: list[tuple[str, Entity]] = [
            *((view, model) for view in (HEALTH, TIERS) for model in models),
            *((view, caller) for view in (CALLERS, SPEND) for caller in self._callers),
        ]
        found: dict[tuple[str, Entity], Known[TrafficFeatures] | Known[SpendFeatures]] = {}
        for begin in range(0, len(wanted), _AT_ONCE):
            found |= await self._some(wanted[begin : begin + _AT_ONCE])
        self._known = found
        FEATURE_READS.inc()

    async def _some(
        self, wanted: list[tuple[str, Entity]]
    ) -> dict[tuple[str, Entity], Known[TrafficFeatures] | Known[SpendFeatures]]:
        views = {
            view: [entity for _, entity in group] for view, group in itertools.groupby(wanted, key=lambda one: one[0])
        }
        vector = await self._read(views)
        found = {}
        for view, entities in views.items():
            for entity, features in zip(entities, vector.views[view], strict=True):
                if features.status is Status.PRESENT:
                    found[view, entity] = Known(features.values, features.event_at_us or 0)
                elif features.status is Status.ERROR and (before := self._known.get((view, entity))) is not None:
                    found[view, entity] = before
        return found

    async def run(self) -> None:
        """Read again and again until cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(self._configuration().health.refresh_ms / MILLIS_PER_SECOND)


_NO_FALLBACK: Final = 1


def models_of(configuration: Configuration) -> tuple[Model, ...]:
    """Every model among which a route may choose."""
    found: dict[Model, None] = {}
    for name, route in configuration.routes.items():
        if len(route.upstreams) > _NO_FALLBACK:
            for upstream in route.upstreams:
                spec = configuration.upstreams[upstream]
                found[spec.provider, spec.model or name] = None
    return tuple(found)
