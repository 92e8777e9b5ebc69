"""Kafka and the ledger → Redis and Parquet: features of traffic as minutes close, features of spend every few seconds.

At least once everywhere: after a start the last hours of the topic are read again, so that nothing in memory has to
survive, and Redis may lose everything at any time. Offsets are committed once the history holds what came before them.
"""

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import psycopg
import pyarrow as pa
from confluent_kafka import KafkaException
from redis import RedisError

from feature_repo.background import Background
from feature_repo.held import KEPT_MINUTES, TRAFFIC, Held, Taken
from feature_repo.observing import (
    DROPPED,
    ENTITIES,
    FAILURES,
    LAG,
    LATE_SECONDS,
    REFUSED,
    RESTORED,
    ROWS,
    WINDOWS,
    WRITE_SECONDS,
)
from feature_repo.offline import History
from feature_repo.rows import Layout, Row, storable
from feature_repo.settings import PusherSettings
from feature_repo.spend import Key
from feature_repo.spending import Spending
from feature_repo.topic import Read, WindowTopic
from feature_repo.writing import OnlineStore
from ledger.ending import Stop, run_supervised
from ledger.observing import Pulse, logger, serve
from ledger.settings import Settings
from tokenledger.records.features import MINUTE_US, VIEWS, SpendFeatures
from tokenledger.windows import Entity, entity_of

log = logger("feature_repo.pusher")

SPEND: Final = next(view for view in VIEWS if view.record is SpendFeatures)
_SPAN_US: Final = KEPT_MINUTES * MINUTE_US
LOOK_BACK_US: Final = _SPAN_US + max(view.ttl_us for views in TRAFFIC.values() for view in views)
"""What must be read again to know, of everyone whose features are still good, the whole hour they speak of."""
_RECORDS_AT_ONCE: Final = 1_000
_WAIT_S: Final = 0.1
_ENTITIES_AT_ONCE: Final = 500
_MOST_WAITING_ROWS: Final = 200_000
_ASK_IF_LOST_EVERY_S: Final = 1.0
_LONGEST_PAUSE_S: Final = 5.0


class _Written(NamedTuple):
    """What came of a write to the history."""

    left: Sequence[Row]
    place: dict[int, int]


class Pusher:
    """Everything the process holds."""

    def __init__(self, settings: PusherSettings, ledger: Settings) -> None:
        self.settings = settings
        self.held = Held(most_entities=settings.most_entities)
        self.topic = WindowTopic(settings.kafka_bootstrap)
        self.online = OnlineStore(settings.redis)
        self.history = History(settings.folder, keep_days=settings.history_keep_days)
        self.spending = Spending(ledger)
        self._layout = Layout()
        self._dirty: dict[Entity, None] = {}
        self._fresh: dict[Entity, None] = {}
        self._spend: dict[Key, SpendFeatures] = {}
        self._spend_dirty: dict[Key, int] = {}
        self._rows: list[Row] = []
        self._writing: Background[_Written] = Background("history")
        self._asking: Background[tuple[int, dict[Key, SpendFeatures]]] = Background("spend")
        self._began_us = 0
        self._due_s = {"history": time.monotonic() + settings.history_every_s, "spend": 0.0, "lost": 0.0, "redis": 0.0}
        self._pause_s = 0.1

    def open(self) -> None:
        """Begin to read. Raises KafkaException and OSError."""
        self._began_us = time.time_ns() // 1000 - LOOK_BACK_US
        self.history.prepare()
        self.topic.open(since_us=self._began_us)

    def turn(self) -> None:
        """Take what came, write what is due."""
        bad = [read for read in self.topic.read(records=_RECORDS_AT_ONCE, wait_s=_WAIT_S) if not self._take(read)]
        if bad:
            # One line however many: a topic full of rubbish must not fill the disk.
            place = {"records": len(bad), "partition": bad[0].partition, "offset": bad[0].offset}
            log.warning("records that are no windows, the first at", extra={"facts": place})
        self._ask_ledger()
        if self.topic.caught_up:
            self._tell_redis()
            self._remember_fresh(list(self._fresh))
        self._flush_history()
        ENTITIES.set(len(self.held))
        LAG.set(self.topic.lag())

    def close(self) -> None:
        """What is known is written; nothing runs on."""
        self._due_s["history"] = 0.0
        self._settle(wait=True)
        self._flush_history()
        self._settle(wait=True)
        for background in (self._writing, self._asking):
            background.close()
        self.spending.close()
        self.online.close()
        self.topic.close()

    def _take(self, read: Read) -> bool:
        """Whether it is a window at all."""
        window = read.window
        if window is None:
            WINDOWS.labels("undecodable").inc()
            return False
        taken = self.held.take(window, now_us=time.time_ns() // 1000)
        WINDOWS.labels(taken.value).inc()
        if taken is not Taken.COUNTED:
            return True
        entity = entity_of(window)
        new = self.topic.is_new(read)
        if new:
            self._fresh[entity] = None
        # Of whom only part of the hour was read again, Redis knows more than we do.
        if new or self.held.event_at_us(entity) - _SPAN_US >= self._began_us:
            self._dirty[entity] = None
        return True

    def _rows_of(self, entity: Entity, *, known_at_us: int) -> Iterator[Row]:
        for view, said in self.held.features(entity):
            event_at_us = self.held.event_at_us(entity)
            features, refused = storable(said)
            REFUSED.labels("value").inc(refused)
            yield Row(view, entity[1:], features, event_at_us, max(known_at_us, event_at_us))

    def _spend_rows(self, keys: Iterable[Key], *, known_at_us: int) -> Iterator[Row]:
        for key in keys:
            features, refused = storable(self._spend[key])
            REFUSED.labels("value").inc(refused)
            yield Row(SPEND, key, features, self._spend_dirty.get(key, known_at_us), known_at_us)

    def _tell_redis(self) -> None:
        """Write who has changed, newest change last; what cannot be written now stays to be written."""
        now_s = time.monotonic()
        if now_s < self._due_s["redis"]:
            return
        try:
            if now_s >= self._due_s["lost"]:
                self._due_s["lost"] = now_s + _ASK_IF_LOST_EVERY_S
                self._restore_if_lost()
            while self._dirty or self._spend_dirty:
                self._write_some()
            self._pause_s = 0.1
        except (RedisError, OSError) as error:
            FAILURES.labels("redis").inc()
            log.warning("redis away, trying again", extra={"facts": {"error": str(error), "pause_s": self._pause_s}})
            self.online.close()
            self._due_s["redis"] = now_s + self._pause_s
            self._pause_s = min(self._pause_s * 2, _LONGEST_PAUSE_S)

    def _restore_if_lost(self) -> None:
        if not self.online.lost():
            return
        RESTORED.inc()
        whole = (one for one in self.held if self.held.event_at_us(one) - _SPAN_US >= self._began_us)
        self._dirty |= dict.fromkeys(whole)
        now_us = time.time_ns() // 1000
        self._spend_dirty = {key: self._spend_dirty.get(key, now_us) for key in self._spend}
        log.info("redis was empty, writing all", extra={"facts": {"entities": len(self._dirty)}})

    def _write_some(self) -> None:
        entities = list(self._dirty)[:_ENTITIES_AT_ONCE]
        keys = list(self._spend_dirty)[:_ENTITIES_AT_ONCE]
        begun_us = time.time_ns() // 1000
        traffic = {entity: list(self._rows_of(entity, known_at_us=begun_us)) for entity in entities}
        rows = [row for some in traffic.values() for row in some]
        rows += self._spend_rows(keys, known_at_us=begun_us)
        hashes, refused = self._layout.hashes(rows)
        self.online.write(hashes)
        for entity in self._fresh.keys() & traffic.keys():
            del self._fresh[entity]
            self._remember(traffic[entity])
        for entity in entities:
            del self._dirty[entity]
        for key in keys:
            del self._spend_dirty[key]
        ended_us = time.time_ns() // 1000
        REFUSED.labels("name").inc(refused)
        ROWS.labels("redis").inc(len(rows))
        WRITE_SECONDS.observe((ended_us - begun_us) / 1e6)
        if closed := [row.event_at_us for row in rows if row.view is not SPEND]:
            # Of a replay the minutes are long past: that is no lateness of ours.
            LATE_SECONDS.observe((ended_us - max(closed)) / 1e6)

    def _remember_fresh(self, entities: Sequence[Entity]) -> None:
        """The history has them even when Redis is away."""
        now_us = time.time_ns() // 1000
        self._remember([row for entity in entities for row in self._rows_of(entity, known_at_us=now_us)])
        self._fresh.clear()

    def _remember(self, rows: Sequence[Row]) -> None:
        self._rows += rows
        if (over := len(self._rows) - _MOST_WAITING_ROWS) > 0:
            DROPPED.inc(over)
            del self._rows[:over]

    def _flush_history(self) -> None:
        """Hand rows to the disk's thread; its place is committed when they are there."""
        self._settle()
        now_s = time.monotonic()
        if now_s < self._due_s["history"] or not self._writing.idle:
            return
        self._due_s["history"] = now_s + self.settings.history_every_s
        rows, place = self._rows, self.topic.place() if self.topic.caught_up else {}
        self._rows = []

        def write() -> _Written:
            try:
                self.history.write(rows, now_us=time.time_ns() // 1000)
            except (OSError, pa.ArrowException) as error:
                FAILURES.labels("history").inc()
                log.warning("history not written, trying again", extra={"facts": {"error": str(error)}})
                return _Written(rows, {})
            ROWS.labels("history").inc(len(rows))
            return _Written([], place)

        self._writing.begin(write)

    def _settle(self, *, wait: bool = False) -> None:
        written = self._writing.result(wait=wait)
        if written is None:
            return
        self._remember(written.left)
        try:
            self.topic.commit(written.place)
        except KafkaException as error:
            FAILURES.labels("kafka").inc()
            log.warning("place not committed, the next one will be", extra={"facts": {"error": str(error)}})

    def _ask_ledger(self) -> None:
        """Ask in a thread; the answer is taken when it is there."""
        try:
            answer = self._asking.result()
        except psycopg.Error as error:
            FAILURES.labels("ledger").inc()
            log.warning("ledger away, asking again", extra={"facts": {"error": str(error).strip()}})
            answer = None
        if answer is not None:
            asked_at_us, found = answer
            changed = [key for key, features in found.items() if self._spend.get(key) != features]
            self._spend = found
            self._spend_dirty = dict.fromkeys(found, asked_at_us)
            self._remember(list(self._spend_rows(changed, known_at_us=time.time_ns() // 1000)))
        now_s = time.monotonic()
        if self._asking.idle and now_s >= self._due_s["spend"]:
            self._due_s["spend"] = now_s + self.settings.spend_every_s
            asked_at_s = time.time()
            self._asking.begin(lambda: (int(asked_at_s * 1e6), self._ask(asked_at_s)))

    def _ask(self, now_s: float) -> dict[Key, SpendFeatures]:
        """In the thread. Of too many the dearest."""
        found = self.spending.ask(now_s=now_s)
        most = self.settings.most_entities
        return found if len(found) <= most else dict(sorted(found.items(), key=_cost, reverse=True)[:most])


def _cost(item: tuple[Key, SpendFeatures]) -> int:
    return item[1].known_cost_usd_pico_month or 0


def run(settings: PusherSettings, ledger: Settings, *, stop: Stop) -> None:
    """Push until asked to stop, through every outage of Redis, Postgres and the disk."""
    pulse = Pulse(limit_s=60.0)
    pusher = Pusher(settings, ledger)
    pusher.open()
    # Who looks whether we are ready finds the port open from here on.
    serve(settings.metrics_port, pulse)
    log.info("reading on", extra={"facts": {"offsets": pusher.topic.place()}})
    try:
        while not stop.asked:
            pusher.turn()
            pulse.beat()
    finally:
        pusher.close()


def main() -> int:
    """`python -m feature_repo.pusher`."""
    settings = PusherSettings.from_environment(os.environ)
    ledger = Settings.from_environment(os.environ, user="features")
    return run_supervised(lambda stop: run(settings, ledger, stop=stop), log)


if __name__ == "__main__":
    sys.exit(main())
