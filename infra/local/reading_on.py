"""Where the writer reads on after a restore, and whether Kafka still has all that it is to read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
from confluent_kafka import KafkaException

from infra.local.layout import SUPERUSER
from ledger.kafka import KafkaSide
from tokenledger.records.topics import PRICED, REJECTED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from infra.local.layout import Layout


def reading_on(layout: Layout) -> Iterator[str]:
    """A line a partition; what retention has removed is named, for it is missing from then on."""
    try:
        with psycopg.connect(layout.dsn(SUPERUSER), autocommit=True, connect_timeout=2) as connection:
            rows = connection.execute("SELECT topic, partition, next_offset FROM offsets ORDER BY 1, 2").fetchall()
    except psycopg.OperationalError:
        yield "reading on    Postgres does not run; `make up` starts it and the writer"
        return
    try:
        kafka = KafkaSide(layout.kafka_bootstrap)
        facts = kafka.facts([PRICED.name, REJECTED.name])
        kafka.close()
    except KafkaException as error:
        yield f"reading on    Kafka does not answer: {error.args[0]}"
        return
    for topic, partition, offset in rows:
        first, end = facts[topic].spans[partition]
        yield f"reading on    {topic}/{partition} from {offset}, {max(end - offset, 0)} records"
        if offset < first:
            yield f"GONE          {first - offset} records of {topic}/{partition}: Kafka begins at {first} by now"
