"""A ledger under test: feeds it batches, and reads back all that must not depend on order."""

from collections.abc import Iterable
from typing import Any

import psycopg

from ledger import store
from ledger.batching import Done, apply
from ledger.database import Connection
from ledger.received import Received, decode_priced
from ledger.state import State
from tests.ledger.samples import NOW_US
from tokenledger.records import PricedCall, Rejected
from tokenledger.records.wire import encode_priced

PLACE = ("llm.priced.v1", 0)


def through_the_wire(one: Received) -> Received:
    """What the writer gets to see of a record."""
    record = one.record
    seen = decode_priced(encode_priced(record)) if isinstance(record, PricedCall) else record
    return Received(one.topic, one.partition, one.offset, seen)


class Books:
    """A writer's view of one database, without Kafka."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        connection.execute(
            "INSERT INTO offsets (topic, partition, next_offset) VALUES (%s, %s, 0) ON CONFLICT DO NOTHING", PLACE
        )
        store.prepare(connection, synchronous_commit="off")
        self.state: State = store.load_state(connection)
        self.batches = 0
        self.now_us = NOW_US
        """Batches are posted after this instant."""

    def write(self, *records: PricedCall | Rejected, part_records: int = 1_000) -> Done:
        """One batch, in parts of so many records."""
        first = self.state.offsets[PLACE]
        received = [Received(*PLACE, first + index, record) for index, record in enumerate(records)]
        self.batches += 1
        return apply(
            self.connection,
            self.state,
            received,
            decode=through_the_wire,
            now_us=self.now_us + self.batches,
            part_records=part_records,
        )

    def all(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of a query."""
        return self.connection.execute(statement.encode(), values).fetchall()

    def contents(self) -> dict[str, Any]:
        """What any order of arrival must give: winners, witnesses, sums, outcomes."""
        return {
            "calls": self.all(
                "SELECT tenant_id, encode(fingerprint, 'hex'), id_reuse, known_cost_usd_pico FROM calls ORDER BY 1, 2"
            ),
            "witnesses": self.all(
                "SELECT encode(c.fingerprint, 'hex'), encode(w.fingerprint, 'hex') "
                "FROM witnesses w JOIN calls c USING (call_id) ORDER BY 1, 2"
            ),
            "lines": self.all(
                "SELECT tenant_id, meter, sum(quantity), sum(amount_usd_pico) FROM lines JOIN rates USING (rate_no) "
                "GROUP BY 1, 2 HAVING sum(quantity) <> 0 ORDER BY 1, 2"
            ),
            "rollups": self.all(
                "SELECT bucket_start, tenant_id, feature, meter, sum(calls), sum(incomplete_calls), sum(quantity), "
                "sum(amount_usd_pico) FROM rollups GROUP BY 1, 2, 3, 4 "
                "HAVING sum(calls) <> 0 OR sum(quantity) <> 0 ORDER BY 1, 2, 3, 4"
            ),
            "latency": self.all(
                "SELECT bucket_start, tenant_id, metric, bucket, sum(n) FROM latency_histograms "
                "GROUP BY 1, 2, 3, 4 HAVING sum(n) <> 0 ORDER BY 1, 2, 3, 4"
            ),
            "outcomes": self.all("SELECT sum(winners), sum(losers), sum(duplicates), sum(rejected) FROM origins"),
        }


def rejected_by_postgres(error: BaseException) -> bool:
    """Whether Postgres refused a value."""
    return isinstance(error, psycopg.DataError | psycopg.IntegrityError)


def written(books: Books, batches: Iterable[Iterable[PricedCall]]) -> dict[str, Any]:
    """The contents after these batches."""
    for batch in batches:
        books.write(*batch)
    return books.contents()
