"""Any past answer of the books can be given again, what came after it is named, and a closed month stays."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from ledger.as_of import changes, standing
from ledger.compact import compact
from ledger.database import connect
from ledger.periods import PeriodError, Sums, close, periods, sums
from ledger.private_postgres import Server
from tests.ledger.books import Books
from tests.ledger.samples import NOW_US, call, priced
from tokenledger.cli import main

pytestmark = pytest.mark.slow

HOUR_US = 3_600_000_000
NOVEMBER = datetime(2025, 11, 5, tzinfo=UTC)
BY = ("tenant", "provider")
Command = Callable[..., tuple[int, str]]


@pytest.fixture
def told(books: Books) -> Books:
    """At NOW one call for 220,000 pico-USD by an estimate; an hour later it is known to be 100,000, and one comes."""
    books.write(priced(call(usage_source="estimated"), offset=0))
    books.now_us = NOW_US + HOUR_US
    books.write(priced(call(usage={"input.text": 50}), offset=1), priced(call(event_key="app/2"), offset=2))
    return books


@pytest.fixture
def command(
    server: Server, database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """`tokenledger …` against this ledger: status and output."""
    settings = server.settings(database)
    monkeypatch.setenv("TOKENLEDGER_POSTGRES_SOCKET", settings.postgres_host)
    monkeypatch.setenv("TOKENLEDGER_POSTGRES_PORT", str(settings.postgres_port))
    monkeypatch.setenv("TOKENLEDGER_POSTGRES_DATABASE", database)

    def run(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        status = main(list(arguments))
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    return run


def posted_at(books: Books) -> list[int]:
    return [row[0] for row in books.all("SELECT DISTINCT posted_at_us FROM postings ORDER BY 1")]


def test_what_is_folded_changes_no_answer(told: Books) -> None:
    instants = (0, *posted_at(told), NOW_US + 2 * HOUR_US)
    before = [standing(told.connection, by=BY, until_us=at_us) for at_us in instants]
    assert compact(told.connection, batches=1)
    assert [standing(told.connection, by=BY, until_us=at_us) for at_us in instants] == before
    assert compact(told.connection)
    assert [standing(told.connection, by=BY, until_us=at_us) for at_us in instants] == before


def test_the_books_as_of_an_instant_say_what_they_said(told: Books) -> None:
    first, second = posted_at(told)
    [then] = standing(told.connection, by=BY, until_us=first)
    assert (then.group, then.calls, then.known_cost_usd_pico) == (("acme", "openai"), 1, 220_000)
    [now] = standing(told.connection, by=BY, until_us=second)
    assert (now.calls, now.known_cost_usd_pico) == (2, 320_000)
    assert standing(told.connection, by=BY, until_us=first - 1) == []


def test_what_was_posted_since_is_named_by_cause_and_adds_up_to_the_difference(told: Books) -> None:
    first, second = posted_at(told)
    found = changes(told.connection, by=("day",), since_us=first, until_us=second)
    assert [(one.group, one.cause, one.calls, one.known_cost_usd_pico) for one in found] == [
        (("2025-10-09",), "charge", 2, 320_000),
        (("2025-10-09",), "reversal", -1, -220_000),
    ]


def test_compaction_changes_no_past_answer(told: Books) -> None:
    first, _ = posted_at(told)
    before = standing(told.connection, by=BY, until_us=first)
    assert compact(told.connection)
    assert standing(told.connection, by=BY, until_us=first) == before


def test_a_closed_month_answers_the_same_for_ever(told: Books, server: Server, database: str) -> None:
    with connect(server.settings(database, user="keeper"), application="test") as keeper:
        period = close(keeper, "acme", "2025-10", reason="invoice", now=NOVEMBER)
        assert period.closed == Sums(2, 0, 320_000)
        told.now_us += HOUR_US
        told.write(priced(call(event_key="app/late"), offset=3))
        assert sums(keeper, "acme", "2025-10") == Sums(3, 0, 540_000)
        [one] = periods(keeper)
        assert sums(keeper, "acme", "2025-10", until_us=one.closed_at_us) == one.closed == Sums(2, 0, 320_000)
        with pytest.raises(PeriodError, match="2025-10 of acme is closed already"):
            close(keeper, "acme", "2025-10", reason="again", now=NOVEMBER)


def test_a_month_holds_its_own_calls_and_one_tenants(told: Books, server: Server, database: str) -> None:
    told.write(priced(call(event_key="app/3", tenant_id="umbrella"), offset=3))
    first_of_october_us = 1_759_276_800_000_000  # `date -u -d 2025-10-01 +%s`
    told.write(
        priced(call(event_key="app/4", started_at_us=first_of_october_us), offset=4),
        priced(call(event_key="app/5", started_at_us=first_of_october_us - 1), offset=5),
    )
    with connect(server.settings(database, user="keeper"), application="test") as keeper:
        assert sums(keeper, "acme", "2025-10") == Sums(3, 0, 540_000)
        assert sums(keeper, "acme", "2025-09") == Sums(1, 0, 220_000)
        assert sums(keeper, "umbrella", "2025-10") == Sums(1, 0, 220_000)


@pytest.mark.parametrize(
    ("month", "says"),
    [("2025-11", "2025-11 of acme is not over before 2025-12-01"), ("October", "month 'October'; a month such")],
)
def test_a_month_that_cannot_be_closed_says_why(
    told: Books, server: Server, database: str, month: str, says: str
) -> None:
    with (
        connect(server.settings(database, user="keeper"), application="test") as keeper,
        pytest.raises(PeriodError, match=says),
    ):
        close(keeper, "acme", month, reason="x", now=NOVEMBER)
    assert told.all("SELECT 1") == [(1,)]


def test_the_commands_say_what_the_books_say(told: Books, command: Command) -> None:
    assert "2 calls, 0.00000032 USD" in command("costs", "--by", "tenant", "--as-of", "2100-01-01")[1]
    assert "0 calls, 0.00 USD" in command("costs", "--by", "tenant", "--as-of", "2020-01-01")[1]
    status, printed = command("costs", "--by", "day", "--changed-since", "2020-01-01", "--format", "csv")
    assert (status, "2025-10-09,reversal,-1,0,-220000" in printed) == (0, True)
    assert "no dimension user; there are" in command("costs", "--by", "user", "--as-of", "2100-01-01")[1]
    assert (
        "2025-10 of acme is closed: 2 calls, 0.00000032 USD"
        in command("periods", "close", "acme", "2025-10", "--reason", "invoice")[1]
    )
    told.now_us += HOUR_US
    told.write(priced(call(event_key="app/late"), offset=3))
    status, printed = command("periods", "list")
    assert (status, "the same" in printed, "0.00000022" in printed) == (0, True, True)
