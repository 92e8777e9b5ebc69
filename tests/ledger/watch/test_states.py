"""What is wrong, found in a real Postgres: shares, delays, and what parking takes out of them."""

from collections.abc import Iterator
from typing import cast

import msgspec
import pytest

from ledger import parking
from ledger.compact import compact
from ledger.database import Connection, connect
from ledger.private_postgres import Server
from ledger.rejected import Wanted
from ledger.watch import states, store
from ledger.watch.alerting import Finding
from ledger.watch.hearing import Heard
from ledger.watch.settings import Limits
from tests.ledger.books import Books
from tests.ledger.samples import NOW_US, call, priced
from tokenledger.records import Reason, Rejected
from tokenledger.records.topics import RAW

pytestmark = pytest.mark.slow
LIMITS = Limits.from_environment({"TOKENLEDGER_WATCH_REJECT_RATIO": "0.1", "TOKENLEDGER_WATCH_REJECT_RECORDS": "20"})
_MIN_US = 60_000_000


class Watched:
    """A ledger and its watcher, without Kafka."""

    def __init__(self, books: Books, watcher: Connection, keeper: Connection) -> None:
        self.books, self.watcher, self.keeper = books, watcher, keeper
        self.offset = 0

    def hear(self, count: int, *, at_us: int = NOW_US, source: str = "/app", epoch: str | None = None) -> None:
        """Records on the raw topic."""
        records = [Heard("acme", source, epoch, None, f"e{number}", at_us, again=False) for number in range(count)]
        with self.watcher.transaction():
            store.note(self.watcher, records, watching_since_us=0, now_us=at_us)

    def refuse(self, count: int, *, at_us: int = NOW_US, source: str = "/app") -> None:
        """Records that the stream rejected."""
        rejected = [
            Rejected(
                reason=Reason.UNKNOWN_SHAPE, topic=RAW.name, partition=0, offset=self.offset + number,
                tenant_id="acme", append_at_us=at_us, ce_source=source,
            )
            for number in range(count)
        ]  # fmt: skip
        self.offset += count
        self.books.write(*rejected)

    def rejects(self, now_us: int = NOW_US) -> list[Finding]:
        """What is found."""
        touched = store.note_rejected(self.watcher)
        return states.rejects(self.watcher, LIMITS, touched=touched, now_us=now_us)


@pytest.fixture
def watched(server: Server, database: str, books: Books) -> Iterator[Watched]:
    with (
        connect(server.settings(database, user="watcher"), application="test") as watcher,
        connect(server.settings(database, user="keeper"), application="test") as keeper,
    ):
        yield Watched(books, watcher, keeper)


@pytest.mark.parametrize(("bad", "opens"), [(1, None), (2, False), (3, False), (4, True)])
def test_a_share_of_rejects_opens_at_its_threshold_and_stays_down_to_half_of_it(
    watched: Watched, bad: int, *, opens: bool | None
) -> None:
    watched.hear(40)
    watched.refuse(bad)
    assert [finding.opens for finding in watched.rejects()] == ([] if opens is None else [opens])


def test_few_records_open_no_alert(watched: Watched) -> None:
    watched.hear(19)
    watched.refuse(19)
    assert watched.rejects() == []


def test_a_share_is_of_one_tenant_and_source_and_of_the_window(watched: Watched) -> None:
    watched.hear(1_000, source="/good")
    watched.hear(20)
    watched.refuse(5)
    watched.hear(1_000, at_us=NOW_US - 16 * _MIN_US)
    (finding,) = watched.rejects()
    assert finding.subject == ("rejects", "tenant acme, source /app")
    assert finding.summary.startswith("5 of 20 records rejected (25.0%) in 15 min")
    assert watched.rejects(NOW_US + 16 * _MIN_US) == []


def test_rejects_that_the_stream_makes_late_are_judged_by_when_they_were_appended(watched: Watched) -> None:
    watched.hear(100, at_us=NOW_US - 180 * _MIN_US)
    watched.refuse(50, at_us=NOW_US - 180 * _MIN_US)
    (finding,) = watched.rejects()
    assert finding.summary.startswith("50 of 100 records rejected")
    assert watched.rejects() == []


def test_parked_records_count_in_no_share(watched: Watched) -> None:
    watched.hear(100)
    watched.refuse(50)
    assert len(watched.rejects()) == 1
    parking.park(watched.keeper, Wanted(ce_source="/app"), reason="known", who="ann", until_us=None)
    assert watched.rejects() == []


def test_rejects_of_every_start_of_a_gateway_are_of_one_source(watched: Watched) -> None:
    records = [
        Heard("acme", "gateway", f"start{number % 2}", number, f"e{number}", NOW_US, again=False)
        for number in range(40)
    ]
    with watched.watcher.transaction():
        store.note(watched.watcher, records, watching_since_us=0, now_us=NOW_US)
    watched.refuse(5, source="gateway/start0")
    watched.refuse(5, source="gateway/start1")
    (finding,) = watched.rejects()
    assert finding.summary.startswith("10 of 40 records rejected")


@pytest.mark.parametrize("folded", [False, True])
def test_a_model_without_price_is_found_until_its_calls_are_priced(watched: Watched, *, folded: bool) -> None:
    unpriced = [
        msgspec.structs.replace(
            priced(call(event_key=f"app/e{number}"), offset=number), cost_usd_pico=None, price_status="unpriced"
        )
        for number in range(30)
    ]
    watched.books.write(*unpriced)
    if folded:
        compact(watched.books.connection)
    charged_us = watched.books.all("SELECT max(charged_at_us) FROM calls")[0][0]
    (finding,) = states.incomplete(watched.watcher, LIMITS, now_us=charged_us)
    assert finding.summary == "30 of 30 calls of the last day without a whole price (100.0%)"
    assert states.incomplete(watched.watcher, LIMITS, now_us=charged_us + 2 * 86_400_000_000) == []


def test_the_first_offset_without_outcome_is_found_over_the_edges_of_chunks(watched: Watched) -> None:
    insert = "INSERT INTO origin_ranges VALUES (%s, 0, %s, %s::int8multirange)"
    for chunk, seen in ((0, "{[0,65536)}"), (1, "{[65536,70000),[70001,131072)}"), (2, "{[131072,131080)}")):
        watched.books.connection.execute(insert, (RAW.name, chunk, seen))
    assert states.first_unseen(watched.watcher, 0, from_offset=0) == 70_000
    assert states.first_unseen(watched.watcher, 0, from_offset=70_000) == 70_000
    assert states.first_unseen(watched.watcher, 0, from_offset=70_001) == 131_080
    assert states.first_unseen(watched.watcher, 1, from_offset=0) == 0


def test_records_without_outcome_are_told_with_who_has_yet_to_work() -> None:
    found = states.behind({0: 10, 1: 5}, {0: 7, 1: 5}, unread={"llm.priced.v1": 2}, limits=LIMITS)
    (finding,) = found
    assert finding.summary.startswith(
        "up to 3 raw records without outcome 120 s after their append, from llm.raw.v1/0/7"
    )
    assert states.behind({0: 7}, {0: 7}, unread={}, limits=LIMITS) == []


def test_more_sources_than_anyone_has_are_one_together(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MOST_SOURCES", 3)
    for number in range(10):
        watched.hear(2, source=f"/made-up-{number}")
    rows = watched.watcher.execute("SELECT ce_source, records FROM sources ORDER BY records, 1").fetchall()
    assert rows == [("/made-up-0", 2), ("/made-up-1", 2), ("/made-up-2", 2), (store.OTHERS, 14)]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (("cfg", True, False, 255 << 20), None),
        (("cfg", False, False, 255 << 20), None),
        (("cfg", False, False, 256 << 20), "Postgres keeps 256 MiB of its log, and nobody reads it"),
        (("cfg", True, False, 300 << 20), "Postgres keeps 300 MiB of its log, and its reader does not get on"),
        (("cfg", False, True, 0), "Postgres has given it up, and nobody reads it"),
    ],
)
def test_a_slot_that_is_not_read_on_is_told_before_the_disk_is_full(
    row: tuple[str, bool, bool, int], says: str | None
) -> None:
    class Answering:
        def execute(self, _: str) -> list[tuple[str, bool, bool, int]]:
            return [row]

    found = states.capture(cast("Connection", Answering()))
    assert [(one.subject.about, one.summary) for one in found] == ([] if says is None else [("slot cfg", says)])


def test_a_ledger_without_slots_is_none_the_worse(watched: Watched) -> None:
    assert states.capture(watched.watcher) == []
