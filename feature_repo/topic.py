"""llm.features.v1 as the pusher reads it: the last hour again after a start, then what follows."""

from typing import Final, NamedTuple

import msgspec
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from ledger.kafka import is_record
from tokenledger.records.features import FeatureWindow
from tokenledger.records.topics import FEATURES
from tokenledger.records.wire import decode_window

_TIMEOUT_S: Final = 10.0


class Read(NamedTuple):
    """One record."""

    partition: int
    offset: int
    window: FeatureWindow | None
    """None where the record is no window."""


class WindowTopic:
    """A consumer that is told where to read; it keeps its place under a group's name but never joins the group."""

    def __init__(self, bootstrap: str) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "tokenledger-pusher",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                # What retention has removed is too old for any view.
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 50,
                "queued.max.messages.kbytes": 16_384,
            }
        )
        self._next: dict[int, int] = {}
        self._new_from: dict[int, int] = {}
        self._behind: dict[int, int] = {}

    def open(self, *, since_us: int) -> None:
        """Begin where the log stood at that time, or where the last run left off if that is earlier.

        Raises KafkaException when Kafka does not answer.
        """
        listed = self._consumer.list_topics(FEATURES.name, timeout=_TIMEOUT_S).topics[FEATURES.name]
        if listed.error is not None:
            raise KafkaException(listed.error)
        numbers = sorted(listed.partitions)
        places = [TopicPartition(FEATURES.name, number) for number in numbers]
        since = [TopicPartition(FEATURES.name, number, since_us // 1000) for number in numbers]
        committed = {place.partition: place.offset for place in self._consumer.committed(places, timeout=_TIMEOUT_S)}
        at_time = {
            place.partition: place.offset for place in self._consumer.offsets_for_times(since, timeout=_TIMEOUT_S)
        }
        for number in numbers:
            low, high = self._consumer.get_watermark_offsets(TopicPartition(FEATURES.name, number), timeout=_TIMEOUT_S)
            begin = at_time[number] if at_time[number] >= 0 else high
            # A first run has no place of its own, and a topic made anew has nothing of the old one: all is new.
            self._new_from[number] = committed[number] if low <= committed[number] <= high else low
            self._next[number] = max(min(begin, self._new_from[number]), low)
            self._behind[number] = high
        self._consumer.assign([TopicPartition(FEATURES.name, number, at) for number, at in self._next.items()])

    @property
    def caught_up(self) -> bool:
        """Whether everything is read that was there at the start: before that, older minutes would overwrite newer."""
        return all(self._next[number] >= high for number, high in self._behind.items())

    def read(self, *, records: int, wait_s: float) -> list[Read]:
        """What came within the wait. Raises KafkaException for an error that will not pass by itself."""
        return [self._read(message) for message in self._consumer.consume(records, wait_s) if is_record(message)]

    def _read(self, message: Message) -> Read:
        partition, offset = message.partition() or 0, message.offset() or 0
        self._next[partition] = offset + 1
        try:
            return Read(partition, offset, decode_window(message.value() or b""))
        except msgspec.MsgspecError:
            return Read(partition, offset, None)

    def is_new(self, read: Read) -> bool:
        """Whether the history does not have it yet."""
        return read.offset >= self._new_from[read.partition]

    def place(self) -> dict[int, int]:
        """Partition → the offset that is read next."""
        return dict(self._next)

    def commit(self, place: dict[int, int]) -> None:
        """The history holds everything before this place. Raises KafkaException."""
        ahead = {number: at for number, at in place.items() if at > self._new_from[number]}
        if ahead:
            offsets = [TopicPartition(FEATURES.name, number, at) for number, at in ahead.items()]
            self._consumer.commit(offsets=offsets, asynchronous=False)
            self._new_from |= ahead

    def lag(self) -> int:
        """Records not yet read, by what the client knows without asking."""
        highs = {
            number: self._consumer.get_watermark_offsets(TopicPartition(FEATURES.name, number), cached=True)[1]
            for number in self._next
        }
        return sum(max(high - self._next[number], 0) for number, high in highs.items())

    def close(self) -> None:
        """Leave."""
        self._consumer.close()
