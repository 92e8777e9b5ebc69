"""What no call made is posted by hand: by two logins, once, and in every table."""

from collections.abc import Iterator
from datetime import UTC, datetime

import psycopg
import pytest

from ledger.adjusting import AdjustmentError, Proposal, adjustments, decide, post, propose
from ledger.as_of import changes, standing
from ledger.closed import read_closed
from ledger.compact import compact
from ledger.costs import table
from ledger.database import Connection, connect
from ledger.periods import PeriodError, close, corrections
from ledger.private_postgres import Server
from ledger.verify import verify
from tests.ledger.books import Books
from tests.ledger.commanding import against
from tests.ledger.samples import NOW_US, call, priced
from tokenledger.commands.adjust import amount_usd_pico

pytestmark = pytest.mark.slow

CREDIT = Proposal(tenant_id="acme", month="2025-10", amount_usd_pico=-100_000, reason="outage", feature="chat")


@pytest.fixture
def people(server: Server, database: str, books: Books) -> Iterator[tuple[Connection, Connection]]:
    """Two keepers with logins of their own, and one call of acme."""
    books.write(priced(call(), offset=0))
    with psycopg.connect(server.dsn("postgres", database), autocommit=True) as admin:
        for name in ("dana", "erin"):
            admin.execute(f"CREATE ROLE {name} LOGIN IN ROLE keeper".encode())
        try:
            with (
                connect(server.settings(database, user="dana"), application="test") as dana,
                connect(server.settings(database, user="erin"), application="test") as erin,
            ):
                yield dana, erin
        finally:
            for name in ("dana", "erin"):
                admin.execute(f"DROP ROLE {name}".encode())


def posted(books: Books) -> int:
    books.now_us += 1_000_000
    return post(books.connection, books.state, now_us=books.now_us)


def test_what_two_agreed_on_is_posted_once_and_is_in_every_table(
    books: Books, people: tuple[Connection, Connection]
) -> None:
    dana, erin = people
    number = propose(dana, CREDIT)
    assert posted(books) == 0
    decide(erin, number, approves=True, reason="agreed")
    before_us = books.state.posted_at_us
    assert (posted(books), posted(books)) == (1, 0)
    # One call of 220,000 less 100,000.
    assert [(row.group, row.calls, row.cost_usd_pico) for row in table(books.connection, by=["tenant", "feature"])] == [
        (("acme", "chat"), 1, 120_000)
    ]
    assert books.all("SELECT sum(known_cost_usd_pico)::bigint, sum(calls)::bigint FROM cost_daily") == [(120_000, 1)]
    assert verify(books.connection, None) == []
    assert compact(books.connection)
    assert verify(books.connection, None) == []
    [now] = standing(books.connection, by=("tenant",), until_us=books.state.posted_at_us)
    assert now.known_cost_usd_pico == 120_000
    [change] = changes(books.connection, by=("tenant",), since_us=before_us, until_us=books.state.posted_at_us)
    assert (change.cause, change.calls, change.known_cost_usd_pico) == (f"adjustment {number}", 0, -100_000)
    assert books.all(
        "SELECT subject_kind::text, cause::text, charge_category::text, charge_class::text, subject_id FROM postings "
        "WHERE calls = 0"
    ) == [("manual", "adjustment", "credit", None, number)]
    assert [(one.state, one.proposed_by, one.decided_by) for one in adjustments(erin)] == [("posted", "dana", "erin")]


def test_nobody_approves_what_the_same_login_proposed_not_even_by_sql(
    people: tuple[Connection, Connection],
) -> None:
    dana, erin = people
    number = propose(dana, CREDIT)
    with pytest.raises(AdjustmentError, match=f"adjustment {number} was proposed by dana; another login must approve"):
        decide(dana, number, approves=True, reason="I say so")
    for statement in (
        b"INSERT INTO adjustment_decisions (adjustment_no, approves, reason, decided_by) VALUES (1, true, 'x', 'erin')",
        b"INSERT INTO adjustments (tenant_id, reason, proposed_by) VALUES ('acme', 'x', 'erin')",
        b"UPDATE adjustments SET proposed_by = 'erin'",
        b"UPDATE adjustment_decisions SET approves = true",
        b"DELETE FROM adjustments",
        b"INSERT INTO adjustment_postings VALUES (1, 1, 1)",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            dana.execute(statement)
    decide(erin, number, approves=True, reason="agreed")
    with pytest.raises(AdjustmentError, match="was decided before"):
        decide(erin, number, approves=False, reason="changed my mind")


def test_a_refused_proposal_is_never_posted_and_its_proposer_may_refuse_it(
    books: Books, people: tuple[Connection, Connection]
) -> None:
    dana, _ = people
    decide(dana, propose(dana, CREDIT), approves=False, reason="a mistake")
    assert posted(books) == 0
    assert verify(books.connection, None) == []


def test_every_step_is_in_the_audit_log_under_the_login(people: tuple[Connection, Connection]) -> None:
    dana, erin = people
    decide(erin, propose(dana, CREDIT), approves=True, reason="agreed")
    rows = dana.execute("SELECT done_by, action FROM audit_log ORDER BY entry_no").fetchall()
    assert rows == [("dana", "adjustment proposed"), ("erin", "adjustment approved")]


def test_a_reference_is_taken_once(people: tuple[Connection, Connection]) -> None:
    dana, erin = people
    one = Proposal(tenant_id="acme", month="2025-10", amount_usd_pico=-5, reason="r", reference="CR-17")
    assert propose(dana, one) == propose(erin, one)
    other = Proposal(tenant_id="acme", month="2025-10", amount_usd_pico=-6, reason="r", reference="CR-17")
    with pytest.raises(AdjustmentError, match="reference CR-17 of acme is another month or amount"):
        propose(dana, other)


def test_an_adjustment_of_a_closed_month_is_a_correction_and_the_close_stays(
    books: Books, people: tuple[Connection, Connection]
) -> None:
    dana, erin = people
    closed = close(dana, "acme", "2025-10", reason="invoice", now=datetime(2025, 11, 5, tzinfo=UTC)).closed
    number = propose(dana, CREDIT)
    decide(erin, number, approves=True, reason="agreed")
    assert posted(books) == 1
    assert books.all("SELECT charge_class::text FROM postings WHERE calls = 0") == [("correction",)]
    [later] = corrections(dana, "acme", "2025-10")
    assert (later.what, later.is_approved, later.sums.known_cost_usd_pico) == (f"adjustment {number}", True, -100_000)
    assert closed.known_cost_usd_pico == 220_000
    assert read_closed(books.connection).holds("acme", NOW_US)


def test_two_writers_cannot_post_the_same_adjustment(books: Books, people: tuple[Connection, Connection]) -> None:
    from ledger import store

    dana, erin = people
    decide(erin, propose(dana, CREDIT), approves=True, reason="agreed")
    stale = store.load_state(books.connection)
    books.write(priced(call(event_key="app/2"), offset=1))
    with pytest.raises(store.AnotherWriterError):
        post(books.connection, stale, now_us=books.now_us + 5)
    assert posted(books) == 1


@pytest.mark.parametrize(
    ("text", "pico"), [("-12.50", -12_500_000_000_000), ("0.000000000001", 1), ("1e-12", 1), ("3", 3 * 10**12)]
)
def test_an_amount_is_taken_to_the_pico(text: str, pico: int) -> None:
    assert amount_usd_pico(text) == pico


@pytest.mark.parametrize("text", ["0.0000000000001", "twelve", "NaN", "Infinity", ""])
def test_what_is_no_exact_amount_is_refused(text: str) -> None:
    with pytest.raises(AdjustmentError, match="would be right"):
        amount_usd_pico(text)


def test_a_month_that_is_none_is_refused(people: tuple[Connection, Connection]) -> None:
    with pytest.raises(PeriodError, match="a month such as 2026-11 is right"):
        propose(people[0], Proposal(tenant_id="acme", month="Oct", amount_usd_pico=1, reason="r"))


@pytest.mark.usefixtures("people")
def test_the_commands_do_it_each_under_a_login(
    server: Server, database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], books: Books
) -> None:
    command = against(server, database, monkeypatch, capsys)
    words = ("adjust", "propose", "acme", "2025-10", "--usd=-0.0000001", "--reason", "outage", "--reference", "CR-17")
    status, printed = command(*words, login="dana")
    assert (status, "adjustment 1 awaits the approval of another login" in printed) == (0, True), printed
    status, printed = command("adjust", "approve", "1", "--reason", "mine", login="dana")
    assert (status, "another login must approve it" in printed) == (2, True), printed
    assert command("adjust", "approve", "1", "--reason", "agreed", login="erin")[0] == 0
    assert posted(books) == 1
    status, printed = command("adjust", "list", login="erin")
    assert (status, "posted" in printed, "-0.0000001" in printed, "CR-17" in printed) == (0, True, True, True), printed
    assert command("adjust", "approve", "7", "--reason", "?", login="erin")[1].strip().endswith("shows those there are")
