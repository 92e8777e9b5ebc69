# ruff: noqa: PD011  (`values` here are features, not a pandas frame's)
"""From a call on the topic to a feature in Redis, through the whole stack; whoever is killed, features come back."""

import asyncio
import time
import uuid
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from confluent_kafka import Producer

from feature_repo.history import ASKED_AT, as_known
from feature_repo.online import Entity, Features, OnlineReader, ReadPolicy, Status
from feature_repo.settings import RedisSettings
from tests.integration.conftest import RunningStack
from tests.integration.test_windows_job import Traffic
from tokenledger.records.features import MINUTE_US, FeatureWindow, TrafficFeatures
from tokenledger.records.topics import FEATURES
from tokenledger.records.wire import encode_window, window_key

_WITHIN_S = 60.0
_HISTORY_WITHIN_S = 90.0  # it is written each half minute


def _now_us() -> int:
    return time.time_ns() // 1000


def _read(stack: RunningStack, view: str, entity: Entity) -> Features[Any]:
    async def read() -> Features[Any]:
        settings = RedisSettings.from_environment(stack.layout.client_environment(), user="gateway")
        reader = OnlineReader(settings, ReadPolicy(deadline_s=5.0))
        await reader.start(within_s=5)
        [features] = (await reader.read({view: [entity]})).views[view]
        await reader.close()
        return features

    return asyncio.run(read())


class Told:
    """Windows of one model of this test alone, told as windows_job tells them."""

    def __init__(self, stack: RunningStack, model: str) -> None:
        self.entity = ("openai", model)
        self.newest_us = _now_us() // MINUTE_US * MINUTE_US - MINUTE_US
        self._stack = stack
        self._producer = Producer({"bootstrap.servers": stack.layout.kafka_bootstrap})

    def tell(self, *, minutes_ago: int = 0, calls: int = 1, errors: int = 0) -> None:
        """A minute before the newest, with so many calls so far."""
        provider, model = self.entity
        window = FeatureWindow(
            entity="model",
            provider=provider,
            model=model,
            window_start_at_us=self.newest_us - minutes_ago * MINUTE_US,
            calls=calls,
            errors=errors,
            revision=calls,
            emitted_at_us=_now_us(),
        )
        self._producer.produce(FEATURES.name, key=window_key(window), value=encode_window(window))
        assert self._producer.flush(30) == 0

    def read(self, span: str) -> Features[TrafficFeatures]:
        """What the gateway sees."""
        return _read(self._stack, f"model_traffic_{span}", self.entity)

    def shows(self, span: str, calls: int) -> Callable[[], bool]:
        """Whether the gateway sees so many calls."""
        return lambda: self.read(span).values.calls == calls


@pytest.fixture
def told(stack: RunningStack) -> Told:
    """An entity of its own."""
    return Told(stack, f"m-{uuid.uuid4().hex}")


def test_a_call_on_the_raw_topic_becomes_features_of_its_model_and_of_who_called(stack: RunningStack) -> None:
    traffic = Traffic(stack)
    ended_at_us = _now_us() // MINUTE_US * MINUTE_US - 2_000_000  # the last seconds of the minute that has just ended
    traffic.send_all([ended_at_us] * 3)
    traffic.close()

    model, caller = ("openai", traffic.name), (traffic.name, "search")
    views = [("model_traffic_1m", model), ("feature_traffic_1m", caller), ("feature_traffic_1h", caller)]
    for view, entity in views:
        stack.wait_until(
            lambda view=view, entity=entity: _read(stack, view, entity).values.calls == 3,  # type: ignore[misc]
            f"{view} of {entity} to count three calls",
            within_s=_WITHIN_S,
        )
    stack.wait_until(
        lambda: _read(stack, "feature_spend", caller).values.calls_month == 3,
        "the ledger's spend to count three calls",
        within_s=_WITHIN_S,
    )
    read = _read(stack, "model_traffic_1m", model)
    assert read.status is Status.PRESENT
    assert read.values.total_us_p50 is not None
    assert read.event_at_us == ended_at_us // MINUTE_US * MINUTE_US + MINUTE_US


def test_a_minute_told_again_and_out_of_order_ends_in_the_same_features(stack: RunningStack, told: Told) -> None:
    told.tell(calls=10, errors=1)
    told.tell(minutes_ago=3, calls=5)
    told.tell(calls=20, errors=4)
    told.tell(calls=10, errors=1)  # a repetition of the first
    told.tell(minutes_ago=30, calls=7)

    stack.wait_until(told.shows("1h", 32), "the hour to count all minutes", within_s=_WITHIN_S)
    assert told.read("5m").values.calls == 25
    last = told.read("1m").values
    assert (last.calls, last.error_ratio) == (20, 0.2)


def test_a_record_that_is_no_window_stops_nobody(stack: RunningStack, told: Told) -> None:
    producer = Producer({"bootstrap.servers": stack.layout.kafka_bootstrap})
    for value in (None, b"", b"{", b'{"entity":"model"}', b'{"entity":"planet","window_start_at_us":60000000}'):
        for partition in range(FEATURES.partitions):
            producer.produce(FEATURES.name, value=value, partition=partition)
    assert producer.flush(30) == 0
    told.tell(calls=3)

    stack.wait_until(told.shows("1m", 3), "the window behind the bad ones", within_s=_WITHIN_S)


def test_a_redis_that_was_killed_holds_everything_again_soon(stack: RunningStack, told: Told) -> None:
    told.tell(calls=3)
    stack.wait_until(told.shows("1h", 3), "the window", within_s=_WITHIN_S)

    dead = stack.kill("redis")

    stack.wait_until(lambda: stack.pid("redis") not in (0, dead) and stack.stack.ready("redis"), "redis to be back")
    stack.wait_until(told.shows("1h", 3), "what Redis lost to be written again", within_s=_WITHIN_S)


def test_a_killed_pusher_forgets_no_minute_and_its_history_has_what_it_missed(stack: RunningStack, told: Told) -> None:
    told.tell(minutes_ago=2, calls=3)
    stack.wait_until(told.shows("1h", 3), "the window", within_s=_WITHIN_S)

    dead = stack.kill("pusher")
    told.tell(calls=4)

    stack.wait_until(told.shows("1h", 7), "both windows", within_s=_WITHIN_S)
    assert stack.pid("pusher") not in (0, dead)
    stack.wait_until(lambda: _known(stack, told.entity) == 7, "the history to know it", within_s=_HISTORY_WITHIN_S)


def _known(stack: RunningStack, entity: Entity) -> int | None:
    """Calls of the hour by the history, as known now."""
    question = dict(zip(("provider", "model"), entity, strict=True)) | {ASKED_AT: pd.Timestamp.now(tz="UTC")}
    answers = as_known(stack.layout.features, pd.DataFrame([question]), ["model_traffic_1h:calls"])
    value = answers["model_traffic_1h__calls"].iloc[0]
    return None if pd.isna(value) else int(value)
