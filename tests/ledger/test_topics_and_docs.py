"""Offsets of another topic are refused; what the docs tell people to type works."""

import re
from pathlib import Path

import psycopg
import pytest

from ledger.kafka import TopicFacts
from ledger.private_postgres import Server
from ledger.topics import CutLogError, OtherTopicError, register_topics
from ledger.verify import verify
from tests.ledger.books import Books
from tests.ledger.samples import RAW, call, priced

pytestmark = pytest.mark.slow

_DOCS = Path(__file__).parents[2] / "docs"


def _facts(*, cluster: str = "c1", topic: str = "t1", end: int = 3) -> dict[str, TopicFacts]:
    return {RAW: TopicFacts(cluster_id=cluster, topic_uuid=topic, spans={0: (1, end)})}


def test_the_first_look_notes_where_the_log_begins(books: Books) -> None:
    register_topics(books.connection, _facts(), consumed=())
    register_topics(books.connection, _facts(), consumed=())
    assert books.all("SELECT partition, first_offset, topic_uuid FROM origins") == [(0, 1, "t1")]


@pytest.mark.parametrize("changed", [{"cluster": "c2"}, {"topic": "t2"}])
def test_offsets_of_another_cluster_or_topic_are_refused(books: Books, changed: dict[str, str]) -> None:
    register_topics(books.connection, _facts(), consumed=())
    with pytest.raises(OtherTopicError, match="start an empty ledger"):
        register_topics(books.connection, _facts(**changed), consumed=())  # type: ignore[arg-type]


def test_what_the_client_could_not_tell_is_noted_later_and_held_then(books: Books) -> None:
    register_topics(books.connection, _facts(cluster="", topic=""), consumed=())
    register_topics(books.connection, _facts(), consumed=())
    with pytest.raises(OtherTopicError):
        register_topics(books.connection, _facts(topic="t2"), consumed=())


def test_a_log_that_ends_before_what_was_read_of_it_is_refused(books: Books) -> None:
    """A broker without replicas that lost its power: the numbers it gives anew would be skipped."""
    register_topics(books.connection, _facts(end=9), consumed=(RAW,))
    books.connection.execute("UPDATE offsets SET next_offset = 7")
    with pytest.raises(CutLogError, match="the log ends at 6, and the ledger has read up to 7"):
        register_topics(books.connection, _facts(end=6), consumed=(RAW,))


class _Kafka:
    """A cluster of which only the ends of the topics are asked."""

    def facts(self, topics: list[str]) -> dict[str, TopicFacts]:
        """The raw topic alone."""
        return {topic: fact for topic, fact in _facts().items() if topic in topics}


def test_verify_compares_what_was_seen_with_the_end_of_the_log(books: Books) -> None:
    register_topics(books.connection, _facts(), consumed=())
    books.write(priced(call(), offset=1))
    assert [str(difference) for difference in verify(books.connection, _Kafka())] == [
        "raw records without outcome: llm.raw.v1/0 offsets [2, 3): expected 1, found 0"
    ]
    books.write(priced(call(), offset=2))
    assert verify(books.connection, _Kafka()) == []


def test_the_sql_of_the_docs_runs(server: Server, database: str, books: Books) -> None:
    books.write(priced(call(), offset=0))
    blocks = re.findall(r"```sql\n(.*?)```", (_DOCS / "query_costs.md").read_text("utf-8"), re.DOTALL)
    with psycopg.connect(server.dsn("postgres", database)) as admin:
        results = [admin.execute(block.encode()).rownumber for block in blocks]
        admin.rollback()
    assert len(results) == 4
