"""Kafka → the lake: priced calls of everyone, and redacted texts of tenants that allow it, as Parquet files.

Where to read on stands in the lake and moves when a range of records is whole in it, so a crash at any instant loses
and doubles nothing. A full disk stops the line; it goes on when there is room.
"""

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Final

from confluent_kafka import Message

from ledger.ending import Stop, run_supervised
from ledger.kafka import KafkaSide, TopicFacts, is_record
from ledger.lake import files
from ledger.lake.consent import Consent, ConsentFile
from ledger.lake.consenting import Consenting
from ledger.lake.erasures import read_erasures
from ledger.lake.held import Held
from ledger.lake.layout import CALLS, TEXTS, file_name
from ledger.lake.locking import LakeError, changing, only_archive
from ledger.lake.observing import (
    FILES,
    FLUSH_SECONDS,
    HELD_BYTES,
    LAG,
    RECORDS,
    REDACTION_SECONDS,
    REDACTIONS,
    RETRIES,
    WRITTEN_BYTES,
)
from ledger.lake.progress import Progress, commit, read_progress, recover
from ledger.lake.redaction import Redactor
from ledger.lake.redaction.naming import recogniser
from ledger.lake.schema import PlacedCall, PlacedText
from ledger.lake.settings import LakeSettings
from ledger.lake.taking import NOT_ALLOWED, take_call, take_text
from ledger.lake.users import Users, read_key
from ledger.observing import Pulse, logger, serve
from tokenledger.records import RawEvent
from tokenledger.records.topics import PRICED, RAW

log = logger("ledger.lake.archive")

_BATCH_RECORDS: Final = 2_000
_BATCH_WAIT_MS: Final = 200
_LONGEST_PAUSE_S: Final = 5.0
_CONSENT_WITHIN_S: Final = 10.0
Places = tuple[str, int]


class LakeKafka(KafkaSide):
    """The same consumer; the lake needs a record's time too."""

    def messages(self, *, records: int, wait_ms: int) -> list[Message]:
        """What came within the wait. Raises KafkaException for an error that will not pass by itself."""
        return [message for message in self._consumer.consume(records, wait_ms / 1000) if is_record(message)]


class Archive:
    """One process's work: records in, files out."""

    def __init__(self, settings: LakeSettings, stop: Stop, pulse: Pulse) -> None:
        self._settings = settings
        self._stop = stop
        self._pulse = pulse
        self._users = Users(read_key(settings.user_key))
        self._redactor = Redactor([recogniser(name) for name in settings.recognisers])
        self._consent_file = ConsentFile(settings.consent)
        self._progress: dict[Places, Progress] = {}
        self._held: dict[Places, Held] = {}
        self._first_held_s: float | None = None

    def open(self, facts: dict[str, TopicFacts]) -> dict[Places, int]:
        """The lake as it was left, mended; where to read on. Raises LakeError."""
        self._consent_file.now()
        with changing(self._settings.lake):
            known = recover(self._settings.lake)
        for topic, fact in facts.items():
            for partition, (first, _) in fact.spans.items():
                begun = _begun(known.get((topic, partition)), fact, place=(topic, partition), first=first)
                self._progress[topic, partition] = begun
                self._held[topic, partition] = Held(topic, partition, next_offset=begun.next_offset)
        return self.offsets()

    def offsets(self) -> dict[Places, int]:
        """The next record of every partition."""
        return {place: held.end for place, held in self._held.items()}

    def take(self, messages: Sequence[Message]) -> None:
        """Records of any partitions, each partition's in order."""
        consent = self._consent_file.now()
        parts: dict[Places, list[Message]] = {}
        for message in messages:
            parts.setdefault((str(message.topic()), message.partition() or 0), []).append(message)
        for (topic, partition), part in parts.items():
            held = self._held[topic, partition]
            if topic == PRICED.name:
                held.add(CALLS, self._calls(part, partition))
            else:
                held.add(TEXTS, [row for message in part if (row := self._text(message, consent)) is not None])
            held.read_to((part[-1].offset() or 0) + 1, len(part))
        if messages and self._first_held_s is None:
            self._first_held_s = time.monotonic()
        HELD_BYTES.set(sum(held.size_bytes for held in self._held.values()))

    def _calls(self, part: Iterable[Message], partition: int) -> list[PlacedCall]:
        taken = [
            take_call(message.value(), self._users, partition=partition, offset=message.offset() or 0)
            for message in part
        ]
        rows = [one for one in taken if isinstance(one, PlacedCall)]
        RECORDS.labels(CALLS, "archived").inc(len(rows))
        RECORDS.labels(CALLS, "unreadable").inc(len(taken) - len(rows))
        return rows

    def _text(self, message: Message, consent: Consent) -> PlacedText | None:
        begun_s = time.perf_counter()
        taken = take_text(_raw(message), consent, users=self._users, redactor=self._redactor)
        if isinstance(taken, str):
            RECORDS.labels(TEXTS, taken).inc()
            if taken != NOT_ALLOWED:
                self._pulse.beat()
            return None
        # One long conversation may take seconds; the process is well all the same.
        self._pulse.beat()
        REDACTION_SECONDS.observe(time.perf_counter() - begun_s)
        RECORDS.labels(TEXTS, "archived").inc()
        for entity, count in taken.text.redactions.items():
            REDACTIONS.labels(entity).inc(count)
        return taken

    def due(self) -> bool:
        """Whether what is held belongs into the lake now."""
        if self._first_held_s is None:
            return False
        held = self._held.values()
        return (
            time.monotonic() - self._first_held_s >= self._settings.flush_ms / 1000
            or sum(one.records for one in held) >= self._settings.flush_records
            or sum(one.size_bytes for one in held) >= self._settings.flush_bytes
        )

    def flush(self) -> None:
        """Everything that is held into the lake, each partition whole or not at all. Raises OSError."""
        begun_s = time.perf_counter()
        lake = self._settings.lake
        with changing(lake):
            erased = read_erasures(lake)
            for place, held in self._held.items():
                if held.end > held.first:
                    staged = [
                        files.stage(lake, where.path / file_name(held.span), table=table)
                        for where, table in held.parts(erased)
                    ]
                    self._commit(place, held, staged=staged)
                    self._pulse.beat()
        self._first_held_s = None
        HELD_BYTES.set(0)
        FLUSH_SECONDS.observe(time.perf_counter() - begun_s)

    def _commit(self, place: Places, held: Held, *, staged: list[files.Staged]) -> None:
        before = self._progress[place]
        progress = Progress(
            topic=before.topic,
            partition=before.partition,
            topic_uuid=before.topic_uuid,
            first_offset=before.first_offset,
            next_offset=held.end,
            published=[str(one.path) for one in staged],
        )
        commit(self._settings.lake, progress)
        self._progress[place] = progress
        FILES.labels(held.table).inc(len(staged))
        WRITTEN_BYTES.labels(held.table).inc(sum(one.size_bytes for one in staged))
        held.clear()

    def flush_when_there_is_room(self) -> None:
        """The same, through a full disk; when asked to stop, what is held is left for the next start."""
        pause_s = 0.1
        while True:
            try:
                self.flush()
            except OSError as error:
                RETRIES.inc()
                log.warning("the lake takes no files", extra={"facts": {"error": str(error), "pause_s": pause_s}})
                self._remove_partials()
                if self._stop.asked:
                    return
                self._stop.wait(pause_s)
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
            else:
                return

    def _remove_partials(self) -> None:
        """What was staged before the disk refused; what is committed but not in its place must stay."""
        with changing(self._settings.lake):
            committed = {
                files.partial_of(self._settings.lake, PurePosixPath(name))
                for one in read_progress(self._settings.lake).values()
                for name in one.published
            }
            for partial in files.partials(self._settings.lake):
                if partial not in committed:
                    partial.unlink(missing_ok=True)


def _begun(known: Progress | None, fact: TopicFacts, *, place: Places, first: int) -> Progress:
    """Where to go on; at the log's beginning where nothing is known. Raises LakeError for another topic's progress."""
    if known is None:
        return Progress(
            topic=place[0], partition=place[1], topic_uuid=fact.topic_uuid, first_offset=first, next_offset=first
        )
    if known.topic_uuid and fact.topic_uuid and known.topic_uuid != fact.topic_uuid:
        message = (
            f"topic {place[0]} has id {fact.topic_uuid}, the lake was made from {known.topic_uuid}: "
            "it is another topic of the same name; give it a lake of its own"
        )
        raise LakeError(message)
    if known.next_offset < first:
        message = (
            f"{place[0]}/{place[1]}: records [{known.next_offset}, {first}) left the log before they were archived; "
            f"set next_offset to {first} in the lake's progress file to go on without them"
        )
        raise LakeError(message)
    return known


def _raw(message: Message) -> RawEvent:
    _, append_at_ms = message.timestamp()
    stated = dict(message.headers() or [])
    headers = {name: value for name, value in stated.items() if isinstance(value, bytes)}
    return RawEvent(
        value=message.value(),
        headers=headers,
        key=message.key(),
        topic=str(message.topic()),
        partition=message.partition() or 0,
        offset=message.offset() or 0,
        append_at_us=append_at_ms * 1000,
    )


@contextmanager
def _consenting(settings: LakeSettings) -> Iterator[None]:
    """The file of consent follows the ledger meanwhile, if it is to."""
    if settings.tenants is None:
        yield
        return
    following = Consenting(settings.tenants, settings.consent, say=log.info)
    following.start(first_within_s=_CONSENT_WITHIN_S)
    try:
        yield
    finally:
        following.close()


def run(settings: LakeSettings, stop: Stop) -> None:
    """Archive until asked to stop."""
    pulse = Pulse(limit_s=60.0)
    with only_archive(settings.lake), _consenting(settings):
        kafka = LakeKafka(settings.kafka_bootstrap)
        try:
            archive = Archive(settings, stop, pulse)
            offsets = archive.open(kafka.facts([PRICED.name, RAW.name]))
            serve(settings.metrics_port, pulse)
            kafka.assign(offsets)
            log.info("reading on", extra={"facts": {"offsets": {f"{t}/{p}": o for (t, p), o in offsets.items()}}})
            while not stop.asked:
                archive.take(kafka.messages(records=_BATCH_RECORDS, wait_ms=_BATCH_WAIT_MS))
                pulse.beat()
                if archive.due():
                    archive.flush_when_there_is_room()
                for (topic, partition), lag in kafka.lag(archive.offsets()).items():
                    LAG.labels(topic, partition).set(lag)
            archive.flush_when_there_is_room()
        finally:
            kafka.close()


def main() -> int:
    """`python -m ledger.lake.archive`."""
    settings = LakeSettings.from_environment(os.environ)
    return run_supervised(lambda stop: run(settings, stop), log)


if __name__ == "__main__":
    sys.exit(main())
