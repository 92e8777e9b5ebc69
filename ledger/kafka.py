"""Kafka as the writer and `verify` see it: where partitions begin and end, who the cluster is, records in batches."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient

from ledger.received import Received, decode_priced
from tokenledger.records import PricedCall, Reason, Rejected
from tokenledger.records.topics import PRICED
from tokenledger.records.wire import decode_rejected

_TIMEOUT_S = 10.0
_UUID_TIMEOUT_S = 3.0

Span = tuple[int, int]
"""First offset there is, and the offset the next record will get."""


class Read(NamedTuple):
    """One record as it was read."""

    topic: str
    partition: int
    offset: int
    value: bytes | None
    headers: Callable[[], dict[str, str | bytes | None] | list[tuple[str, str | bytes | None]] | None]
    """Asked only of rejected records."""


class TopicFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What tells one topic from another of the same name."""

    cluster_id: str
    """Id of the cluster; empty where it does not say."""
    topic_uuid: str
    """Id of the topic; empty where the cluster does not say."""
    spans: dict[int, Span]
    """Offsets of every partition."""


class KafkaSide:
    """A consumer that is told where to read, never a group."""

    def __init__(self, bootstrap: str) -> None:
        self._admin = AdminClient({"bootstrap.servers": bootstrap})
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                # librdkafka asks for a name; nothing is ever committed under it.
                "group.id": "tokenledger-ledger",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                # An offset that retention has removed is a loss, to be seen, not to be skipped.
                "auto.offset.reset": "error",
                # A fuller answer costs the broker less; at little load it waits a tenth of a second at most.
                "fetch.min.bytes": 65_536,
                "fetch.wait.max.ms": 100,
                "fetch.max.bytes": 32 * 1024 * 1024,
                "message.max.bytes": 32 * 1024 * 1024,
                "queued.max.messages.kbytes": 65_536,
            }
        )

    def facts(self, topics: Sequence[str]) -> dict[str, TopicFacts]:
        """The topics as the cluster describes them. Raises KafkaException if one is not there."""
        uuids = self._topic_uuids(topics)
        return {topic: self._facts(topic, uuids.get(topic, "")) for topic in topics}

    def _facts(self, topic: str, topic_uuid: str) -> TopicFacts:
        listed = self._consumer.list_topics(topic, timeout=_TIMEOUT_S)
        found = listed.topics[topic]
        if found.error is not None:
            raise KafkaException(found.error)
        spans = {
            number: self._consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=_TIMEOUT_S)
            for number in found.partitions
        }
        return TopicFacts(cluster_id=getattr(listed, "cluster_id", None) or "", topic_uuid=topic_uuid, spans=spans)

    def _topic_uuids(self, topics: Sequence[str]) -> dict[str, str]:
        described = self._admin.describe_topics(TopicCollection(list(topics)), request_timeout=_UUID_TIMEOUT_S)
        try:
            return {topic: str(answer.result().topic_id) for topic, answer in described.items()}
        except KafkaException as error:
            # Brokers without a controller to ask (librdkafka's own) and old ones give topics no id.
            if error.args[0].code() in {KafkaError._TIMED_OUT, KafkaError._UNSUPPORTED_FEATURE}:  # noqa: SLF001  (so the client names its own errors)
                return {}
            raise

    def assign(self, offsets: dict[tuple[str, int], int]) -> None:
        """Read on from here."""
        self._consumer.assign([TopicPartition(*place, offset) for place, offset in sorted(offsets.items())])

    def batch(self, *, records: int, wait_ms: int) -> list[Read]:
        """What came within the wait. Raises KafkaException for an error that will not pass by itself."""
        return [_read(message) for message in self._consumer.consume(records, wait_ms / 1000) if is_record(message)]

    def lag(self, offsets: dict[tuple[str, int], int]) -> dict[tuple[str, int], int]:
        """Records not yet read, by what the client knows without asking."""
        lags = {}
        for place, offset in offsets.items():
            _, high = self._consumer.get_watermark_offsets(TopicPartition(*place), cached=True)
            lags[place] = max(high - offset, 0) if high >= 0 else 0
        return lags

    def close(self) -> None:
        """Leave."""
        self._consumer.close()


def is_record(message: Message) -> bool:
    """Whether it is one, not the client's word that nothing came. Raises KafkaException for an error that stays."""
    error = message.error()
    if error is None:
        return True
    if error.fatal() or error.code() in {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE}:  # noqa: SLF001
        raise KafkaException(error)
    return False  # a broker that is away comes back; the client keeps trying


def _read(message: Message) -> Read:
    # A record that was consumed has all three.
    return Read(str(message.topic()), message.partition() or 0, message.offset() or 0, message.value(), message.headers)


def received(read: Read) -> Received:
    """What was read, decoded; what cannot be is rejected at the place it was read from."""
    return Received(read.topic, read.partition, read.offset, _decoded(read))


def _decoded(read: Read) -> PricedCall | Rejected:
    try:
        return decode_priced(read.value or b"") if read.topic == PRICED.name else _rejected(read)
    except (msgspec.MsgspecError, ValueError) as error:
        return Rejected(
            reason=Reason.INTERNAL_ERROR,
            stage="store",
            detail=f"{read.topic}: {type(error).__name__}; expected a record as tokenledger.records.wire writes it",
            topic=read.topic,
            partition=read.partition,
            offset=read.offset,
        )


def _rejected(read: Read) -> Rejected:
    headers = dict(read.headers() or [])
    return decode_rejected({name: value for name, value in headers.items() if isinstance(value, bytes)})
