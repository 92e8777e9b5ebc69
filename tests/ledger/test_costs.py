"""The cost table of a period: what is charged to it, and nothing else."""

import pytest

from ledger.costs import Period, table
from ledger.private_postgres import Server
from tests.ledger.books import Books
from tests.ledger.commanding import Command, against
from tests.ledger.samples import NOW_US, call, priced
from tokenledger.records import Reason, Rejected

pytestmark = pytest.mark.slow

DAY_US = 86_400_000_000


@pytest.fixture
def command(
    server: Server, database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """`tokenledger …` against this ledger: status and output."""
    return against(server, database, monkeypatch, capsys)


@pytest.fixture
def days(books: Books) -> Books:
    """A call on each of three days, of which the second ends just before its midnight."""
    midnight_us = NOW_US - NOW_US % DAY_US
    for offset, at_us in enumerate((midnight_us - DAY_US, midnight_us - 1, midnight_us)):
        books.write(priced(call(event_key=f"app/{offset}", started_at_us=at_us), offset=offset, append_at_us=at_us))
    return books


def test_a_period_holds_its_first_instant_and_not_the_one_after_it(days: Books) -> None:
    midnight_us = NOW_US - NOW_US % DAY_US

    def found(since_us: int, until_us: int) -> list[tuple[str, int]]:
        rows = table(days.connection, by=("day",), period=Period(since_us, until_us))
        return sorted((row.group[0], row.calls) for row in rows)

    assert found(midnight_us - DAY_US, midnight_us) == [("2025-10-08", 2)]
    assert found(midnight_us, midnight_us + DAY_US) == [("2025-10-09", 1)]
    assert found(midnight_us + 1, midnight_us + DAY_US) == []
    assert sum(row.calls for row in table(days.connection)) == 3


def test_a_rejected_record_is_of_the_time_when_the_log_took_it(days: Books) -> None:
    days.write(
        Rejected(reason=Reason.INVALID_JSON, tenant_id="acme", topic="llm.raw.v1", offset=7, append_at_us=NOW_US)
    )

    def counted(period: Period) -> int:
        return sum(row.rejected for row in table(days.connection, by=("tenant",), period=period))

    assert counted(Period(NOW_US, NOW_US + 1)) == 1
    assert counted(Period(NOW_US + 1)) == 0


@pytest.mark.usefixtures("days")
def test_the_command_takes_dates_and_says_what_cannot_be_asked(command: Command) -> None:
    status, printed = command("costs", "--by", "day", "--since", "2025-10-09", "--format", "csv")
    assert (status, [line.partition(",")[0] for line in printed.splitlines()]) == (0, ["day", "2025-10-09"])
    status, printed = command("costs", "--since", "2025-10-09", "--until", "2025-10-09")
    assert (status, "an earlier time would be right" in printed) == (2, True)
    status, printed = command("costs", "--since", "2025-10-09", "--as-of", "2025-10-09")
    assert (status, "cannot be asked together" in printed) == (2, True)
    status, printed = command("costs", "--until", "yesterday")
    assert (status, "--until 'yesterday': no instant" in printed) == (2, True)
