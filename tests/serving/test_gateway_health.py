"""What the stream knows steers the order of upstreams; what it does not know is a default that is counted."""

import asyncio
from collections.abc import Mapping, Sequence

from feature_repo.online import Entity, Features, FeatureVector, OnlineReader, Reason, Status
from feature_repo.settings import RedisSettings
from serving.gateway.configuration import configuration_of
from serving.gateway.health import CALLERS, HEALTH, SPEND, TIERS, FeatureMemory, models_of
from serving.gateway.metrics import FEATURE_DEFAULTS
from tests.serving.running import config
from tokenledger.records.features import SpendFeatures, TrafficFeatures

TWO = config(a=1, b=2).replace("[upstreams.b]\n", '[upstreams.b]\nmodel = "other"\n')


def defaults() -> float:
    [metric] = FEATURE_DEFAULTS.collect()
    return float(next(sample.value for sample in metric.samples if sample.name.endswith("_total")))


NOW_US = 1_784_000_000_000_000


class Store:
    """A feature store that a test fills, and takes away."""

    def __init__(self, known: dict[tuple[str, Entity], TrafficFeatures | SpendFeatures]) -> None:
        self.known = known
        self.away = False
        self.asked: list[dict[str, Sequence[Entity]]] = []

    async def read(self, wanted: Mapping[str, Sequence[Entity]]) -> FeatureVector:
        """What is known of the entities."""
        self.asked.append(dict(wanted))
        return FeatureVector({view: tuple(self._one(view, one) for one in wanted[view]) for view in wanted}, 0)

    def _one(self, view: str, entity: Entity) -> Features[TrafficFeatures | SpendFeatures]:
        if self.away:
            return Features(Status.ERROR, TrafficFeatures(), reason=Reason.DISCONNECTED)
        values = self.known.get((view, entity))
        if values is None:
            return Features(Status.MISSING, TrafficFeatures())
        return Features(Status.PRESENT, values, NOW_US - 1_000_000, 1_000_000)


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now_us = NOW_US

    def __call__(self) -> int:
        """The instant, µs UTC."""
        return self.now_us


def remembering(store: Store, text: str = TWO, clock: Clock | None = None) -> FeatureMemory:
    configuration = configuration_of(text)
    return FeatureMemory(store.read, lambda: configuration, clock_us=clock or Clock())


def refreshed(features: dict[Entity, TrafficFeatures], text: str = TWO) -> FeatureMemory:
    health = remembering(Store({(HEALTH, model): values for model, values in features.items()}), text)
    asyncio.run(health.refresh())
    return health


def test_a_model_that_fails_often_enough_is_unhealthy() -> None:
    health = refreshed(
        {
            ("vllm", "m"): TrafficFeatures(calls=100, error_ratio=0.6),
            ("vllm", "other"): TrafficFeatures(calls=100, error_ratio=0.4),
        }
    )
    assert health.unhealthy("vllm", "m")
    assert not health.unhealthy("vllm", "other")


def test_few_calls_say_nothing() -> None:
    assert not refreshed({("vllm", "m"): TrafficFeatures(calls=3, error_ratio=1.0)}).unhealthy("vllm", "m")


def test_what_is_not_known_is_the_default_and_counted() -> None:
    before = defaults()
    assert not refreshed({}).unhealthy("vllm", "m")
    assert refreshed({}, "health.default_error_ratio = 1.0\n" + TWO).unhealthy("vllm", "m")
    assert defaults() == before + 2


def test_only_models_among_which_a_route_may_choose_are_read() -> None:
    assert models_of(configuration_of(TWO)) == (("vllm", "m"), ("vllm", "other"))
    assert models_of(configuration_of(config(a=1))) == ()


def test_a_tier_and_a_caller_have_their_features_and_the_instant_they_were_true() -> None:
    known = TrafficFeatures(calls=7)
    spent = SpendFeatures(known_cost_usd_pico_month=5)
    store = Store(
        {(TIERS, ("vllm", "m")): known, (CALLERS, ("acme", "search")): known, (SPEND, ("acme", "search")): spent}
    )
    health = remembering(store)
    assert health.caller("acme", "search") is None, "nobody had asked for it before"
    asyncio.run(health.refresh())
    tier, caller, spend = health.tier("vllm", "m"), health.caller("acme", "search"), health.spend("acme", "search")
    assert tier is not None
    assert caller is not None
    assert spend is not None
    assert (tier.values, caller.values, spend.values) == (known, known, spent)
    assert tier.event_at_us == NOW_US - 1_000_000


def test_what_cannot_be_read_now_stays_until_it_is_too_old() -> None:
    clock, store = Clock(), Store({(TIERS, ("vllm", "m")): TrafficFeatures(calls=7)})
    health = remembering(store, clock=clock)
    asyncio.run(health.refresh())
    store.away = True
    asyncio.run(health.refresh())
    assert health.tier("vllm", "m") is not None
    clock.now_us += 15 * 60_000_000
    assert health.tier("vllm", "m") is None


def test_many_callers_are_read_in_small_groups_and_the_oldest_are_forgotten() -> None:
    store = Store({})
    health = remembering(store)
    for number in range(500):
        health.caller("acme", f"feature {number}")
    asyncio.run(health.refresh())
    assert max(sum(map(len, asked.values())) for asked in store.asked) <= 32
    read = [entity for asked in store.asked for entity in asked.get(SPEND, ())]
    assert read == [("acme", f"feature {number}") for number in range(372, 500)]


def test_without_a_feature_store_nothing_is_known_and_nothing_waits() -> None:
    async def scenario() -> None:
        reader = OnlineReader(RedisSettings(user="gateway", port=1))
        await reader.start(within_s=0)
        configuration = configuration_of(TWO)
        health = FeatureMemory(reader.read, lambda: configuration)
        await health.refresh()
        assert health.tier("vllm", "m") is None
        await reader.close()

    asyncio.run(scenario())
