"""What the stream knows of the models upstreams serve, read in the background and answered from memory.

A request never waits for it. Where a feature is missing or too old, the policy's default holds and is counted.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from feature_repo.online import OnlineReader, Status
from serving.gateway.configuration import MILLIS_PER_SECOND, Configuration
from serving.gateway.metrics import FEATURE_DEFAULTS, FEATURE_READS
from tokenledger.records.features import TrafficFeatures

Model = tuple[str, str]
"""Provider and model."""
Read = Callable[[Sequence[Model]], Awaitable[Mapping[Model, TrafficFeatures | None]]]
"""Reads the last minute's features of some models; None or absent where there are none. Never raises, never long."""


_VIEW: Final = "model_traffic_1m"


def reading(reader: OnlineReader) -> Read:
    """Reads through the feature store's hot-path reader: one round trip, its deadline, its defaults."""

    async def read(models: Sequence[Model]) -> Mapping[Model, TrafficFeatures | None]:
        vector = await reader.read({_VIEW: models})
        return {
            model: features.values if features.status is Status.PRESENT else None
            for model, features in zip(models, vector.traffic(_VIEW), strict=True)
        }

    return read


class Unknown:
    """Features where there is no feature store: all upstreams are taken for healthy."""

    def unhealthy(self, _provider: str, _model: str) -> bool:
        """No."""
        return False


class ModelHealth:
    """Features of every model of the configuration, at most `refresh_ms` and a read old."""

    def __init__(self, read: Read, configuration: Callable[[], Configuration]) -> None:
        self._read = read
        self._configuration = configuration
        self._known: Mapping[Model, TrafficFeatures | None] = {}

    def unhealthy(self, provider: str, model: str) -> bool:
        """Whether its calls of the last minute failed too often."""
        policy = self._configuration().health
        features = self._known.get((provider, model))
        if features is None or features.error_ratio is None or features.calls is None:
            FEATURE_DEFAULTS.inc()
            return policy.default_error_ratio >= policy.error_ratio
        return features.calls >= policy.calls and features.error_ratio >= policy.error_ratio

    async def refresh(self) -> None:
        """Read once."""
        models = models_of(self._configuration())
        self._known = await self._read(models) if models else {}
        FEATURE_READS.inc()

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
