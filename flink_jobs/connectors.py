"""Kafka topics as Flink tables: bytes in, bytes out, with the metadata that says where they stood.

Nothing is decoded here: a deserialiser that throws would fail the job, and has no dead letters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenledger.records.topics import FEATURES, PRICED, RAW, REJECTED, Topic

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flink_jobs.settings import Settings

# A rejected record is the raw one plus our headers, and a priced one may outgrow its origin.
_LARGEST_REQUEST_BYTES = 32 * 1024 * 1024


def statements(settings: Settings) -> tuple[str, ...]:
    """The tables of price_job."""
    return (
        source(settings, RAW),
        sink(settings, "priced_calls", topic=PRICED),
        sink(settings, "rejected_records", topic=REJECTED),
    )


def window_statements(settings: Settings, *, since_ms: int) -> tuple[str, ...]:
    """The tables of windows_job. Without a checkpoint it reads what was appended since then."""
    started = {"scan.startup.mode": "timestamp", "scan.startup.timestamp-millis": str(since_ms)}
    # Partitions are read in turn, so that after a pause none of them runs far ahead.
    options = _reading(settings, PRICED) | started | {"properties.max.partition.fetch.bytes": "262144"}
    columns = """
        record_value BYTES,
        record_partition INT METADATA FROM 'partition' VIRTUAL,
        arrived AS PROCTIME()"""
    quick = {"properties.linger.ms": "5"}
    return (
        _table("priced_calls", columns, options),
        _table("feature_windows", "record_key BYTES, record_value BYTES", _writing(settings, FEATURES) | quick),
    )


def source(settings: Settings, topic: Topic) -> str:
    """Goes on from the group's committed offsets, from the beginning if there are none."""
    options = _reading(settings, topic) | {
        "scan.startup.mode": "group-offsets",
        "properties.auto.offset.reset": "earliest",
        "key.format": "raw",
        "key.fields": "record_key",
        "value.fields-include": "EXCEPT_KEY",
    }
    columns = """
        record_key BYTES,
        record_value BYTES,
        record_headers MAP<STRING, BYTES> METADATA FROM 'headers' VIRTUAL,
        record_partition INT METADATA FROM 'partition' VIRTUAL,
        record_offset BIGINT METADATA FROM 'offset' VIRTUAL,
        append_at TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL"""
    return _table("raw_events", columns, options)


def sink(settings: Settings, name: str, *, topic: Topic) -> str:
    """A table of records with headers."""
    columns = """
        record_key BYTES,
        record_value BYTES,
        record_headers MAP<STRING, BYTES> METADATA FROM 'headers'"""
    return _table(name, columns, _writing(settings, topic))


def _reading(settings: Settings, topic: Topic) -> dict[str, str]:
    return {
        "connector": "kafka",
        "topic": topic.name,
        "properties.bootstrap.servers": settings.kafka_bootstrap,
        "properties.group.id": settings.consumer_group,
        # A fuller answer costs the broker less; at little load it waits a tenth of a second at most.
        "properties.fetch.min.bytes": "65536",
        "properties.fetch.max.wait.ms": "100",
        "properties.max.poll.records": "2000",
        "value.format": "raw",
    }


def _writing(settings: Settings, topic: Topic) -> dict[str, str]:
    """At least once: what was sent is flushed before a checkpoint is complete."""
    return {
        "connector": "kafka",
        "topic": topic.name,
        "properties.bootstrap.servers": settings.kafka_bootstrap,
        "key.format": "raw",
        "key.fields": "record_key",
        "value.format": "raw",
        "value.fields-include": "EXCEPT_KEY",
        "sink.delivery-guarantee": "at-least-once",
        "properties.acks": "all",
        "properties.compression.type": "lz4",
        "properties.linger.ms": "50",
        "properties.batch.size": "262144",
        "properties.buffer.memory": str(2 * _LARGEST_REQUEST_BYTES),
        "properties.max.request.size": str(_LARGEST_REQUEST_BYTES),
        # A broker that is away stops the line; only then does the job restart, from its offsets.
        "properties.delivery.timeout.ms": "120000",
    }


def _table(name: str, columns: str, options: Mapping[str, str]) -> str:
    listed = ",\n".join(f"        '{key}' = '{value}'" for key, value in options.items())
    return f"CREATE TEMPORARY TABLE {name} ({columns}\n    ) WITH (\n{listed}\n    )"
