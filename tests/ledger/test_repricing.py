"""Repricing takes back what was charged and charges anew, keeps every sum right, and does nothing twice."""

import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from ledger.as_of import changes, standing
from ledger.compact import compact
from ledger.lake.verifying import ledger_figures
from ledger.private_postgres import Server
from ledger.repricing import Differs, Wanted, begin_run, differences, drain, left, queue
from ledger.verify import verify
from tests.ledger.books import Books
from tests.ledger.commanding import against
from tests.ledger.samples import NOW_US, call, priced
from tokenledger.pricing import build_book
from tokenledger.pricing.book import Overlay
from tokenledger.pricing.catalogue import Catalogue
from tokenledger.pricing.rate import OWN, Row
from tokenledger.process import Context, price_again

pytestmark = pytest.mark.slow

NOTHING = Catalogue(name="none", known_from_us=0, rows={}, version="0", find=lambda *_: None)
POSTINGS = "SELECT cause::text, charge_class::text, calls FROM postings ORDER BY posting_id"


def book(pico_per_token: int) -> Context:
    """A book that prices m-1 at so much a token."""
    rows = tuple(
        Row(layer=OWN, provider="openai", model="m-1*", meter=meter, list_pico=pico_per_token)
        for meter in ("input.text", "output.text")
    )
    return Context(build_book(NOTHING, Overlay(rows=rows)))


def found(books: Books, context: Context, wanted: Wanted | None = None) -> list[Differs]:
    """Every difference."""
    return [one for some in differences(books.connection, wanted or Wanted(), context) for one in some]


def wait(books: Books, context: Context, kind: str = "reprice") -> int:
    """Have everything that differs wait for the writer; the number of the run."""
    run_no = begin_run(books.connection, reason="a test", book_version=context.book.version, kind=kind)
    queue(books.connection, found(books, context), run_no=run_no)
    return run_no


def reprice(books: Books, context: Context, *, corrects: bool = True) -> int:
    """As the command and the writer do it; the number of calls queued."""
    chosen = [one for one in found(books, context) if corrects or not one.corrects]
    run_no = begin_run(books.connection, reason="a test", book_version=context.book.version)
    queue(books.connection, chosen, run_no=run_no)
    while drain(books.connection, books.state, now_us=books.now_us):
        pass
    return len(chosen)


@pytest.fixture
def three(books: Books) -> Books:
    """Three calls of 110 tokens at 2,000 pico-USD, one of another tenant, one without a price."""
    books.write(
        priced(call(), offset=0),
        priced(call(event_key="app/2", tenant_id="umbrella"), offset=1),
        priced(
            call(event_key="app/3"), offset=2, lines=(), cost_usd_pico=None, known_cost_usd_pico=0,
            price_status="unpriced", unpriced_meters=("input.text", "output.text"),
        ),
    )  # fmt: skip
    books.now_us += 1_000_000
    return books


def test_the_lake_is_compared_with_what_was_first_charged(three: Books) -> None:
    """It keeps the records as they came: a price that arrives later must not make its days look wrong."""
    before = ledger_figures(three.connection)
    assert {one.figures.incomplete_calls for day in before.values() for one in day.values()} == {0, 1}
    assert reprice(three, book(3_000)) == 3
    assert ledger_figures(three.connection) == before
    assert reprice(three, book(4_000)) == 3
    assert ledger_figures(three.connection) == before


def test_every_call_is_charged_anew_and_all_sums_follow(three: Books) -> None:
    assert compact(three.connection)
    assert reprice(three, book(3_000)) == 3
    # 3 × 110 × 3,000.
    assert three.all("SELECT sum(known_cost_usd_pico)::bigint, count(cost_usd_pico) FROM calls") == [(990_000, 3)]
    assert verify(three.connection, None) == []
    assert compact(three.connection)
    assert verify(three.connection, None) == []
    assert three.all(POSTINGS)[3:] == [("reversal", None, -1), ("reprice", None, 1)] * 3
    assert three.all("SELECT calls, before_usd_pico::bigint, after_usd_pico::bigint FROM repricing_runs") == [
        (3, 440_000, 990_000)
    ]


def test_what_the_books_said_before_is_still_said(three: Books) -> None:
    before = standing(three.connection, by=("tenant",), until_us=three.state.posted_at_us)
    then_us = three.state.posted_at_us
    reprice(three, book(3_000))
    assert standing(three.connection, by=("tenant",), until_us=then_us) == before


def test_twice_changes_nothing(three: Books) -> None:
    reprice(three, book(3_000))
    postings = three.all("SELECT count(*) FROM postings")
    assert reprice(three, book(3_000)) == 0
    assert three.all("SELECT count(*) FROM postings") == postings
    assert left(three.connection) == 0


def test_back_to_the_old_price_gives_the_old_sums(three: Books) -> None:
    reprice(three, book(3_000))
    reprice(three, book(2_000))
    assert three.all("SELECT sum(known_cost_usd_pico)::bigint FROM calls") == [(660_000,)]
    assert verify(three.connection, None) == []


def test_a_reader_on_a_busy_machine_is_not_ended_while_it_prices(three: Books) -> None:
    """Found by the faults: what takes the pricing of a thousand calls was taken for a session that hangs."""
    three.connection.execute("SET idle_in_transaction_session_timeout = '100ms'")
    slowly = differences(three.connection, Wanted(), book(3_000))
    first = next(slowly)
    time.sleep(0.3)
    assert len(first) == 3
    assert list(slowly) == []


def test_only_what_was_asked_for_is_looked_at(three: Books) -> None:
    context = book(3_000)
    assert len(found(three, context, Wanted(tenant_id="umbrella"))) == 1
    assert len(found(three, context, Wanted(model="m-1"))) == 3
    assert found(three, context, Wanted(model="m-2")) == []
    assert found(three, context, Wanted(since_us=NOW_US + 1)) == []
    assert found(three, context, Wanted(until_us=NOW_US)) == []


def test_a_call_that_was_superseded_meanwhile_keeps_its_better_record(three: Books) -> None:
    context = book(3_000)
    chosen = found(three, context)
    queue(three.connection, chosen, run_no=begin_run(three.connection, reason="r", book_version="b"))
    three.write(priced(call(usage={"input.text": 50}, revision=1), offset=3))
    assert drain(three.connection, three.state, now_us=three.now_us + 5) == 3
    assert three.all("SELECT known_cost_usd_pico FROM calls WHERE event_key = 'app/e1'") == [(100_000,)]
    assert (left(three.connection), verify(three.connection, None)) == (0, [])
    # It is found again, since it was priced by another book, and charged by this one.
    assert reprice(three, context) == 1
    assert three.all("SELECT known_cost_usd_pico FROM calls WHERE event_key = 'app/e1'") == [(150_000,)]


def test_a_closed_month_is_told_apart_and_changed_only_as_a_correction(three: Books) -> None:
    import psycopg

    with psycopg.connect(three.connection.info.dsn, user="postgres", autocommit=True) as admin:
        admin.execute(
            "INSERT INTO periods (tenant_id, month, closed_at_us, time_zone, starts_us, ends_us) "
            "VALUES ('acme', '2025-10-01', 1, 'UTC', 1759276800000000, 1761955200000000)"
        )
    assert reprice(three, book(3_000), corrects=False) == 1
    assert three.all("SELECT DISTINCT tenant_id FROM calls WHERE book_version = %s", book(3_000).book.version) == [
        ("umbrella",)
    ]
    assert reprice(three, book(3_000)) == 2
    assert three.all(POSTINGS)[5:] == [("reversal", "correction", -1), ("correction", "correction", 1)] * 2
    assert verify(three.connection, None) == []


def test_a_month_that_is_closed_while_its_calls_wait_is_left_alone(three: Books) -> None:
    import psycopg

    chosen = found(three, book(3_000))
    queue(three.connection, chosen, run_no=begin_run(three.connection, reason="r", book_version="b"))
    with psycopg.connect(three.connection.info.dsn, user="postgres", autocommit=True) as admin:
        admin.execute(
            "INSERT INTO periods (tenant_id, month, closed_at_us, time_zone, starts_us, ends_us) "
            "VALUES ('acme', '2025-10-01', 1, 'UTC', 1759276800000000, 1761955200000000)"
        )
    assert drain(three.connection, three.state, now_us=three.now_us) == 3
    assert three.all("SELECT DISTINCT tenant_id FROM calls WHERE book_version = %s", book(3_000).book.version) == [
        ("umbrella",)
    ]
    assert verify(three.connection, None) == []


def test_what_changed_is_named_by_its_run(three: Books) -> None:
    then_us = three.state.posted_at_us
    reprice(three, book(3_000))
    found_ = changes(three.connection, by=("tenant",), since_us=then_us, until_us=three.state.posted_at_us)
    # 110 tokens at 1,000 more each, and 110 at 3,000 where there was no price.
    assert [(one.group, one.cause, one.calls, one.known_cost_usd_pico) for one in found_] == [
        (("acme",), "reprice run 1", 0, 440_000),
        (("umbrella",), "reprice run 1", 0, 110_000),
    ]


def test_the_writer_goes_on_after_a_repricing_with_numbers_of_its_own(three: Books) -> None:
    reprice(three, book(3_000))
    three.write(priced(call(event_key="app/4"), offset=3))
    assert three.all("SELECT count(*), count(DISTINCT posting_id) FROM postings") == [(10, 10)]
    assert verify(three.connection, None) == []


def test_a_second_writer_cannot_drain(three: Books) -> None:
    from ledger import store
    from ledger.state import State

    chosen = found(three, book(3_000))
    queue(three.connection, chosen, run_no=begin_run(three.connection, reason="r", book_version="b"))
    stale: State = store.load_state(three.connection)
    three.write(priced(call(event_key="app/4"), offset=3))
    with pytest.raises(store.AnotherWriterError):
        drain(three.connection, stale, now_us=three.now_us)
    assert left(three.connection) == 3


def test_a_writer_that_did_not_see_another_s_repricing_cannot_give_its_numbers_again(three: Books) -> None:
    """A repricing moves no offset, and by a book that was at work before it adds no key that could be there twice."""
    from ledger import store

    for pico_per_token in (3_000, 4_000):
        reprice(three, book(pico_per_token))
    wait(three, book(3_000))
    behind = store.load_state(three.connection)
    drain(three.connection, three.state, now_us=three.now_us)
    wait(three, book(4_000))
    with pytest.raises(store.AnotherWriterError, match="only one may run"):
        drain(three.connection, behind, now_us=three.now_us + 5)
    assert drain(three.connection, three.state, now_us=three.now_us + 5) == 3
    assert three.all("SELECT count(*) - count(DISTINCT posting_id) FROM postings") == [(0,)]
    assert verify(three.connection, None) == []


@pytest.mark.parametrize(
    ("waits", "comes", "replaces"),
    [
        ("reprice", "reprice", True),
        ("reprice", "reread", True),
        ("reprice", "arrival", False),
        ("reprice", "stale", False),
        ("reread", "reprice", False),
        ("reread", "reread", True),
        ("reread", "arrival", False),
        ("reread", "stale", False),
        ("arrival", "reprice", True),
        ("arrival", "arrival", True),
        ("arrival", "stale", False),
        ("stale", "reread", True),
        ("stale", "arrival", False),
    ],
)
def test_a_call_that_waits_is_left_to_the_run_that_counts_more(
    three: Books, waits: str, comes: str, *, replaces: bool
) -> None:
    """What goes by itself replaces nothing that people asked for, and a repricing no mended reading."""
    first = wait(three, book(3_000), waits)
    second = wait(three, book(4_000), comes)
    assert three.all("SELECT DISTINCT run_no FROM repricings") == [(second if replaces else first,)]
    # 3 × 110 tokens at 4,000 where two were charged 220,000 each.
    sums = (3, 440_000, 1_320_000) if replaces else (0, 0, 0)
    assert three.all(
        "SELECT calls, before_usd_pico::bigint, after_usd_pico::bigint FROM repricing_runs WHERE run_no = %s", second
    ) == [sums]


def test_the_command_says_what_it_leaves_to_a_waiting_rereading(
    three: Books, server: Server, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    prices = tmp_path / "prices.yaml"
    rates = '{provider: openai, model: "m-1*", usd_per_million: {input.text: 0.003, output.text: 0.003}}'
    prices.write_text(f"prices:\n  - {rates}\n", encoding="utf-8")
    wait(three, book(4_000), "reread")
    command = against(server, database, monkeypatch, capsys)
    status, printed = command("reprice", "--prices", str(prices), "--reason", "a test", "--wait", "0")
    assert (status, "3 calls wait to be read again and are left to that" in printed) == (1, True), printed
    assert "has charged them anew" not in printed
    drain(three.connection, three.state, now_us=three.now_us)
    assert three.all("SELECT sum(known_cost_usd_pico)::bigint FROM calls") == [(1_320_000,)]


def test_only_what_depends_on_prices_changes() -> None:
    before = priced(call(), offset=0, anomalies=("billed_differs",))
    after = price_again(before, book(3_000))
    assert (after.known_cost_usd_pico, after.book_version, after.anomalies) == (330_000, book(3_000).book.version, ())
    same = replace(
        after, lines=before.lines, cost_usd_pico=before.cost_usd_pico, known_cost_usd_pico=before.known_cost_usd_pico,
        computed_usd_pico=before.computed_usd_pico, chargeable_usd_pico=before.chargeable_usd_pico,
        priced_provider=before.priced_provider, priced_model=before.priced_model, book_version=before.book_version,
        price_status=before.price_status, anomalies=before.anomalies, rate_fallbacks=before.rate_fallbacks,
        unpriced_meters=before.unpriced_meters, saved_usd_pico=before.saved_usd_pico,
    )  # fmt: skip
    assert same == before
