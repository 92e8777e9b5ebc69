"""The gateway before a real stack: texts of a tenant that allows it reach topic and lake, of others not a word."""

import json
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from confluent_kafka import Consumer, TopicPartition

from ledger.lake import reading
from serving.simulator.process import running as simulator
from tests.integration.conftest import RunningStack
from tests.integration.gateways import Gateway, gateway_before, new_key
from tokenledger.records.topics import PRICED, RAW, REJECTED

TIERS = """
[[tiers]]
name = "small"
models = ["gpt-4o-mini"]
slots = 50
ttft_us_p50 = 5_000
tpot_us_p50 = 500
output_tokens_p50 = 10
"""
RUN = uuid.uuid4().hex[:8]
YES, NO = f"capture-yes-{RUN}", f"capture-no-{RUN}"
CANARIES = {YES: f"Canary-Yvonne-{RUN}", NO: f"Canary-Norbert-{RUN}"}


class Served(NamedTuple):
    """A gateway of this test's own, whose calls go the way of the stack's."""

    gateway: Gateway
    keys: dict[str, str]


@pytest.fixture
def served(stack: RunningStack, tmp_path: Path) -> Iterator[Served]:
    stack.wait_until_healthy()
    layout = stack.layout
    stack.allow_texts(YES)
    secret = layout.secrets / "api-keys"
    keys = {tenant: new_key(layout.dsn("keeper"), secret, tenant_id=tenant) for tenant in (YES, NO)}
    with simulator(TIERS, tmp_path) as fleet:
        capture = f'capture.consent_file = "{layout.consent}"'
        gateway = gateway_before(fleet, tmp_path, environment=layout.client_environment(), extra=capture)
        gateway.start()
        try:
            yield Served(gateway, keys)
        finally:
            gateway.stop()


def _ask(served: Served, tenant: str, number: int) -> None:
    said = f"{CANARIES[tenant]} number {number}, ann{number}@example.com"
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": said}], "stream": bool(number % 2)}
    headers = {"authorization": f"Bearer {served.keys[tenant]}", "content-type": "application/json"}
    url = f"http://127.0.0.1:{served.gateway.port}/v1/chat/completions"
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as reply:  # noqa: S310 - http
        assert reply.status == 200
        reply.read()


def _everything(stack: RunningStack) -> dict[str, list[bytes]]:
    """Every record of every topic."""
    settings = {"bootstrap.servers": stack.layout.kafka_bootstrap, "group.id": "canary", "enable.auto.commit": False}
    found: dict[str, list[bytes]] = {}
    for topic in (RAW, PRICED, REJECTED):
        consumer = Consumer(settings | {"enable.partition.eof": True})
        places = [TopicPartition(topic.name, number, 0) for number in range(topic.partitions)]
        consumer.assign(places)
        rows, ended = found.setdefault(topic.name, []), set[int]()
        while len(ended) < len(places):
            for message in consumer.consume(500, 1.0):
                if message.error() is not None:
                    ended.add(message.partition() or 0)
                else:
                    rows.append(message.value() or b"")
        consumer.close()
    return found


def test_texts_of_a_tenant_that_allows_it_reach_topic_and_lake_and_of_another_not_a_word(
    stack: RunningStack, served: Served
) -> None:
    for number in range(6):
        for tenant in (YES, NO):
            _ask(served, tenant, number)
    lake = stack.layout.lake

    def captured() -> bool:
        return len(list(reading.texts(lake, tenants=[YES]))) == 6

    def accounted() -> bool:
        return sum(len(batch) for batch in reading.calls(lake, tenants=[NO], columns=["status"])) == 6

    stack.wait_until(captured, "the lake to hold what was said")
    stack.wait_until(accounted, "the lake to hold the calls of who said no")

    texts = list(reading.texts(lake, tenants=[YES]))
    for text in texts:
        [asked] = json.loads(text.messages)
        assert asked["content"].startswith(CANARIES[YES])
        assert "<EMAIL_ADDRESS_1>" in asked["content"]
        assert json.loads(text.answer or "{}")["content"]
    assert list(reading.texts(lake, tenants=[NO])) == []
    topics = _everything(stack)
    assert sum(CANARIES[YES].encode() in value for value in topics[RAW.name]) == 6
    assert not any(CANARIES[YES].encode() in value for value in topics[PRICED.name])
    assert not any(CANARIES[NO].encode() in value for values in topics.values() for value in values)
    outbox = stack.layout.data / "outbox"
    assert not any(CANARIES[NO].encode() in path.read_bytes() for path in outbox.rglob("*") if path.is_file())
    assert served.gateway.metric("tokenledger_gateway_captured_texts_total") == 6
