"""Reads the raw topic as it is: where each record of the run lies, and when the log took it."""

import time
from collections.abc import Mapping
from typing import Any, Final

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Message, TopicPartition

from tests.faults.journal import Logged

TOPIC: Final = "llm.raw.v1"
_ANSWER_WITHIN_S: Final = 30.0
_SILENT_FOR_S: Final = 60.0


def ends(bootstrap: str) -> dict[int, int]:
    """Where each partition ends now."""
    return {partition: end for partition, (_, end) in _watermarks(bootstrap).items()}


def _consumer(bootstrap: str) -> Consumer:
    settings: dict[str, Any] = {
        "bootstrap.servers": bootstrap,
        "group.id": "faults-check",
        "enable.auto.commit": False,
        "enable.partition.eof": False,
        "log_level": 0,
    }
    return Consumer(settings)


def _watermarks(bootstrap: str) -> dict[int, tuple[int, int]]:
    consumer = _consumer(bootstrap)
    try:
        listed = consumer.list_topics(TOPIC, timeout=_ANSWER_WITHIN_S).topics[TOPIC].partitions
        return {
            partition: consumer.get_watermark_offsets(TopicPartition(TOPIC, partition), timeout=_ANSWER_WITHIN_S)
            for partition in listed
        }
    finally:
        consumer.close()


def read(bootstrap: str, begin: Mapping[int, int]) -> tuple[list[Logged], dict[int, int]]:
    """Every record of the run from these offsets on, and where the partitions end."""
    spans = _watermarks(bootstrap)
    wanted = {partition: end for partition, (start, end) in spans.items() if max(start, begin.get(partition, 0)) < end}
    consumer = _consumer(bootstrap)
    try:
        consumer.assign([TopicPartition(TOPIC, one, begin.get(one) or OFFSET_BEGINNING) for one in wanted])
        return _until(consumer, wanted), {partition: end for partition, (_, end) in spans.items()}
    finally:
        consumer.close()


def _until(consumer: Consumer, wanted: dict[int, int]) -> list[Logged]:
    left = dict(wanted)
    found = []
    heard_s = time.monotonic()
    while left:
        for message in consumer.consume(5_000, timeout=1.0):
            error = message.error()
            if error is not None:
                raise KafkaException(error)
            heard_s = time.monotonic()
            partition, offset = message.partition() or 0, message.offset() or 0
            n = _number(message)
            if n is not None:
                found.append(Logged(partition, offset, message.timestamp()[1] * 1000, n))
            if partition in left and offset >= left[partition] - 1:
                del left[partition]
        if time.monotonic() - heard_s > _SILENT_FOR_S:
            message_text = f"the log went silent before its end: {left} are still to come"
            raise TimeoutError(message_text)
    return found


def _number(message: Message) -> int | None:
    value = dict(message.headers() or ()).get("faults_n")
    return int(value) if isinstance(value, bytes) else None
