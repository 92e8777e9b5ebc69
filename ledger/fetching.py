"""Single records, read where they stand in Kafka."""

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Final, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from ledger.kafka import Span

_ANSWER_WITHIN_S: Final = 10.0
_READ_THROUGH: Final = 2_000
"""A gap of so many records is read through; beyond it a jump is quicker."""


class Place(NamedTuple):
    """Where a record stands."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"

    @classmethod
    def parse(cls, text: str) -> "Place":
        """The reverse of `str`. Raises ValueError."""
        topic, *numbers = text.rsplit("/", 2)
        if len(numbers) != 2 or not all(number.isdecimal() for number in numbers):  # noqa: PLR2004  (both of them)
            message = f"{text!r} is no place; TOPIC/PARTITION/OFFSET would be right, such as llm.rejected.v1/0/17"
            raise ValueError(message)
        return cls(topic, *map(int, numbers))


class Kept(NamedTuple):
    """A record as the log keeps it."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


class Fetcher:
    """Reads records by place; close it when done."""

    def __init__(self, bootstrap: str) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                # librdkafka asks for a name; nothing is ever committed under it.
                "group.id": "tokenledger-rejected",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "message.max.bytes": 32 * 1024 * 1024,
                "fetch.max.bytes": 32 * 1024 * 1024,
                "log_level": 3,
            }
        )

    def close(self) -> None:
        """Leave."""
        self._consumer.close()

    def fetch(self, places: Iterable[Place]) -> Iterator[tuple[Place, Kept | None]]:
        """Each place and its record; None where the log no longer has it. Raises KafkaException."""
        for (topic, partition), wanted in groupby(sorted(set(places)), key=lambda place: place[:2]):
            low, high = self._span(topic, partition)
            at = -_READ_THROUGH
            for place in wanted:
                if not low <= place.offset < high:
                    yield place, None
                    continue
                if place.offset - at >= _READ_THROUGH:
                    self._consumer.assign([TopicPartition(*place)])
                message = self._read_to(place)
                at = place.offset + 1
                yield place, _kept(message) if message.offset() == place.offset else None

    def _span(self, topic: str, partition: int) -> Span:
        """First and next offset; an empty span where the topic was made anew with fewer partitions."""
        listed = self._consumer.list_topics(topic, timeout=_ANSWER_WITHIN_S).topics[topic]
        if listed.error is not None:
            raise KafkaException(listed.error)
        if partition not in listed.partitions:
            return 0, 0
        place = TopicPartition(topic, partition)
        return self._consumer.get_watermark_offsets(place, timeout=_ANSWER_WITHIN_S) or (0, 0)

    def _read_to(self, place: Place) -> Message:
        """The record at the place, or the first after it."""
        while True:
            message = self._consumer.poll(_ANSWER_WITHIN_S)
            if message is None:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"no answer for {place}"))  # noqa: SLF001
            if (error := message.error()) is not None:
                raise KafkaException(error)
            if (message.offset() or 0) >= place.offset:
                return message


def _kept(message: Message) -> Kept:
    key = message.key()
    headers = [(name, text if isinstance(text, bytes) else b"") for name, text in dict(message.headers() or []).items()]
    return Kept(key.encode() if isinstance(key, str) else key, message.value(), tuple(headers))
