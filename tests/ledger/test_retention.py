"""Old months of postings and lines are dropped; what is kept still adds up, and a difference in it is still found."""

import psycopg
import pytest

from ledger.as_of import changes, standing
from ledger.compact import compact
from ledger.private_postgres import Server
from ledger.verify import report, verify
from tests.ledger.books import Books
from tests.ledger.samples import NOW_US, call, priced

_MONTH_US = 31 * 24 * 3600 * 1_000_000


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
