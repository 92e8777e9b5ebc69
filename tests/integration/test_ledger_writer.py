"""The writer as a process: librdkafka's own broker in, a real Postgres out."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import psycopg
import pytest
from confluent_kafka import Producer

from ledger.private_postgres import Server
from tests.ledger.conftest import database, server, template
from tests.ledger.samples import call, priced
from tokenledger.records import PricedCall, RawEvent, Reason, Rejected
from tokenledger.records.topics import PRICED, RAW, REJECTED
from tokenledger.records.wire import encode_priced, encode_rejected

__all__ = ["database", "server", "template"]


class Broker:
    """A mock cluster that lives as long as its producer."""

    def __init__(self) -> None:
        self.producer = Producer({"test.mock.num.brokers": 1, "acks": "all", "linger.ms": 1})
        for topic in (RAW, PRICED, REJECTED):  # asking makes them
            listed = self.producer.list_topics(topic.name, timeout=10)
        (broker,) = listed.brokers.values()
        self.bootstrap = f"{broker.host}:{broker.port}"

    def price(self, *records: PricedCall) -> None:
        """Produce priced calls."""
        for record in records:
            self.producer.produce(
                PRICED.name, encode_priced(record), key=f"{record.offset}", partition=record.offset % 4
            )
        assert self.producer.flush(10) == 0

    def put(self, topic: str, value: bytes | None, headers: dict[str, bytes] | None = None) -> None:
        """Produce anything."""
        self.producer.produce(topic, value, headers=list((headers or {}).items()), partition=0)
        assert self.producer.flush(10) == 0


@pytest.fixture
def broker() -> Broker:
    return Broker()


class Writer:
    """The writer's process and its ledger."""

    def __init__(self, server: Server, database: str, broker: Broker) -> None:
        self.environment = os.environ | {
            "TOKENLEDGER_KAFKA_BOOTSTRAP": broker.bootstrap,
            "TOKENLEDGER_POSTGRES_SOCKET": str(server.folder),
            "TOKENLEDGER_POSTGRES_PORT": str(server.port),
            "TOKENLEDGER_POSTGRES_DATABASE": database,
            "TOKENLEDGER_WRITER_BATCH_WAIT_MS": "50",
        }
        self.reader = psycopg.connect(server.dsn("postgres", database), autocommit=True)
        self.process = self.start()

    def start(self) -> "subprocess.Popen[bytes]":
        """Start a writer."""
        return subprocess.Popen([sys.executable, "-m", "ledger.writer"], env=self.environment, stderr=subprocess.PIPE)

    def outcomes(self) -> tuple[int, ...]:
        """Winners, losers, duplicates, rejected, redelivered."""
        row = self.reader.execute(
            "SELECT sum(winners), sum(losers), sum(duplicates), sum(rejected), sum(redelivered) FROM origins"
        ).fetchone()
        assert row is not None
        return tuple(int(count or 0) for count in row)

    def wait(self, *outcomes: int) -> None:
        """Until the ledger says so."""
        deadline_s = time.monotonic() + 20
        while self.outcomes() != outcomes:
            assert self.process.poll() is None, self.process.communicate()[1].decode()
            assert time.monotonic() < deadline_s, f"{self.outcomes()} instead of {outcomes}"
            time.sleep(0.05)


@pytest.fixture
def writer(server: Server, database: str, broker: Broker) -> Iterator[Writer]:
    started = Writer(server, database, broker)
    yield started
    started.process.kill()
    started.process.communicate()
    started.reader.close()


def test_every_record_gets_its_outcome_and_a_killed_writer_doubles_nothing(broker: Broker, writer: Writer) -> None:
    one = call(response_key="openai/r1")
    broker.price(priced(one, offset=0), priced(one, offset=1), priced(call(event_key="app/e2"), offset=2))
    raw = RawEvent(value=b"{", headers={"ce_tenantid": b"acme"}, topic=RAW.name, partition=0, offset=3)
    refused = Rejected(reason=Reason.INVALID_JSON, topic=RAW.name, partition=0, offset=3, tenant_id="acme")
    broker.put(REJECTED.name, *encode_rejected(refused, raw))
    writer.wait(2, 0, 1, 1, 0)
    writer.process.kill()
    writer.process.communicate()
    broker.price(priced(one, offset=1), priced(call(event_key="app/e3"), offset=4))
    writer.process = writer.start()
    writer.wait(3, 0, 1, 1, 1)
    rows = writer.reader.execute("SELECT sum(known_cost_usd_pico), (SELECT sum(amount_usd_pico) FROM lines) FROM calls")
    assert rows.fetchone() == (660_000, 660_000)


def test_a_record_that_no_one_can_read_stops_nothing(broker: Broker, writer: Writer) -> None:
    broker.put(PRICED.name, b"{ not a priced call")
    broker.put(PRICED.name, None)
    broker.put(REJECTED.name, b"bytes", {"reason": b"no such reason"})
    broker.price(priced(call(), offset=0))
    writer.wait(1, 0, 0, 3, 0)


def test_asked_to_end_it_ends_well(broker: Broker, writer: Writer) -> None:
    broker.price(priced(call(), offset=0))
    writer.wait(1, 0, 0, 0, 0)
    writer.process.send_signal(signal.SIGTERM)
    assert writer.process.wait(10) == 0


def test_a_writer_that_stands_still_in_the_middle_of_a_copy_keeps_no_other_from_writing(
    server: Server, database: str, broker: Broker, writer: Writer
) -> None:
    """Its session waits for its next bytes, so no timeout of the server ends it, and it holds the offsets."""
    broker.price(priced(call(), offset=0))
    writer.wait(1, 0, 0, 0, 0)
    frozen = psycopg.connect(server.dsn("writer", database), application_name="tokenledger-writer")
    frozen.execute("SELECT FROM offsets FOR UPDATE")
    frozen.execute("CREATE TEMPORARY TABLE staged (bytes bytea)")
    frozen.pgconn.send_query(b"COPY staged FROM STDIN")
    broker.price(priced(call(event_key="app/e2"), offset=1))
    writer.wait(2, 0, 0, 0, 0)
    frozen.close()
