"""What the stream knows of the models upstreams serve, read in the background and answered from memory.

A request never waits for it. Where a feature is missing or too old, the policy's default holds and is counted.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from serving.gateway.configuration import MILLIS_PER_SECOND, Configuration, Health
from serving.gateway.metrics import FEATURE_DEFAULTS, FEATURE_READS
from tokenledger.records.features import TrafficFeatures

Model = tuple[str, str]
"""Provider and model."""
Read = Callable[[Sequence[Model]], Awaitable[Mapping[Model, TrafficFeatures | None]]]
"""Reads the last minute's features of some models; None or absent where there are none. Never raises, never long."""


class Unknown:
    """Features where there is no feature store: all upstreams are taken for healthy."""

    def unhealthy(self, _provider: str, _model: str) -> bool:
        """No."""
        return False


class ModelHealth:
    """Features of every model of the configuration, at most `refresh_ms` and a read old."""

    def __init__(self, read: Read, policy: Health) -> None:
        self._read = read
        self._policy = policy
        self._models: tuple[Model, ...] = ()
        self._known: Mapping[Model, TrafficFeatures | None] = {}

    def watch(self, configuration: Configuration) -> None:
        """From now on, the models of this configuration."""
        self._policy = configuration.health
        self._models = models_of(configuration)

    def unhealthy(self, provider: str, model: str) -> bool:
        """Whether its calls of the last minute failed too often."""
        features = self._known.get((provider, model))
        if features is None or features.error_ratio is None or features.calls is None:
            FEATURE_DEFAULTS.inc()
            return self._policy.default_error_ratio >= self._policy.error_ratio
        return features.calls >= self._policy.calls and features.error_ratio >= self._policy.error_ratio

    async def refresh(self) -> None:
        """Read once."""
        self._known = await self._read(self._models) if self._models else {}
        FEATURE_READS.inc()

    async def run(self) -> None:
        """Read again and again until cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(self._policy.refresh_ms / MILLIS_PER_SECOND)


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
