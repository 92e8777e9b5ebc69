"""Kafka → Postgres: reads priced and rejected records and writes each exactly once.

Where to read on stands in Postgres and moves in the transaction that writes the records, so a crash at any instant
loses and doubles nothing. What Postgres refuses is rejected record by record; when Postgres is away, it waits.
"""

import gc
import os
import struct
import sys
import time
from collections.abc import Sequence
from typing import Final, TypeVar

import psycopg

from ledger import adjusting, store
from ledger.batching import Decode, Done, apply
from ledger.database import Connection, connect
from ledger.dropped import DroppedMonthError
from ledger.ending import Stop, run_supervised
from ledger.kafka import KafkaSide, received
from ledger.observing import BATCH_SECONDS, LAG, RECORDS, RETRIES, VISIBLE_SECONDS, Pulse, logger, serve
from ledger.received import Placed, Received
from ledger.repricing import drain
from ledger.settings import Settings
from ledger.state import State
from ledger.topics import register_topics
from tokenledger.records import PricedCall, Reason, Rejected
from tokenledger.records.topics import PRICED, RAW, REJECTED

log = logger("ledger.writer")

REFUSED: Final = (
    psycopg.DataError,
    psycopg.IntegrityError,
    psycopg.errors.ProgramLimitExceeded,
    struct.error,
    OverflowError,
    UnicodeEncodeError,
    DroppedMonthError,
)
"""The record is at fault, not the world: SQLSTATE classes 22 and 23, and what cannot even be sent."""

_LONGEST_PAUSE_S: Final = 5.0
_LOOK_EVERY_S: Final = 1.0
"""How often it looks for calls to charge anew and for adjustments; while there are some, after every batch."""


P = TypeVar("P", bound=Placed)


def write(connection: Connection, state: State, batch: Sequence[P], *, decode: Decode[P], now_us: int) -> list[Done]:
    """Write all of a batch; a record that Postgres refuses is found by halving and rejected."""
    try:
        return [apply(connection, state, batch, decode=decode, now_us=now_us)]
    except REFUSED as error:
        if len(batch) == 1:
            refused = unstorable(decode(batch[0]), error)
            return [apply(connection, state, [refused], decode=_as_is, now_us=now_us)]
        middle = len(batch) // 2
        first = write(connection, state, batch[:middle], decode=decode, now_us=now_us)
        return first + write(connection, state, batch[middle:], decode=decode, now_us=now_us)


def _as_is(one: Received) -> Received:
    return one


def unstorable(one: Received, error: BaseException) -> Received:
    """The record as a rejected one; its bytes stay on the topic it was read from."""
    state = getattr(error, "sqlstate", None) or type(error).__name__
    record = one.record
    call = record.call if isinstance(record, PricedCall) else None
    return Received(
        one.topic,
        one.partition,
        one.offset,
        Rejected(
            reason=Reason.UNSTORABLE,
            stage="store",
            # The server's own words may quote the call's texts.
            detail=str(error) if isinstance(error, DroppedMonthError) else f"Postgres refused the row: {state}",
            tenant_id=call.tenant_id if call else None,
            event_id=call.event_id if call else None,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            append_at_us=record.append_at_us,
            code_version=record.code_version,
        ),
    )


def run(settings: Settings, stop: Stop) -> None:
    """Write until asked to stop, through every outage of the database."""
    pulse = Pulse(limit_s=60.0)
    serve(settings.metrics_port, pulse)
    kafka = KafkaSide(settings.kafka_bootstrap)
    pause_s, held = 0.1, False
    try:
        while not stop.asked:
            try:
                with connect(settings, application="tokenledger-writer") as connection:
                    if held and (ended := store.end_holders(connection)):
                        log.warning(
                            "another writer held the offsets: its session is ended",
                            extra={"facts": {"sessions": ended}},
                        )
                    state = _opened(connection, kafka, settings)
                    pause_s = 0.1
                    _write_on(connection, state, kafka, settings=settings, stop=stop, pulse=pulse)
            except (psycopg.OperationalError, psycopg.InterfaceError) as error:
                RETRIES.inc()
                held = isinstance(error, psycopg.errors.LockNotAvailable)
                log.warning("database away, trying again", extra={"facts": {"error": str(error), "pause_s": pause_s}})
                stop.wait(pause_s)
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
    finally:
        kafka.close()


def _opened(connection: Connection, kafka: KafkaSide, settings: Settings) -> State:
    """The writer's state as the ledger has it, and the consumer where the ledger says."""
    store.prepare(connection, synchronous_commit=settings.synchronous_commit)
    facts = kafka.facts([PRICED.name, REJECTED.name, RAW.name])
    register_topics(connection, facts, consumed=(PRICED.name, REJECTED.name))
    state = store.load_state(connection)
    # What is loaded stays: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    kafka.assign(state.offsets)
    log.info("reading on", extra={"facts": {"offsets": {f"{t}/{p}": o for (t, p), o in state.offsets.items()}}})
    return state


def _write_on(
    connection: Connection, state: State, kafka: KafkaSide, *, settings: Settings, stop: Stop, pulse: Pulse
) -> None:
    looked_s = 0.0
    while not stop.asked:
        if time.monotonic() - looked_s > _LOOK_EVERY_S and not _work_on(connection, state):
            looked_s = time.monotonic()
        batch = kafka.batch(records=settings.batch_records, wait_ms=settings.batch_wait_ms)
        pulse.beat()
        if batch:
            begun_s = time.perf_counter()
            done = write(connection, state, batch, decode=received, now_us=time.time_ns() // 1000)
            _report(done, seconds=time.perf_counter() - begun_s)
        for (topic, partition), lag in kafka.lag(state.offsets).items():
            LAG.labels(topic, partition).set(lag)


def _work_on(connection: Connection, state: State) -> int:
    """Charge anew and post what waits for it; how much that was."""
    adjusted = adjusting.post(connection, state, now_us=time.time_ns() // 1000)
    return adjusted + drain(connection, state, now_us=time.time_ns() // 1000)


def _report(done: Sequence[Done], *, seconds: float) -> None:
    BATCH_SECONDS.observe(seconds)
    for part in done:
        if part.oldest_us is not None:
            VISIBLE_SECONDS.observe(max(time.time() - part.oldest_us / 1e6, 0))
        for outcomes in part.origins.values():
            for name in ("winners", "losers", "duplicates", "rejected", "redelivered"):
                # A superseded winner is counted back in the ledger; a counter only rises.
                RECORDS.labels(name).inc(max(getattr(outcomes, name), 0))
    if len(done) > 1:
        log.warning("a record was refused and the batch halved", extra={"facts": {"transactions": len(done)}})


def tune_interpreter() -> None:
    """For a process of two threads that makes many small objects without cycles."""
    gc.set_threshold(200_000, 20, 100)
    # The default 5 ms is how long a thread that Postgres has answered waits for one that decodes.
    sys.setswitchinterval(0.000_5)


def main() -> int:
    """`python -m ledger.writer`."""
    settings = Settings.from_environment(os.environ, user="writer")
    tune_interpreter()
    return run_supervised(lambda stop: run(settings, stop), log)


if __name__ == "__main__":
    sys.exit(main())
