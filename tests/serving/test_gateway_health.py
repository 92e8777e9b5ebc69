"""What the stream knows steers the order of upstreams; what it does not know is a default that is counted."""

import asyncio
from collections.abc import Mapping, Sequence

from feature_repo.online import OnlineReader
from feature_repo.settings import RedisSettings
from serving.gateway.configuration import configuration_of
from serving.gateway.health import Model, ModelHealth, models_of, reading
from serving.gateway.metrics import FEATURE_DEFAULTS
from tests.serving.running import config
from tokenledger.records.features import TrafficFeatures

TWO = config(a=1, b=2).replace("[upstreams.b]\n", '[upstreams.b]\nmodel = "other"\n')


def defaults() -> float:
    [metric] = FEATURE_DEFAULTS.collect()
    return float(next(sample.value for sample in metric.samples if sample.name.endswith("_total")))


def refreshed(features: dict[Model, TrafficFeatures | None], text: str = TWO) -> ModelHealth:
    configuration = configuration_of(text)

    async def read(models: Sequence[Model]) -> Mapping[Model, TrafficFeatures | None]:
        return {model: features.get(model) for model in models}

    health = ModelHealth(read, lambda: configuration)
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


def test_without_a_feature_store_nothing_is_known_and_nothing_waits() -> None:
    async def scenario() -> None:
        reader = OnlineReader(RedisSettings(user="gateway", port=1))
        await reader.start(within_s=0)
        assert await reading(reader)([("vllm", "m")]) == {("vllm", "m"): None}
        await reader.close()

    asyncio.run(scenario())
