"""price_job on real Kafka and Flink: every record has an outcome, and none of them disturbs the job."""

import json
import time
import uuid
from collections.abc import Mapping
from typing import Any

import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from infra.local.readiness import flink
from tests.integration.conftest import RunningStack
from tokenledger.records.topics import PRICED, RAW, REJECTED
from tokenledger.records.wire import decode_priced, decode_rejected

OUTCOMES_WITHIN_S = 60.0

REPLY = {
    "provider": "openai",
    "api": "chat",
    "request_model": "gpt-4o",
    "response": {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_795_000_000,
        "model": "gpt-4o-2024-08-06",
        "choices": [],
        "usage": {"prompt_tokens": 1000, "completion_tokens": 200, "total_tokens": 1200},
    },
}

GOOD: bytes | None = json.dumps(REPLY).encode()

POISON: dict[str, bytes | None] = {
    "tombstone": None,
    "empty": b"",
    "truncated": json.dumps(REPLY).encode()[:-9],
    "not utf-8": b"\xff\xfe\x00\x01",
    "a number beyond all": b'{"provider":"openai","response":{"usage":{"prompt_tokens":1e400}}}',
    "a depth bomb": b"[" * 200_000,
    "five megabytes": b"x" * 5_000_000,
    # Compresses to a few kilobytes, so that it passes the topic's limit, and unfolds beyond it.
    "a bomb": b"\x00" * 12_000_000,
}


def test_good_and_bad_records_all_get_an_outcome_and_the_job_never_restarts(stack: RunningStack) -> None:
    before = _job(stack)
    tenant = uuid.uuid4().hex  # so that other tests' records do not count here
    good = [str(number) for number in range(20)]

    _send(stack, tenant, dict.fromkeys(good, GOOD) | POISON)
    outcomes = _outcomes(stack, tenant, count=len(good) + len(POISON))

    priced = [message for message in outcomes if message.topic() == PRICED.name]
    rejected = {_event_id(message): message for message in outcomes if message.topic() == REJECTED.name}
    assert sorted(_event_id(message) for message in priced) == sorted(good)
    assert set(rejected) == set(POISON)
    # 1,000 × $2.50 and 200 × $10 a million tokens, in pico-dollars.
    assert {decode_priced(message.value() or b"").cost_usd_pico for message in priced} == {4_500_000_000}
    assert _job(stack) == before


def test_a_rejected_record_carries_its_bytes_its_headers_and_why(stack: RunningStack) -> None:
    tenant = uuid.uuid4().hex

    _send(stack, tenant, {"bad": POISON["truncated"]})
    [message] = _outcomes(stack, tenant, count=1)

    headers = dict(message.headers() or [])
    why = decode_rejected({name: value for name, value in headers.items() if isinstance(value, bytes)})
    assert message.value() == POISON["truncated"]
    assert (headers["ce_source"], headers["without_value"]) == (b"/test", b"")
    assert (why.reason, why.topic, why.event_id) == ("invalid_json", RAW.name, "bad")
    assert why.append_at_us > 1_700_000_000_000_000
    assert _original(stack, why.partition, why.offset) == POISON["truncated"]


@pytest.mark.parametrize("compression", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_a_producer_may_compress_as_it_likes(stack: RunningStack, compression: str) -> None:
    tenant = uuid.uuid4().hex

    _send(stack, tenant, {"one": GOOD}, compression=compression)

    assert [message.topic() for message in _outcomes(stack, tenant, count=1)] == [PRICED.name]


def test_a_job_killed_under_load_resumes_and_leaves_nothing_out(stack: RunningStack) -> None:
    tenant = uuid.uuid4().hex
    sent: dict[str, bytes | None] = {str(number): GOOD for number in range(5000)}

    _send(stack, tenant, dict(list(sent.items())[:2500]))
    stack.kill(stack.worker_of("price_job"))
    _send(stack, tenant, dict(list(sent.items())[2500:]))
    stack.wait_until_healthy()
    outcomes = _outcomes(stack, tenant, count=len(sent))

    assert {_event_id(message) for message in outcomes} == set(sent)


def test_the_job_commits_how_far_it_came_and_goes_on_from_there(stack: RunningStack) -> None:
    """Without a commit each restart would read the whole topic again: right in the end, and slower every day."""
    tenant = uuid.uuid4().hex
    _send(stack, tenant, dict.fromkeys(map(str, range(40)), GOOD))
    _outcomes(stack, tenant, count=40)
    consumer = Consumer(_consumer_settings(stack) | {"group.id": "price_job"})
    partitions = [TopicPartition(RAW.name, number) for number in range(RAW.partitions)]
    ends = {one.partition: consumer.get_watermark_offsets(one, timeout=10)[1] for one in partitions}

    def committed() -> bool:
        found = consumer.committed(partitions, timeout=10)
        return all(one.offset == ends[one.partition] or ends[one.partition] == 0 for one in found)

    stack.wait_until(committed, f"the group to commit {ends}", within_s=20)
    consumer.close()


def _job(stack: RunningStack) -> tuple[str, int]:
    """The job's id and how often it restarted."""
    job = stack.job("price_job")
    restarts: list[int] = []

    def known() -> bool:
        # Flink gathers metrics in the background: the first question is answered with nothing.
        metrics: Any = flink(stack.layout, f"/jobs/{job['jid']}/metrics?get=numRestarts")
        restarts.extend(int(metric["value"]) for metric in metrics)
        return bool(restarts)

    stack.wait_until(known, "the job's number of restarts", within_s=30)
    return job["jid"], restarts[0]


def _send(stack: RunningStack, tenant: str, values: Mapping[str, bytes | None], *, compression: str = "zstd") -> None:
    settings: dict[str, str | int | float | bool] = {
        "bootstrap.servers": stack.layout.kafka_bootstrap,
        "partitioner": "murmur2_random",
        "enable.idempotence": True,
        "message.max.bytes": 64_000_000,
        "compression.type": compression,
    }
    producer = Producer(settings)
    for event_id, value in values.items():
        headers: dict[str, str | bytes | None] = {
            "ce_id": event_id,
            "ce_source": "/test",
            "ce_type": "llm.call.v1",
            "ce_tenantid": tenant,
            "without_value": None,
        }
        producer.produce(RAW.name, key=f"{tenant}/{event_id}".encode(), value=value, headers=headers)
        producer.poll(0)
    assert producer.flush(30) == 0


def _outcomes(stack: RunningStack, tenant: str, *, count: int) -> list[Message]:
    """At least `count` distinct records of this tenant, and whatever else of it comes within a second."""
    consumer = Consumer(_consumer_settings(stack))
    consumer.subscribe([PRICED.name, REJECTED.name])
    found: dict[bytes, Message] = {}
    deadline = time.monotonic() + OUTCOMES_WITHIN_S
    while time.monotonic() < deadline:
        message = consumer.poll(1.0)
        if message is None and len(found) >= count:
            break
        key = b"" if message is None else message.key() or b""
        if message is not None and key.startswith(tenant.encode()):
            found[key] = message
    consumer.close()
    return list(found.values())


def _original(stack: RunningStack, partition: int, offset: int) -> bytes | None:
    consumer = Consumer(_consumer_settings(stack))
    consumer.assign([TopicPartition(RAW.name, partition, offset)])
    message = consumer.poll(10.0)
    consumer.close()
    assert message is not None
    return message.value()


def _consumer_settings(stack: RunningStack) -> dict[str, str | int | float | bool | None]:
    return {
        "bootstrap.servers": stack.layout.kafka_bootstrap,
        "group.id": uuid.uuid4().hex,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "fetch.message.max.bytes": 16_000_000,
    }


def _event_id(message: Message) -> str:
    return (message.key() or b"").decode().partition("/")[2]
