"""Reads who sent what from the raw topic, and judges now and then what is wrong: `python -m ledger.watch`.

It holds nothing up. What it knows stands in Postgres with the offsets it was read from, so it may die at any instant;
where a record is heard twice all the same, its number is in the set already.
"""

import os
import sys
import time
from typing import Final

import psycopg
from confluent_kafka import KafkaException

from ledger.database import Connection, connect
from ledger.ending import Stop, run_supervised
from ledger.observing import HEARD, RETRIES, Pulse, logger, serve
from ledger.settings import Settings
from ledger.watch import store
from ledger.watch.hearing import Batch, Ear, Place
from ledger.watch.judging import Comparison, Judge
from ledger.watch.settings import Limits

log = logger("ledger.watch")

_RECORDS: Final = 10_000
_WAIT_S: Final = 1.0
_LOCK: Final = "SELECT pg_try_advisory_lock(hashtext('tokenledger watch'))"
_LONGEST_PAUSE_S: Final = 5.0


def run(settings: Settings, limits: Limits, *, stop: Stop) -> None:
    """Watch until asked to stop, through every outage of the database and the broker."""
    pulse = Pulse(limit_s=300.0)
    serve(settings.metrics_port, pulse)
    judge = Judge(limits, Comparison(settings))
    while not stop.asked:
        ear = Ear(settings.kafka_bootstrap)
        try:
            with connect(settings, application="tokenledger-watch") as connection:
                while not stop.asked and not _alone(connection):
                    pulse.beat()
                    stop.wait(_LONGEST_PAUSE_S)
                _watch(connection, ear, judge=judge, limits=limits, stop=stop, pulse=pulse)
        except (psycopg.OperationalError, psycopg.InterfaceError, KafkaException) as error:
            RETRIES.inc()
            log.warning("database or broker away, trying again", extra={"facts": {"error": str(error)}})
            stop.wait(_LONGEST_PAUSE_S)
        finally:
            ear.close()


def _alone(connection: Connection) -> bool:
    """Two would count every record twice; the second waits for the first to end."""
    row = connection.execute(_LOCK).fetchone()
    return bool(row and row[0])


def _watch(connection: Connection, ear: Ear, *, judge: Judge, limits: Limits, stop: Stop, pulse: Pulse) -> None:
    reached, since_us = _opened(connection, ear)
    judged_s = time.monotonic()
    ends = {place: end for place, (_, end) in ear.spans().items()}
    while not stop.asked:
        batch = ear.batch(records=_RECORDS, wait_s=_WAIT_S)
        pulse.beat()
        if batch.records:
            _take(connection, batch, since_us=since_us)
            reached |= batch.reached
        if time.monotonic() - judged_s >= limits.every_us / 1e6:
            judged_s = time.monotonic()
            # What was there in the last round is read by now, or it lags: then partitions are read unevenly, and what
            # was sent lies partly before and partly behind the place it has come to.
            caught_up = all(reached.get(place, 0) >= end for place, end in ends.items())
            ends = {place: end for place, (_, end) in ear.spans().items()}
            judge.judge(connection, ear, caught_up=caught_up, now_us=time.time_ns() // 1000)


def _opened(connection: Connection, ear: Ear) -> tuple[dict[Place, int], int]:
    """Where to read on, and from when on the log was watched."""
    spans = ear.spans()
    known = store.offsets(connection)
    offsets = {}
    for place, (first, end) in spans.items():
        at = known.get(place, first)
        # Beyond the end it is another topic of that name; before the beginning, retention was faster.
        offsets[place] = at if first <= at <= end else first
        if at != offsets[place]:
            log.warning("cannot read on where it was", extra={"facts": {"place": place, "at": at, "first": first}})
    whole = all(first == 0 for first, _ in spans.values())
    since_us = store.since_us(connection, whole=whole, now_us=time.time_ns() // 1000)
    ear.assign(offsets)
    log.info("reading on", extra={"facts": {"offsets": {f"{t}/{p}": o for (t, p), o in offsets.items()}}})
    return offsets, since_us


def _take(connection: Connection, batch: Batch, *, since_us: int) -> None:
    with connection.transaction():
        store.note(connection, batch.records, watching_since_us=since_us, now_us=time.time_ns() // 1000)
        store.move(connection, batch.reached)
    HEARD.inc(len(batch.records))


def main() -> int:
    """`python -m ledger.watch`."""
    settings = Settings.from_environment(os.environ, user="watcher")
    limits = Limits.from_environment(os.environ)
    return run_supervised(lambda stop: run(settings, limits, stop=stop), log)


if __name__ == "__main__":
    sys.exit(main())
