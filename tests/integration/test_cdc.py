"""A committed row reaches its topic and the stream, whichever of the parts between is killed around the commit."""

import json
from collections.abc import Callable

import psycopg
from confluent_kafka import Consumer, KafkaException, TopicPartition

from infra.local.connect import SLOT
from infra.local.layout import SUPERUSER
from ledger.database import connect
from ledger.prices import store
from ledger.prices.changes import RATE, add
from ledger.settings import Settings
from tests.integration.conftest import RunningStack
from tests.integration.test_stream_prices import priced
from tokenledger.pricing.rate import OWN, Row

_WITHIN_S = 300.0
_TOKENS = 1_000
_MODEL = "acme-cdc"
"""Of this file alone: the stack and its prices are shared."""


def _commit(stack: RunningStack, pico: int) -> None:
    """This rate from now on, as soon as Postgres takes it."""
    settings = Settings.from_environment(stack.layout.client_environment(), user="keeper")
    row = Row(layer=OWN, provider="acme-ai", model=_MODEL, meter="input.text", list_pico=pico)
    with connect(settings, application="test") as keeper, keeper.transaction():
        at_us = store.begin(keeper)
        plan = add(store.believed(store.load(keeper)), [(RATE, row)], at_us=at_us, correct=True)
        store.apply(keeper, plan, at_us=at_us, action="correct", reason="a test")


def _rates_on_the_topic(stack: RunningStack) -> set[int]:
    """Of every row of the price book that Debezium has told."""
    consumer = Consumer({"bootstrap.servers": stack.layout.kafka_bootstrap, "group.id": "test", "log_level": 0})
    try:
        consumer.assign([TopicPartition("cfg.public.prices", 0, 0)])
        _, end = consumer.get_watermark_offsets(TopicPartition("cfg.public.prices", 0), timeout=10)
        found, at = set(), 0
        while at < end and (messages := consumer.consume(10_000, 5)):
            at = (messages[-1].offset() or 0) + 1
            found |= {json.loads(value)["pico"] for message in messages if (value := message.value())}
    except KafkaException:
        return set()
    else:
        return found
    finally:
        consumer.close()


def _told(stack: RunningStack, pico: int) -> Callable[[], bool]:
    return lambda: pico in _rates_on_the_topic(stack)


def test_what_is_committed_reaches_topic_and_stream_through_the_kill_of_every_part(stack: RunningStack) -> None:
    stack.wait_until(lambda: stack.stack.ready("connect"), "Debezium to read", within_s=_WITHIN_S)
    _commit(stack, 101)
    worker = stack.worker_of("price_job")
    stack.kill("connect")
    stack.kill("postgres")
    stack.wait_until(lambda: stack.stack.ready("postgres"), "Postgres to be there")
    _commit(stack, 102)
    stack.kill("kafka")
    _commit(stack, 103)
    stack.kill(worker)
    _commit(stack, 104)
    for pico in (101, 102, 103, 104):
        stack.wait_until(_told(stack, pico), f"the row of {pico} on its topic", within_s=_WITHIN_S)
    stack.wait_until_healthy()
    priced(stack, "after all kills", ("priced", 104 * _TOKENS), model=_MODEL)
    # Debezium itself goes on, not only the followers' own looks.
    _commit(stack, 105)
    stack.wait_until(_told(stack, 105), "the next row on its topic")
    assert stack.stack.ready("connect")


def test_the_slot_moves_on_while_other_tables_write(stack: RunningStack) -> None:
    with psycopg.connect(stack.layout.dsn(SUPERUSER), autocommit=True) as admin:

        def confirmed() -> int:
            row = admin.execute(
                "SELECT confirmed_flush_lsn - '0/0'::pg_lsn FROM pg_replication_slots WHERE slot_name = %s", [SLOT]
            ).fetchone()
            return int(row[0]) if row else 0

        stack.wait_until(lambda: confirmed() > 0, "a slot", within_s=_WITHIN_S)
        admin.execute("CREATE TEMP TABLE busy AS SELECT 1 AS n")
        admin.execute("SELECT pg_logical_emit_message(false, 'test', repeat('x', 1000))")
        row = admin.execute("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn").fetchone()
        assert row is not None
        written = int(row[0])
        stack.wait_until(lambda: confirmed() >= written, "the slot to move on", within_s=_WITHIN_S)
