"""`tokenledger rejected` on librdkafka's own broker and a real Postgres; the last test on the whole stack."""

import json
import os
import subprocess
import sys
import uuid

import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from ledger.database import connect
from ledger.prices import store
from ledger.prices.changes import RATE, Plan
from ledger.settings import Settings
from tests.integration.conftest import RunningStack
from tests.integration.test_ledger_writer import Broker, Writer, broker, writer
from tests.ledger.conftest import database, server, template
from tokenledger.pricing.rate import OWN, Row
from tokenledger.process import default_context, process
from tokenledger.records import PricedCall, RawEvent, Reason, Rejected
from tokenledger.records.topics import RAW, REJECTED
from tokenledger.records.wire import encode_rejected

__all__ = ["broker", "database", "server", "template", "writer"]

REPLY = json.dumps(
    {
        "provider": "openai",
        "api": "chat",
        "response": {
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1_795_000_000, "model": "gpt-4o-2024-08-06",
            "choices": [], "usage": {"prompt_tokens": 1000, "completion_tokens": 200, "total_tokens": 1200},
        },
    }
).encode()  # fmt: skip
HEADERS = {"ce_id": b"e1", "ce_source": b"/app", "ce_tenantid": b"acme", "ce_type": b"llm.call.v1", "x-own": b"\xff"}
PLACE = f"{REJECTED.name}/0/0"


class Log:
    """A broker with records that older code refused."""

    def __init__(self, broker: Broker, writer: Writer) -> None:
        self.broker, self.writer = broker, writer
        self.refused = 0

    def refuse(self, value: bytes, *, attempt_no: int = 1, partition: int = 0, **headers: bytes) -> None:
        """As the stream would have it: on the raw topic, then on the rejected one with our headers beside."""
        raw = RawEvent(value=value, headers=HEADERS | headers, topic=RAW.name, partition=partition, offset=self.refused)
        rejected = Rejected(
            reason=Reason.UNKNOWN_SHAPE, field="response", detail="older code", tenant_id="acme", event_id="e1",
            topic=RAW.name, partition=partition, offset=self.refused, append_at_us=1_795_000_000_000_000,
            attempt_no=attempt_no, code_version="0.0.1",
        )  # fmt: skip
        if partition == 0:
            self.broker.put(RAW.name, value, raw.headers)
        self.broker.put(REJECTED.name, *encode_rejected(rejected, raw))
        self.refused += 1

    def command(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run `tokenledger rejected …`."""
        command = [sys.executable, "-m", "tokenledger.cli", "rejected", *arguments]
        environment = self.writer.environment
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)

    def raw(self) -> list[Message]:
        """The raw topic's first partitions, all of them."""
        return read_all(self.broker.bootstrap, RAW.name)


def read_all(bootstrap: str, topic: str) -> list[Message]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "tests", "enable.auto.commit": False})
    places = [TopicPartition(topic, number, 0) for number in range(4)]
    count = sum(consumer.get_watermark_offsets(place, timeout=10)[1] for place in places)
    consumer.assign(places)
    found: list[Message] = []
    while len(found) < count:
        found += consumer.consume(count - len(found), timeout=5)
    consumer.close()
    return found


@pytest.fixture
def log(broker: Broker, writer: Writer) -> Log:
    return Log(broker, writer)


def test_what_newer_code_can_read_is_sent_again_whole_and_charged_once(log: Log) -> None:
    log.refuse(REPLY)
    log.writer.wait(0, 0, 0, 1, 0)

    dry = log.command("replay")
    # 1,000 × $2.50 and 200 × $10 a million tokens.
    assert "1  would be priced: USD 0.004500000000 more" in dry.stdout
    assert len(log.raw()) == 1
    assert log.command("replay", "--send").returncode == 0

    again = max(log.raw(), key=lambda message: message.timestamp()[1])
    headers = dict(again.headers() or [])
    assert (again.value(), headers.pop("attempt_no"), headers) == (REPLY, b"1", HEADERS)

    # What price_job makes of it.
    made = process(RawEvent(value=REPLY, headers=HEADERS, topic=RAW.name, partition=1, offset=0), default_context())
    assert isinstance(made, PricedCall)
    log.broker.price(made)
    log.writer.wait(1, 0, 0, 1, 0)
    assert "was replayed before" in log.command("replay", "--send").stdout
    assert len(log.raw()) == 2
    rows = log.writer.reader.execute("SELECT event_id, cost_usd_pico FROM calls").fetchall()
    assert rows == [("e1", 4_500_000_000)]


def test_what_came_from_a_partition_that_is_no_more_is_sent_from_where_it_was_kept(log: Log) -> None:
    """A topic that was made anew may have fewer partitions; one such record must not hold up the others."""
    log.refuse(REPLY, partition=99)
    log.writer.wait(0, 0, 0, 1, 0)
    assert "1  would be priced" in log.command("replay", "--send").stdout
    [again] = log.raw()
    assert (again.value(), dict(again.headers() or [])) == (REPLY, HEADERS | {"attempt_no": b"1"})


def test_a_replay_is_judged_by_the_prices_of_the_ledger(log: Log) -> None:
    environment = {name: value for name, value in log.writer.environment.items() if name != "TOKENLEDGER_POSTGRES_USER"}
    with connect(Settings.from_environment(environment, user="keeper"), application="test") as keeper:
        rates = {"input.text": 7, "output.text": 11}
        own = [Row(layer=OWN, provider="openai", model="gpt-4o*", meter=name, list_pico=rates[name]) for name in rates]
        with keeper.transaction():
            plan = Plan(added=tuple((RATE, row) for row in own))
            store.apply(keeper, plan, at_us=store.begin(keeper), action="add", reason="a test")
    log.refuse(REPLY)
    log.writer.wait(0, 0, 0, 1, 0)
    # 1,000 × 7 and 200 × 11 pico.
    assert "1  would be priced: USD 0.000000009200 more" in log.command("replay").stdout


def test_what_is_known_repeated_tried_out_or_still_bad_is_told_and_left_alone(log: Log) -> None:
    known = process(
        RawEvent(value=REPLY, headers=HEADERS | {"ce_id": b"e9"}, topic=RAW.name, partition=2, offset=0),
        default_context(),
    )
    assert isinstance(known, PricedCall)
    log.broker.price(known)
    other = REPLY.replace(b"chatcmpl-1", b"chatcmpl-2")
    log.refuse(REPLY)  # the same reply, under another event
    log.refuse(other, ce_id=b"e2")
    log.refuse(other, ce_id=b"e2")
    log.refuse(REPLY.replace(b"chatcmpl-1", b"chatcmpl-3"), attempt_no=3, ce_id=b"e3")
    log.refuse(b"{", ce_id=b"e4")
    log.writer.wait(1, 0, 0, 5, 0)

    done = log.command("replay", "--send")

    told = {line.strip().partition(":")[0] for line in done.stdout.splitlines()}
    assert told >= {
        "1  its call is in the ledger",
        "1  repeats another one of these",
        "1  was tried often enough",
        "1  would be rejected again",
        "1  would be priced",
    }
    assert done.returncode == 1
    assert "still: invalid_json" in done.stdout
    assert len(log.raw()) == 6


def test_rejected_records_are_listed_counted_and_shown_with_their_bytes(log: Log) -> None:
    log.refuse(b"\x00\x1b[2Jnot JSON")
    log.refuse(b"{", ce_source=b"/other")
    log.writer.wait(0, 0, 0, 2, 0)

    listed = [json.loads(line) for line in log.command("list", "--format", "jsonl").stdout.splitlines()]
    assert [(one["kept"], one["ce_source"], one["reason"]) for one in listed] == [
        (PLACE, "/app", "unknown_shape"),
        (f"{REJECTED.name}/0/1", "/other", "unknown_shape"),
    ]
    assert log.command("list", "--producer", "/other", "--format", "jsonl").stdout.count("\n") == 1
    assert log.command("list", "--until", "2026-11-18", "--format", "jsonl").stdout == ""
    groups = log.command("group", "--by", "producer,day").stdout
    assert "/other" in groups
    assert "2026-11-18" in groups
    shown = log.command("show", PLACE)
    assert "ce_id: e1" in shown.stdout
    assert "\\x1b[2Jnot JSON" in shown.stdout
    raw = subprocess.run(
        [sys.executable, "-m", "tokenledger.cli", "rejected", "show", PLACE, "--raw"],
        env=log.writer.environment, capture_output=True, check=True, timeout=60,
    )  # fmt: skip
    assert raw.stdout == b"\x00\x1b[2Jnot JSON"
    assert log.command("show", f"{REJECTED.name}/0/9").returncode == 2


def test_on_the_whole_stack_a_bad_record_is_found_shown_and_not_sent_again(stack: RunningStack) -> None:
    tenant = uuid.uuid4().hex
    producer = Producer({"bootstrap.servers": stack.layout.kafka_bootstrap, "acks": "all"})
    producer.produce(RAW.name, b"{ cut", headers=[("ce_tenantid", tenant.encode()), ("ce_id", b"cut")])
    assert producer.flush(20) == 0
    environment = os.environ | {"TOKENLEDGER_STACK_ROOT": str(stack.layout.root)}

    def command(*arguments: str) -> "subprocess.CompletedProcess[str]":
        given = [sys.executable, "-m", "tokenledger.cli", "rejected", *arguments, "--tenant", tenant]
        return subprocess.run(given, env=environment, capture_output=True, text=True, check=False, timeout=60)

    stack.wait_until(lambda: bool(command("list", "--format", "jsonl").stdout), "the record to be indexed")
    (line,) = command("list", "--format", "jsonl").stdout.splitlines()
    assert json.loads(line)["reason"] == "invalid_json"
    done = command("replay", "--send")
    assert (done.returncode, "0 records sent again" in done.stdout) == (1, True), done.stderr
