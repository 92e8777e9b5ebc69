"""Old months of postings and lines are dropped; what is kept still adds up, and a difference in it is still found."""

from datetime import UTC, datetime

import psycopg
import pytest

from ledger.as_of import changes, standing
from ledger.compact import compact
from ledger.database import connect
from ledger.periods import Sums, approve, close, corrections, sums_again
from ledger.private_postgres import Server
from ledger.received import Received
from ledger.retention import drop, hindrances, months_before
from ledger.verify import report, verify
from ledger.writer import write
from tests.ledger.books import PLACE, Books
from tests.ledger.commanding import against
from tests.ledger.samples import NOW_US, call, priced

pytestmark = pytest.mark.slow

_DAY_US = 24 * 3600 * 1_000_000
_MONTH_US = 31 * _DAY_US


def _drop(server: Server, database: str, *tables: str) -> None:
    with psycopg.connect(server.dsn("postgres", database), autocommit=True) as admin:
        for table in tables:
            admin.execute(psycopg.sql.SQL("DROP TABLE {}").format(psycopg.sql.Identifier(table)))


def _two_months(books: Books) -> None:
    """Two calls in October; in November one of them is superseded, and a third comes."""
    books.write(priced(call(usage_source="estimated"), offset=0), priced(call(event_key="app/2"), offset=1))
    books.now_us = NOW_US + _MONTH_US
    books.write(
        priced(call(usage={"input.text": 50}), offset=2),
        priced(call(event_key="app/3"), offset=3, cost_usd_pico=None),
    )
    assert compact(books.connection)
    assert verify(books.connection, None) == []


def test_after_the_oldest_month_is_dropped_what_is_kept_adds_up(server: Server, database: str, books: Books) -> None:
    _two_months(books)
    _drop(server, database, "lines_202510", "postings_202510")
    found = report(books.connection, None)
    assert found.differences == []
    assert found.figures["calls"] == 3
    assert found.figures["calls with postings"] == found.figures["calls by postings"] == 2
    # 50 × 2,000, and 110 × 2,000; what takes back a dropped charge is left out.
    assert found.figures["known cost of lines, pico-USD"] == 320_000


def test_a_difference_in_a_kept_month_is_found_and_one_half_of_a_month_is_missed(
    server: Server, database: str, books: Books
) -> None:
    _two_months(books)
    _drop(server, database, "postings_202510")
    assert "lines without posting" in {difference.what for difference in verify(books.connection, None)}
    _drop(server, database, "lines_202510")
    with psycopg.connect(server.dsn("postgres", database), autocommit=True) as admin:
        admin.execute("UPDATE lines SET amount_usd_pico = amount_usd_pico + 1 WHERE line_no = 0 AND quantity = 50")
    assert {difference.what for difference in verify(books.connection, None)} == {"sums differ", "lines of a call"}


def test_after_every_month_is_dropped_calls_and_roll_ups_still_agree(
    server: Server, database: str, books: Books
) -> None:
    _two_months(books)
    _drop(server, database, "lines_202510", "postings_202510", "lines_202511", "postings_202511")
    assert verify(books.connection, None) == []
    assert books.all("SELECT sum(amount_usd_pico)::bigint FROM rollups") == [(540_000,)]


def test_the_books_are_asked_as_of_an_instant_that_is_kept_and_refused_before(
    server: Server, database: str, books: Books
) -> None:
    _two_months(books)
    last = books.all("SELECT max(posted_at_us) FROM postings")[0][0]
    november = 1_761_955_200_000_000  # 2025-11-01T00:00:00Z
    before = [standing(books.connection, by=("tenant",), until_us=at_us) for at_us in (november, last)]
    _drop(server, database, "lines_202510", "postings_202510")
    assert [standing(books.connection, by=("tenant",), until_us=at_us) for at_us in (november, last)] == before
    assert [(one.calls, one.known_cost_usd_pico) for one in before[0]] == [(2, 440_000)]
    with pytest.raises(ValueError, match="the books before 2025-11-01 were dropped"):
        standing(books.connection, by=("tenant",), until_us=november - 2)
    with pytest.raises(ValueError, match="the books before 2025-11-01 were dropped"):
        changes(books.connection, by=("tenant",), since_us=november - 2, until_us=last)


def test_after_every_month_is_dropped_only_what_is_after_them_can_be_asked(
    server: Server, database: str, books: Books
) -> None:
    _two_months(books)
    last = books.all("SELECT max(posted_at_us) FROM postings")[0][0]
    now = standing(books.connection, by=("tenant",), until_us=last)
    _drop(server, database, "lines_202510", "postings_202510", "lines_202511", "postings_202511")
    assert standing(books.connection, by=("tenant",), until_us=last) == now
    assert changes(books.connection, by=("tenant",), since_us=last, until_us=last + 1) == []
    with pytest.raises(ValueError, match="the books before 2025-11-09T08:53:21Z were dropped"):
        standing(books.connection, by=("tenant",), until_us=last - 1)
    with pytest.raises(ValueError, match="the books before 2025-11-09T08:53:21Z were dropped"):
        changes(books.connection, by=("tenant",), since_us=last - 1, until_us=last)


@pytest.mark.parametrize("folded_first", [True, False])
def test_a_closed_month_is_told_again_without_the_books_it_was_charged_in(
    server: Server, database: str, books: Books, *, folded_first: bool
) -> None:
    _two_months(books)
    with connect(server.settings(database, user="keeper"), application="test") as keeper:
        period = close(keeper, "acme", "2025-10", reason="invoice", now=datetime(2025, 12, 1, tzinfo=UTC))
        assert (period.closed.calls, period.closed.known_cost_usd_pico) == (3, 540_000)
        books.write(priced(call(event_key="app/late"), offset=4))
        if folded_first:
            assert compact(books.connection)
        _drop(server, database, "lines_202510", "postings_202510")
        assert sums_again(keeper, period) == period.closed
        _drop(server, database, "lines_202511", "postings_202511")
        books.now_us += _MONTH_US
        books.write(priced(call(event_key="app/later"), offset=5))
        with pytest.raises(ValueError, match="the books before 2025-12-01 were dropped"):
            sums_again(keeper, period)


def test_a_call_of_a_dropped_month_stays_as_it_is_and_what_would_change_it_is_rejected(
    server: Server, database: str, books: Books
) -> None:
    """Its lines are gone: a reversal without them would leave the old cost in the roll-ups beside the new one."""
    _two_months(books)
    _drop(server, database, "lines_202510", "postings_202510")
    better = priced(call(event_key="app/2", usage={"input.text": 1}), offset=4)
    again = priced(call(event_key="app/2"), offset=5)
    place = (PLACE[0], PLACE[1], books.state.offsets[PLACE])
    made = [Received(*place, better), Received(*place[:2], place[2] + 1, again)]
    write(books.connection, books.state, made, decode=lambda one: one, now_us=books.now_us + 1_000)
    assert verify(books.connection, None) == []
    assert books.all("SELECT reason, left(detail, 42) FROM rejected") == [
        ("unstorable", "the month in which the call was charged wa")
    ]
    assert books.all("SELECT sum(amount_usd_pico)::bigint FROM rollups") == [(540_000,)]
    assert books.all("SELECT sum(duplicates), sum(rejected) FROM origins") == [(1, 1)]


def test_months_go_only_when_they_are_over_folded_and_closed(server: Server, database: str, books: Books) -> None:
    _two_months(books)
    books.write(priced(call(event_key="app/4"), offset=4))
    with psycopg.connect(server.dsn("postgres", database), autocommit=True) as admin:
        months = months_before(admin, "2025-12")
        assert [month.name for month in months] == ["2025-10", "2025-11"]
        assert hindrances(admin, months, now_us=books.now_us) == [
            "2025-11 is not over",
            "roll-ups do not yet hold all of it; the compactor has to run first",
            "acme has not closed 2025-10",
        ]
        compact(books.connection)
        assert hindrances(admin, months, now_us=NOW_US + 90 * _DAY_US) == ["acme has not closed 2025-10"]
        admin.execute(
            "INSERT INTO periods (tenant_id, month, closed_at_us, time_zone, starts_us, ends_us) "
            "VALUES ('acme', '2025-10-01', %s, 'UTC', %s, %s)",
            (books.state.posted_at_us, months[0].starts_us, months[0].ends_us),
        )
        assert hindrances(admin, months, now_us=NOW_US + 90 * _DAY_US) == []
        drop(admin, months)
        assert months_before(admin, "2025-12") == []
        assert verify(books.connection, None) == []
        assert books.all("SELECT detail ->> 'dropped' FROM audit_log WHERE action = 'retention'") == [
            ("2025-10, 2025-11",)
        ]


def test_a_month_goes_only_when_what_it_adds_to_closed_months_is_approved(
    server: Server,
    database: str,
    books: Books,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = against(server, database, monkeypatch, capsys)
    books.write(priced(call(), offset=0))
    with (
        connect(server.settings(database, user="keeper"), application="test") as keeper,
        psycopg.connect(server.dsn("postgres", database), autocommit=True) as admin,
    ):
        close(keeper, "acme", "2025-10", reason="invoice", now=datetime(2025, 11, 3, tzinfo=UTC))
        books.now_us = NOW_US + _MONTH_US
        books.write(priced(call(event_key="app/late"), offset=1))
        assert compact(books.connection)
        months = months_before(admin, "2025-12")
        assert hindrances(admin, months[:1], now_us=NOW_US + 90 * _DAY_US) == []
        assert hindrances(admin, months, now_us=NOW_US + 90 * _DAY_US) == [
            "acme has not approved what was posted to 2025-10 since its close"
        ]
        approve(keeper, "acme", "2025-10", reason="late logs")
        assert hindrances(admin, months, now_us=NOW_US + 90 * _DAY_US) == []
        drop(admin, months)
        with pytest.raises(ValueError, match="were dropped"):
            corrections(keeper, "acme", "2025-10")
        status, printed = command("periods", "list")
        assert (status, printed.count("books dropped")) == (0, 2), printed
        status, printed = command("periods", "late")
        assert (status, "is listed: 2025-10 of acme" in printed) == (0, True), printed
        books.now_us += _MONTH_US
        books.write(priced(call(event_key="app/later"), offset=2))
        status, printed = command("periods", "late")
        assert (status, "0.00000022   awaits approval" in printed) == (1, True), printed
        assert approve(keeper, "acme", "2025-10", reason="later logs") == Sums(1, 0, 220_000)
        assert command("periods", "late")[0] == 0


def test_months_are_found_whatever_way_the_planner_takes(server: Server, database: str, books: Books) -> None:
    """A name such as `pg_toast_17034` was once read as a month before it was seen to be none of ours."""
    _two_months(books)
    with psycopg.connect(server.dsn("postgres", database), autocommit=True) as admin:
        admin.execute("SET enable_nestloop = off")
        assert [month.name for month in months_before(admin, "2025-12")] == ["2025-10", "2025-11"]


def test_a_ledger_that_is_not_right_loses_no_month(server: Server, database: str, books: Books) -> None:
    _two_months(books)
    with psycopg.connect(server.dsn("postgres", database), autocommit=True) as admin:
        admin.execute("UPDATE rollups_15m SET amount_usd_pico = amount_usd_pico + 1 WHERE meter <> ''")
        [october, _] = months_before(admin, "2025-12")
        admin.execute(
            "INSERT INTO periods (tenant_id, month, closed_at_us, time_zone, starts_us, ends_us) "
            "VALUES ('acme', '2025-10-01', %s, 'UTC', %s, %s)",
            (books.now_us, october.starts_us, october.ends_us),
        )
        [why] = hindrances(admin, [october], now_us=NOW_US + 90 * _DAY_US)
    assert why.startswith("the ledger is not right as it is: sums differ")
