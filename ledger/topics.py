"""Which topics a ledger belongs to: noted on first sight, compared ever after."""

from collections.abc import Sequence
from typing import Final

from ledger.database import Connection
from ledger.kafka import TopicFacts


class OtherTopicError(Exception):
    """The offsets in the ledger are of another cluster or another topic of that name."""


class CutLogError(Exception):
    """A log ends before what the ledger has read of it."""


def register_topics(connection: Connection, facts: dict[str, TopicFacts], *, consumed: Sequence[str]) -> None:
    """Note new partitions; refuse a topic that is not the one the ledger knows.

    Consumed topics start at the beginning of their log; of the others (the raw topic) that beginning is noted, since
    from there on every offset must get an outcome.
    """
    with connection.transaction():
        for topic, fact in facts.items():
            for partition, (first, _) in sorted(fact.spans.items()):
                if topic in consumed:
                    _note_offset(connection, (topic, partition, first, fact.cluster_id, fact.topic_uuid))
                else:
                    _note_origin(connection, (topic, partition, first, fact.cluster_id, fact.topic_uuid))
            _compare(connection, topic, fact)
            _refuse_cut(connection, topic, fact=fact)
            _fill_blanks(connection, topic, fact)


def _note_offset(connection: Connection, row: tuple[str, int, int, str, str]) -> None:
    connection.execute("INSERT INTO offsets VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING", row)


def _note_origin(connection: Connection, row: tuple[str, int, int, str, str]) -> None:
    connection.execute(
        "INSERT INTO origins (topic, partition, first_offset, cluster_id, topic_uuid) VALUES (%s, %s, %s, %s, %s) "
        "ON CONFLICT DO NOTHING",
        row,
    )


def _compare(connection: Connection, topic: str, fact: TopicFacts) -> None:
    rows = connection.execute(
        "SELECT partition, cluster_id, topic_uuid FROM offsets WHERE topic = %s "
        "UNION ALL SELECT partition, cluster_id, topic_uuid FROM origins WHERE topic = %s",
        (topic, topic),
    )
    for partition, cluster_id, topic_uuid in rows:
        for what, known, found in (
            ("cluster", cluster_id, fact.cluster_id),
            ("topic", topic_uuid, fact.topic_uuid),
        ):
            if known and found and known != found:
                message = (
                    f"{topic}/{partition}: the ledger's offsets are of {what} {known}, this is {found}; "
                    "connect to the right cluster, or start an empty ledger and replay"
                )
                raise OtherTopicError(message)


def _refuse_cut(connection: Connection, topic: str, *, fact: TopicFacts) -> None:
    """What comes next would get offsets that were read before, and be skipped."""
    for partition, next_offset in connection.execute(_READ, (topic,)):
        _, end = fact.spans.get(partition, (0, next_offset))
        if end < next_offset:
            message = (
                f"{topic}/{partition}: the log ends at {end}, and the ledger has read up to {next_offset}: "
                "the broker lost what it had acknowledged; send nothing more to it and replay into an empty ledger"
            )
            raise CutLogError(message)


_READ: Final = "SELECT partition, next_offset FROM offsets WHERE topic = %s"


def _fill_blanks(connection: Connection, topic: str, fact: TopicFacts) -> None:
    """What the client could not tell the first time."""
    values = (fact.cluster_id, fact.topic_uuid, topic)
    for statement in (_FILL_OFFSETS, _FILL_ORIGINS):
        connection.execute(statement, values)


_FILL_OFFSETS: Final = """
UPDATE offsets SET cluster_id = coalesce(nullif(cluster_id, ''), %s), topic_uuid = coalesce(nullif(topic_uuid, ''), %s)
WHERE topic = %s
"""
_FILL_ORIGINS: Final = """
UPDATE origins SET cluster_id = coalesce(nullif(cluster_id, ''), %s), topic_uuid = coalesce(nullif(topic_uuid, ''), %s)
WHERE topic = %s
"""
