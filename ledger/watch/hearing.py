"""The raw topic, as far as who sent what and when: headers only, the values are looked at by nobody."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Consumer, KafkaException, Message, TopicPartition

from ledger.kafka import Span, is_record
from tokenledger.records.topics import RAW

_ANSWER_WITHIN_S: Final = 10.0
_AHEAD_US: Final = 2_000_000
"""How far a partition may be read ahead of another, by when the log took its records."""
_MOST_CHARACTERS: Final = 256
_MOST_DIGITS: Final = 18
"""What surely fits an int64, and what `normalise` takes."""
_WANTED: Final = frozenset({"ce_source", "ce_epoch", "ce_sequence", "ce_id", "ce_tenantid", "attempt_no"})

Place = tuple[str, int]
"""Topic and partition."""


class Heard(NamedTuple):
    """A record of the raw topic."""

    tenant_id: str
    """The tenant; empty where it does not say."""
    ce_source: str
    """Who sent it, without the epoch it may end in; empty where it does not say."""
    epoch: str | None
    """The epoch its number is of, where it says."""
    number: int | None
    """Its number, where it has one."""
    event_id: str
    """CloudEvents id."""
    append_at_us: int
    """When the log took it, µs UTC."""
    again: bool
    """Whether it is sent again by `tokenledger rejected replay`: its source has not spoken."""


def heard(headers: Iterable[tuple[str, str | bytes | None]], append_at_us: int) -> Heard:
    """What the headers say; anything may stand in them."""
    found = {name: value for name, value in headers if name in _WANTED}
    source, epoch = _text(found.get("ce_source")), _text(found.get("ce_epoch"))
    if epoch and source.endswith(f"/{epoch}"):
        source = source[: -len(epoch) - 1]
    number = found.get("ce_sequence")
    digits = number if isinstance(number, bytes) else b""
    return Heard(
        _text(found.get("ce_tenantid")),
        source,
        # A leading tilde is how guessed epochs are told from stated ones.
        epoch.lstrip("~") or None,
        int(digits) if digits.isdigit() and len(digits) <= _MOST_DIGITS else None,
        _text(found.get("ce_id")),
        append_at_us,
        "attempt_no" in found,
    )


def _text(header: str | bytes | None) -> str:
    """As the ledger has it of a rejected record: bounded, without what no text column takes."""
    if header is None:
        return ""
    text = header.decode("utf-8", "replace") if isinstance(header, bytes) else header
    return text.replace("\0", "\ufffd")[:_MOST_CHARACTERS].strip()


class Batch(NamedTuple):
    """What was read."""

    records: list[Heard]
    """The records."""
    reached: dict[Place, int]
    """Offset to read on from, of the partitions they are of."""


class Ear:
    """A consumer of the raw topic that is told where to read, never a group."""

    def __init__(self, bootstrap: str) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                # librdkafka asks for a name; nothing is ever committed under it.
                "group.id": "tokenledger-watch",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "fetch.min.bytes": 65_536,
                "fetch.wait.max.ms": 100,
                "queued.max.messages.kbytes": 16_384,
                # Little at a time of each partition: what one producer sent comes nearly in its order.
                "max.partition.fetch.bytes": 262_144,
                "log_level": 3,
            }
        )

        self._at: dict[Place, int] = {}
        self._reached: dict[Place, int] = {}
        self._paused: set[Place] = set()

    def spans(self, topic: str = RAW.name) -> dict[Place, Span]:
        """First and next offset of every partition. Raises KafkaException."""
        listed = self._consumer.list_topics(topic, timeout=_ANSWER_WITHIN_S).topics[topic]
        if listed.error is not None:
            raise KafkaException(listed.error)
        places = [TopicPartition(topic, number) for number in listed.partitions]
        asked = [(one, self._consumer.get_watermark_offsets(one, timeout=_ANSWER_WITHIN_S)) for one in places]
        return {(topic, one.partition): span for one, span in asked if span is not None}

    def assign(self, offsets: dict[Place, int]) -> None:
        """Read on from here."""
        self._at = dict.fromkeys(offsets, 0)
        self._reached = dict(offsets)
        self._paused = set()
        self._consumer.assign([TopicPartition(*place, offset) for place, offset in sorted(offsets.items())])

    def batch(self, *, records: int, wait_s: float) -> Batch:
        """What came within the wait. Raises KafkaException for an error that stays."""
        messages = [message for message in self._consumer.consume(records, wait_s) if is_record(message)]
        found = [_heard(message) for message in messages]
        reached: dict[Place, int] = {}
        for message, record in zip(messages, found, strict=True):
            place = message.topic() or "", message.partition() or 0
            reached[place] = (message.offset() or 0) + 1
            self._at[place] = record.append_at_us
        self._reached |= reached
        self._keep_together()
        return Batch(found, reached)

    def _keep_together(self) -> None:
        """A partition that is ahead waits for those behind, or a backlog would look like losses."""
        ends = {place: self._consumer.get_watermark_offsets(TopicPartition(*place), cached=True) for place in self._at}
        waiting = [self._at[place] for place, span in ends.items() if span and self._reached[place] < span[1]]
        front_us = min(waiting, default=0)
        ahead = {place for place, at_us in self._at.items() if waiting and at_us > front_us + _AHEAD_US}
        if changed := ahead - self._paused:
            self._consumer.pause([TopicPartition(*place) for place in changed])
        if changed := self._paused - ahead:
            self._consumer.resume([TopicPartition(*place) for place in changed])
        self._paused = ahead

    def appended_before(self, at_us: int, partitions: Iterable[int]) -> dict[Place, int]:
        """Per partition the end of what was appended before that instant. Raises KafkaException."""
        asked = [TopicPartition(RAW.name, number, at_us // 1000) for number in partitions]
        answered = self._consumer.offsets_for_times(asked, timeout=_ANSWER_WITHIN_S)
        # A negative offset means that nothing was appended since: all there is came before.
        return {(one.topic, one.partition): one.offset for one in answered}

    def close(self) -> None:
        """Leave."""
        self._consumer.close()


def _heard(message: Message) -> Heard:
    kind, at_ms = message.timestamp()
    headers = message.headers() or []
    pairs = headers.items() if isinstance(headers, dict) else headers
    return heard(pairs, 0 if kind == TIMESTAMP_NOT_AVAILABLE else at_ms * 1000)
