"""windows_job on real Kafka and Flink: whatever comes and whatever is killed, its minutes are those of the log."""

import json
import os
import random
import subprocess
import time
import uuid
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from infra.local import savepoint
from tests.integration.conftest import RunningStack
from tokenledger.records.features import MINUTE_US, FeatureWindow
from tokenledger.records.topics import FEATURES, PRICED, RAW
from tokenledger.records.wire import decode_window
from tokenledger.windows import EndedCall, Entity, decode_ended, entity_of, latest, window_start, windows

AGREES_WITHIN_S = 60.0
SECOND_US = 1_000_000


class Traffic:
    """Calls of one tenant to one model, both of this test alone, and what the topics say of them."""

    def __init__(self, stack: RunningStack) -> None:
        self.name = f"t{uuid.uuid4().hex}"
        bootstrap = {"bootstrap.servers": stack.layout.kafka_bootstrap}
        self._producer = Producer({**bootstrap, "partitioner": "murmur2_random", "enable.idempotence": True})
        self._consumer = Consumer({**bootstrap, "group.id": self.name, "enable.auto.commit": False})
        places = [TopicPartition(topic.name, n) for topic in (PRICED, FEATURES) for n in range(topic.partitions)]
        for place in places:
            place.offset = self._consumer.get_watermark_offsets(place, timeout=10)[1]
        self._consumer.assign(places)
        self.sent = 0
        self.priced: list[EndedCall] = []
        self.tellings: list[FeatureWindow] = []

    def send(self, ended_at_us: int, *, event_id: str | None = None) -> None:
        """One call that ended then."""
        event_id = event_id or str(uuid.uuid4())
        headers: dict[str, Any] = {"ce_id": event_id, "ce_source": "/test", "ce_tenantid": self.name}
        value = json.dumps(_envelope(self.name, ended_at_us)).encode()
        self._producer.produce(RAW.name, key=f"{self.name}/{event_id}".encode(), value=value, headers=headers)
        self._producer.poll(0)
        self.sent += 1

    def send_all(self, ends_at_us: Iterable[int]) -> None:
        """Calls that ended then, in this order."""
        for ended_at_us in ends_at_us:
            self.send(ended_at_us)
        assert self._producer.flush(30) == 0

    def told(self) -> dict[tuple[Entity, int], FeatureWindow]:
        """The minutes as they were told last."""
        found: dict[tuple[Entity, int], FeatureWindow] = {}
        for window in self.tellings:
            key = entity_of(window), window.window_start_at_us
            found[key] = latest(found.get(key, window), window)
        return found

    def agrees(self) -> bool:
        """Every call that was sent is priced, and the minutes told are those of a computation on the whole log."""
        self._read()
        told = {key: _bare(window) for key, window in self.told().items()}
        computed = {key: _bare(window) for key, window in windows(self.priced).items()}
        return len(self.priced) >= self.sent and told == computed

    def close(self) -> None:
        """Leave Kafka."""
        self._consumer.close()

    def _read(self) -> None:
        name = self.name.encode()
        while messages := self._consumer.consume(1000, 0.5):
            for message in messages:
                key, value = message.key() or b"", message.value() or b""
                if message.topic() == PRICED.name and key.startswith(name):
                    self.priced.append(decode_ended(value))
                elif message.topic() == FEATURES.name and name in key:
                    self.tellings.append(decode_window(value))


def _envelope(name: str, ended_at_us: int) -> dict[str, Any]:
    duration_us = 100_000 + ended_at_us % 3_000_000
    return {
        "provider": "openai",
        "api": "chat",
        "request_model": name,
        "feature": "search",
        "started_at_us": ended_at_us - duration_us,
        "first_token_at_us": ended_at_us - duration_us // 2,
        "ended_at_us": ended_at_us,
        "response": {
            "object": "chat.completion",
            "model": name,
            "choices": [],
            "usage": {"prompt_tokens": 1000, "completion_tokens": 20, "total_tokens": 1020},
        },
    }


def _bare(window: FeatureWindow) -> FeatureWindow:
    """Without when it was told, and how many of its calls were late."""
    return msgspec.structs.replace(window, emitted_at_us=0, late_calls=0)


def _now_us() -> int:
    return time.time_ns() // 1000


@pytest.fixture
def traffic(stack: RunningStack) -> Iterator[Traffic]:
    """Fresh names on a healthy stack."""
    stack.wait_until_healthy()
    made = Traffic(stack)
    yield made
    made.close()


def _agreed(stack: RunningStack, traffic: Traffic) -> None:
    what = f"the minutes to be those of the log for {traffic.sent} calls of {traffic.name}"
    stack.wait_until(traffic.agrees, what, within_s=AGREES_WITHIN_S)


def test_disorder_repeats_and_clocks_that_are_off_end_in_the_counts_of_the_log(
    stack: RunningStack, traffic: Traffic
) -> None:
    chance = random.Random(5)  # noqa: S311 - a fixed workload
    now_us = _now_us()
    ends_at_us = [now_us - chance.randrange(20 * MINUTE_US) - MINUTE_US for _ in range(2000)]
    repeats = [str(n) for n in range(100)]

    for event_id in repeats * 2:
        traffic.send(now_us - 2 * MINUTE_US, event_id=event_id)
    traffic.send_all([*ends_at_us, *(now_us + day * 24 * 3600 * SECOND_US for day in range(1, 11)), 1_000_000_000])
    _agreed(stack, traffic)

    told = traffic.told()
    assert {entity for entity, _ in told} == {("model", "openai", traffic.name), ("feature", traffic.name, "search")}
    model = [window for (entity, _), window in told.items() if entity[0] == "model"]
    assert sum(window.clamped_calls for window in model) == 11
    assert sum(window.expired_calls for window in model) == 0
    # The stream does not know that a record repeats another: it counts within the share of repeats.
    distinct = len(ends_at_us) + len(repeats) + 11
    assert sum(window.calls for window in model) == distinct + len(repeats)


def test_a_late_call_is_told_as_a_revision_of_the_minute_it_missed(stack: RunningStack, traffic: Traffic) -> None:
    minute_us = window_start(_now_us()) - 10 * MINUTE_US
    traffic.send_all([minute_us] * 20)
    _agreed(stack, traffic)
    place = ("model", "openai", traffic.name), minute_us
    before = traffic.told()[place]

    traffic.send_all([minute_us + SECOND_US] * 5)
    _agreed(stack, traffic)

    after = traffic.told()[place]
    assert (after.calls, after.late_calls - before.late_calls) == (25, 5)
    assert after.revision > before.revision


def test_a_killed_worker_and_a_killed_jobmanager_change_no_minute(stack: RunningStack, traffic: Traffic) -> None:
    traffic.send_all(_now_us() - 5 * MINUTE_US + n * 1000 for n in range(500))
    time.sleep(11)  # a checkpoint with some of it
    traffic.send_all(_now_us() - MINUTE_US + n * 1000 for n in range(500))
    stack.kill(stack.worker_of("windows_job"))
    traffic.send_all(_now_us() - MINUTE_US + n * 1000 for n in range(500))
    stack.wait_until_healthy()
    traffic.send_all(_now_us() - MINUTE_US + n * 1000 for n in range(500))
    stack.kill("jobmanager")
    traffic.send_all(_now_us() - MINUTE_US + n * 1000 for n in range(500))
    stack.wait_until_healthy()

    _agreed(stack, traffic)

    submissions = (stack.layout.logs / "windows_job.log").read_text(encoding="utf-8").splitlines()
    [*_, last] = [line for line in submissions if "submitting" in line]
    assert str(stack.layout.checkpoints("windows_job")) in last


def test_a_savepoint_takes_the_state_to_changed_code(stack: RunningStack, traffic: Traffic) -> None:
    minute_us = window_start(_now_us()) - 3 * MINUTE_US
    traffic.send_all([minute_us] * 50)
    _agreed(stack, traffic)
    before = stack.job("windows_job")["jid"]

    stack.stack.supervision.stop_program("windows_job")
    saved = savepoint.stop(stack.layout, "windows_job")
    assert savepoint.newest(stack.layout.checkpoints("windows_job")) == saved
    _submit(stack, {"TOKENLEDGER_RESUME_FROM": str(saved), "TOKENLEDGER_WINDOWS_DISORDER_MS": "1500"})
    stack.stack.supervision.start_program("windows_job")
    stack.wait_until_healthy()
    traffic.send_all([minute_us] * 7)
    _agreed(stack, traffic)

    # Without its state it would know seven calls of that minute.
    assert traffic.told()[("model", "openai", traffic.name), minute_us].calls == 57
    assert stack.job("windows_job")["jid"] != before
    assert saved.is_dir(), "a savepoint belongs to whoever took it"


def _submit(stack: RunningStack, changed: dict[str, str]) -> None:
    [program] = [program for program in stack.stack.programs() if program.name == "windows_job"]
    command = [str(stack.layout.flink_python), "-m", "flink_jobs.windows_job"]
    environment = os.environ | dict(program.environment) | changed
    done = subprocess.run(
        command, cwd=stack.layout.repo, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
