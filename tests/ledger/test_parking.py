"""Rejected records that are set aside: out of replays, back when their time is over, never gone."""

from collections.abc import Iterator

import pytest

from ledger import parking, rejected
from ledger.database import Connection, connect
from ledger.private_postgres import Server
from ledger.rejected import Verdict, Wanted, judge
from tests.ledger.books import Books
from tests.ledger.samples import NOW_US
from tokenledger.process import default_context
from tokenledger.records import Reason, Rejected
from tokenledger.records.topics import RAW

pytestmark = pytest.mark.slow
_OLD = Wanted(ce_source="/old")
_ENDLESS_US = 2**62


@pytest.fixture
def keeper(server: Server, database: str, books: Books) -> Iterator[Connection]:
    """Three rejected records, two of one producer, and whoever may park them."""
    books.write(
        *(
            Rejected(
                reason=Reason.UNKNOWN_SHAPE, topic=RAW.name, partition=0, offset=offset, tenant_id="acme",
                event_id=f"e{offset}", append_at_us=NOW_US, ce_source=source,
            )
            for offset, source in enumerate(("/old", "/old", "/new"))
        )
    )  # fmt: skip
    with connect(server.settings(database, user="keeper"), application="test") as connection:
        yield connection


def states(connection: Connection) -> list[str | None]:
    return [entry.parked for entry in rejected.entries(connection, Wanted(), most=10)]


def test_parked_records_are_told_apart_counted_and_taken_back(keeper: Connection) -> None:
    assert parking.park(keeper, _OLD, reason="their team mends it", who="ann", until_us=None) == 2
    assert states(keeper) == ["their team mends it", "their team mends it", None]
    assert len(rejected.entries(keeper, Wanted(parked=True), most=10)) == 2
    assert [
        (group.values, group.records, group.parked) for group in rejected.groups(keeper, Wanted(), by=["producer"])
    ] == [
        (("/old",), 2, 2),
        (("/new",), 1, 0),
    ]
    assert parking.unpark(keeper, _OLD, reason="mended", who="bob") == 2
    assert states(keeper) == [None, None, None]


def test_parking_twice_changes_nothing_and_both_ways_are_in_the_audit_log(keeper: Connection, books: Books) -> None:
    changes = [parking.park(keeper, _OLD, reason="why", who="ann", until_us=_ENDLESS_US) for _ in range(2)]
    assert changes == [2, 0]
    parking.unpark(keeper, _OLD, reason="mended", who="bob")
    assert parking.unpark(keeper, _OLD, reason="mended", who="bob") == 0
    logged = books.all(
        "SELECT action, detail ->> 'who', detail ->> 'reason', detail -> 'records' FROM audit_log ORDER BY 1"
    )
    assert logged == [("park rejected", "ann", "why", 2), ("unpark rejected", "bob", "mended", 2)]


def test_a_record_whose_time_of_parking_is_over_is_like_any_other(keeper: Connection) -> None:
    parking.park(keeper, _OLD, reason="until then", who="ann", until_us=NOW_US - 1)
    assert states(keeper) == [None, None, None]


def test_a_parked_record_is_left_alone_by_a_replay(keeper: Connection) -> None:
    parking.park(keeper, _OLD, reason="not now", who="ann", until_us=None)
    entry = rejected.entries(keeper, _OLD, most=1)[0]
    judged = judge(entry, None, context=default_context(), most_attempts=3)
    assert judged.verdict is Verdict.PARKED


@pytest.mark.parametrize("by", [["reason", "producer"], ["tenant", "hour"], ["month", "day", "minute", "attempt"]])
def test_a_record_is_of_the_group_that_the_ledger_counts_it_in(keeper: Connection, by: list[str]) -> None:
    counted = {group.values: group.records for group in rejected.groups(keeper, Wanted(), by=by)}
    found = [rejected.group_of(entry, by) for entry in rejected.entries(keeper, Wanted(), most=10)]
    assert {group: found.count(group) for group in found} == counted
