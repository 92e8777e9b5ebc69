"""A committed price → the first call that is charged by it: Debezium, the wake-up, the whole book loaded, the stream.

`python -m benchmarks.cdc [ROOT]`: on a stack of its own, or on the one in ROOT that runs already.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import msgspec
from confluent_kafka import OFFSET_END, Consumer, TopicPartition

from benchmarks.stack import producer, stack_of
from infra.local.place import layout_of
from infra.local.stack import Stack
from ledger.database import Connection, connect
from ledger.prices import store, upgrading
from ledger.prices.changes import RATE, add
from ledger.received import decode_priced
from ledger.settings import Settings
from tokenledger.pricing.catalogue import packaged_catalogue
from tokenledger.pricing.rate import OWN, Row
from tokenledger.records.topics import PRICED, RAW

_PROGRAMS: Final = ("postgres", "kafka", "jobmanager", "taskmanager", "taskmanager2", "price_job", "connect")
_EDITS: Final = 60
_EVERY_MS: Final = 20
_ROWS: Final = "cfg.public.prices"
_MODEL: Final = "cdc-model"
_GIVE_UP_S: Final = 60


class Stream:
    """Calls of one model, one every 20 ms, and what they were charged when."""

    def __init__(self, stack: Stack) -> None:
        self._client = producer(stack)
        self._stop = threading.Event()
        self._first_ms: dict[tuple[str, int], int] = {}
        """(topic, rate) → append time of the first record that has it."""
        self._seen = threading.Condition()
        topics = [(PRICED.name, number) for number in range(PRICED.partitions)] + [(_ROWS, 0)]
        places = [TopicPartition(topic, number, OFFSET_END) for topic, number in topics]
        self._consumer = Consumer({"bootstrap.servers": stack.layout.kafka_bootstrap, "group.id": "benchmark"})
        self._consumer.assign(places)
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._send, self._read)]

    def start(self) -> None:
        """Send and read."""
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """No more."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._consumer.close()

    def wait(self, topic: str, pico: int) -> float:
        """When the first record with this rate was on the topic, s. Raises TimeoutError."""
        with self._seen:
            if not self._seen.wait_for(lambda: (topic, pico) in self._first_ms, _GIVE_UP_S):
                raise TimeoutError(f"no record of {topic} with {pico} pico-USD within {_GIVE_UP_S} s")
            return self._first_ms[topic, pico] / 1000

    def _send(self) -> None:
        number, run = 0, os.urandom(4).hex()
        while not self._stop.wait(_EVERY_MS / 1000):
            number += 1
            self._client.produce(
                RAW.name, _call(f"{run}-{number}"), f"cdc/{number}", headers=_headers(f"{run}-{number}")
            )
            self._client.poll(0)
        self._client.flush()

    def _read(self) -> None:
        while not self._stop.is_set():
            for message in self._consumer.consume(500, 0.1):
                if message.error() is None and (value := message.value()):
                    self._note(str(message.topic()), value, message.timestamp()[1])

    def _note(self, topic: str, value: bytes, at_ms: int) -> None:
        pico = json.loads(value)["pico"] if topic == _ROWS else decode_priced(value).known_cost_usd_pico
        with self._seen:
            if (topic, pico) not in self._first_ms:
                self._first_ms[topic, pico] = at_ms
                self._seen.notify_all()


def _call(event_id: str) -> bytes:
    usage = {"prompt_tokens": 1, "completion_tokens": 0}
    response = {"id": event_id, "object": "chat.completion", "model": _MODEL, "choices": [], "usage": usage}
    stated = {"provider": "acme-ai", "api": "chat", "response": response, "started_at_us": time.time_ns() // 1_000}
    return json.dumps(stated).encode()


def _headers(event_id: str) -> list[tuple[str, str | bytes | None]]:
    return [("ce_id", event_id), ("ce_source", "cdc"), ("ce_type", "llm.call.v1"), ("ce_tenantid", "cdc")]


def commit(keeper: Connection, row: Row) -> float:
    """The rate instead of the one before; when that was committed, s."""
    with keeper.transaction():
        at_us = store.begin(keeper)
        plan = add(store.believed(store.load(keeper)), [(RATE, row)], at_us=at_us, correct=True)
        store.apply(keeper, plan, at_us=at_us, action="correct", reason="a benchmark")
    return time.time()


def import_catalogue(keeper: Connection) -> int:
    """A whole book, as a company has it; its rates."""
    with keeper.transaction():
        at_us = store.begin(keeper)
        listed = [one for one in store.believed(store.load(keeper)) if store.is_catalogue(one)]
        plan, _ = upgrading.plan(upgrading.upgrade(listed, packaged_catalogue()), known_from_us=at_us, confirmed=None)
        if plan.changes_anything:
            store.apply(keeper, plan, at_us=at_us, action="import", reason="a benchmark")
    return len(store.believed(store.load(keeper)))


@contextmanager
def running() -> Iterator[Stack]:
    """The stack that is named, or one of its own."""
    if len(sys.argv) > 1:
        yield Stack(layout_of(sys.argv[1]), print)
    else:
        with stack_of(_PROGRAMS) as stack:
            yield stack


def main() -> None:
    """Print the figures."""
    with running() as stack:
        settings = Settings.from_environment(stack.layout.client_environment(), user="keeper")
        stream = Stream(stack)
        stream.start()
        with connect(settings, application="benchmark") as keeper:
            rates = import_catalogue(keeper)
            row = Row(layer=OWN, provider="acme-ai", model=_MODEL, meter="input.text", list_pico=0)
            base = time.time_ns() // 1_000_000_000 % 1_000_000 * 1_000
            in_topic_s, at_work_s = [], []
            for edit in range(_EDITS + 1):
                pico = base + edit
                committed_s = commit(keeper, msgspec.structs.replace(row, list_pico=pico))
                at_work_s.append(stream.wait(PRICED.name, pico) - committed_s)
                in_topic_s.append(stream.wait(_ROWS, pico) - committed_s)
        stream.end()
    print("| figure | measured |")
    print("|---|---|")
    print(f"| committed price → its row on `{_ROWS}`, {_EDITS} edits | {_spread(in_topic_s[1:])} |")
    print(
        f"| committed price → first priced call with it, {_EDITS} edits, a book of {rates:,} rates, a call every "
        f"{_EVERY_MS} ms, load {os.getloadavg()[0]:.0f} | {_spread(at_work_s[1:])} |"
    )


def _spread(values_s: list[float]) -> str:
    told = sorted(values_s)
    p50, p99 = told[len(told) // 2], told[len(told) * 99 // 100]
    return f"p50 {p50:.2f} s, p99 {p99:.2f} s, longest {told[-1]:.2f} s"


if __name__ == "__main__":
    main()
