"""Any past answer of the books can be given again, what came after it is named, and a closed month stays."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import psycopg
import pytest
from msgspec.structs import replace

from ledger.as_of import changes, standing
from ledger.compact import compact
from ledger.database import Connection, connect
from ledger.periods import PeriodError, Span, Sums, approve, close, corrections, periods, span_of, sums, sums_again
from ledger.private_postgres import Server
from ledger.verify import report, verify
from ledger.writing import writing
from tests.ledger.books import Books
from tests.ledger.commanding import Command, against
from tests.ledger.samples import NOW_US, call, line, priced

pytestmark = pytest.mark.slow

HOUR_US = 3_600_000_000
NOVEMBER = datetime(2025, 11, 5, tzinfo=UTC)
BY = ("tenant", "provider")


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
    return against(server, database, monkeypatch, capsys)


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
        (("2025-10-09",), "late call", 1, 220_000),
        (("2025-10-09",), "superseded", 0, -120_000),
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


def test_a_dear_month_is_told_again_to_the_last_digit(told: Books, keeper: Connection) -> None:
    """`sign()` of whole numbers is a float in Postgres, and floats keep 15 digits."""
    dear = (line("input.text", 1, pico=1_234_567_890_123_457),)
    cost = dear[0].amount_usd_pico
    made = priced(call(event_key="app/dear"), offset=3)
    told.write(replace(made, lines=dear, cost_usd_pico=cost, known_cost_usd_pico=cost, computed_usd_pico=cost))
    period = close(keeper, "acme", "2025-10", reason="invoice", now=NOVEMBER)
    assert period.closed == Sums(3, 0, 1_234_567_890_443_457)
    assert sums_again(keeper, period) == period.closed
    told.write(priced(call(event_key="app/late"), offset=4))
    assert compact(told.connection)
    assert sums_again(keeper, period) == period.closed


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
    assert (status, "2025-10-09,superseded,0,0,-120000" in printed) == (0, True)
    assert "no dimension user; there are" in command("costs", "--by", "user", "--as-of", "2100-01-01")[1]
    assert (
        "2025-10 of acme is closed: 2 calls, 0.00000032 USD"
        in command("periods", "close", "acme", "2025-10", "--reason", "invoice")[1]
    )
    told.now_us += HOUR_US
    told.write(priced(call(event_key="app/late"), offset=3))
    status, printed = command("periods", "list")
    assert (status, "the same" in printed, "0.00000022" in printed) == (0, True, True)


def stated(books: Books, tenant_id: str, zone: str) -> None:
    """What is known of a tenant's time zone, from the beginning."""
    with psycopg.connect(books.connection.info.dsn, user="postgres", autocommit=True) as admin:
        admin.execute("UPDATE tenants SET known_us = int8range(lower(known_us), 10) WHERE tenant_id = %s", (tenant_id,))
        admin.execute(
            "INSERT INTO tenants (tenant_id, time_zone, known_us, name, charge_policy, capture_consent, status, "
            "reason) VALUES (%s, %s, int8range(%s, NULL), '', 'served', false, 'active', 'a test')",
            (tenant_id, zone, admin.execute("SELECT count(*) * 10 FROM tenants").fetchone()[0]),  # type: ignore[index]
        )


@pytest.fixture
def keeper(server: Server, database: str) -> Iterator[Connection]:
    with connect(server.settings(database, user="keeper"), application="test") as connection:
        yield connection


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp()) * 1_000_000


@pytest.mark.parametrize(
    ("zone", "starts", "ends"),
    [
        ("UTC", "2025-10-01T00:00+00:00", "2025-11-01T00:00+00:00"),
        ("Asia/Kolkata", "2025-10-01T00:00+05:30", "2025-11-01T00:00+05:30"),
        ("Asia/Kathmandu", "2025-10-01T00:00+05:45", "2025-11-01T00:00+05:45"),
        # Summer time ends on 26 October.
        ("Europe/Berlin", "2025-10-01T00:00+02:00", "2025-11-01T00:00+01:00"),
    ],
)
def test_a_month_begins_and_ends_in_the_tenants_time_zone(
    books: Books, keeper: Connection, zone: str, starts: str, ends: str
) -> None:
    stated(books, "acme", zone)
    assert span_of(keeper, "acme", "2025-10") == Span(zone, at(starts), at(ends))
    inside, outside = (at(starts), at(ends) - 1), (at(starts) - 1, at(ends))
    books.write(
        *(
            priced(call(event_key=f"app/{us}", started_at_us=us), offset=n, append_at_us=us)
            for n, us in enumerate((*inside, *outside))
        )
    )
    assert sums(keeper, "acme", "2025-10") == Sums(2, 0, 440_000)
    assert sums(keeper, "acme", "2025-09") == sums(keeper, "acme", "2025-11") == Sums(1, 0, 220_000)


def test_a_month_is_over_where_the_tenant_is(books: Books, keeper: Connection) -> None:
    stated(books, "acme", "America/Los_Angeles")
    with pytest.raises(PeriodError, match=r"is not over before 2025-11-01 07:00 UTC \(America/Los_Angeles\)"):
        close(keeper, "acme", "2025-10", reason="x", now=datetime(2025, 11, 1, 6, tzinfo=UTC))
    assert close(keeper, "acme", "2025-10", reason="x", now=datetime(2025, 11, 1, 7, tzinfo=UTC)).closed.calls == 0


def test_a_tenant_that_moves_has_no_instant_twice_and_loses_none(books: Books, keeper: Connection) -> None:
    stated(books, "acme", "Asia/Tokyo")
    close(keeper, "acme", "2025-09", reason="x", now=NOVEMBER)
    stated(books, "acme", "UTC")
    tokyo = at("2025-10-01T00:00+09:00")
    assert span_of(keeper, "acme", "2025-09").ends_us == span_of(keeper, "acme", "2025-10").starts_us == tokyo
    close(keeper, "acme", "2025-10", reason="x", now=NOVEMBER)
    assert span_of(keeper, "acme", "2025-10").ends_us == at("2025-11-01T00:00+00:00")


@pytest.mark.parametrize(
    ("zone", "month", "says"),
    [
        ("Mars/Olympus", "2025-10", 'time zone "Mars/Olympus" not recognized; a name such as'),
        ("Africa/Monrovia", "1971-05", "does not begin and end on a quarter-hour"),
    ],
)
def test_a_time_zone_that_cannot_be_closed_in_says_why(
    books: Books, keeper: Connection, zone: str, month: str, says: str
) -> None:
    stated(books, "acme", zone)
    with pytest.raises(PeriodError, match=says):
        close(keeper, "acme", month, reason="x", now=NOVEMBER)


def test_what_comes_after_a_close_is_a_correction_that_awaits_approval(told: Books, keeper: Connection) -> None:
    closed = close(keeper, "acme", "2025-10", reason="invoice", now=NOVEMBER).closed
    told.now_us += HOUR_US
    told.write(priced(call(event_key="app/late"), offset=3), priced(call(event_key="app/x", tenant_id="b"), offset=4))
    told.write(priced(call(event_key="app/2", usage={"input.text": 25}, revision=1), offset=5))
    assert told.all("SELECT cause::text, charge_class::text, calls FROM postings ORDER BY posting_id")[-4:] == [
        ("correction", "correction", 1),
        ("charge", None, 1),
        ("reversal", "correction", -1),
        ("correction", "correction", 1),
    ]
    found = corrections(keeper, "acme", "2025-10")
    assert [(one.what, one.is_approved, one.sums) for one in found] == [
        ("late call", False, Sums(1, 0, 220_000)),
        ("superseded", False, Sums(0, 0, -170_000)),
    ]
    assert report(told.connection, None).figures["corrections of closed months awaiting approval"] == 3
    assert verify(told.connection, None) == []
    assert approve(keeper, "acme", "2025-10", reason="late logs") == Sums(1, 0, 50_000)
    assert [one.is_approved for one in corrections(keeper, "acme", "2025-10")] == [True, True]
    assert report(told.connection, None).figures["corrections of closed months awaiting approval"] == 0
    with pytest.raises(PeriodError, match="no correction awaits approval"):
        approve(keeper, "acme", "2025-10", reason="again")
    [one] = periods(keeper)
    assert sums(keeper, "acme", "2025-10", until_us=one.closed_at_us) == one.closed == closed


def test_a_close_waits_for_the_batch_that_is_being_written(told: Books, server: Server, database: str) -> None:
    with (
        connect(server.settings(database, user="keeper"), application="test") as keeper,
        ThreadPoolExecutor() as pool,
        writing(told.connection, told.state),
    ):
        closing = pool.submit(close, keeper, "acme", "2025-10", reason="x", now=NOVEMBER)
        with pytest.raises(TimeoutError):
            closing.result(0.3)
    assert closing.result(20).closed == Sums(2, 0, 320_000)


def test_a_close_never_mixes_two_time_zones(told: Books, server: Server, database: str) -> None:
    """The zone is stated anew after most was added up, and before what was posted meanwhile is."""
    stated(told, "acme", "UTC")
    in_both = priced(call(event_key="app/both"), offset=3)
    in_utc = priced(call(event_key="app/utc", started_at_us=at("2025-10-01T00:00+00:00")), offset=4)
    told.write(in_utc)
    with (
        connect(server.settings(database, user="keeper"), application="test") as keeper,
        ThreadPoolExecutor() as pool,
    ):
        with writing(told.connection, told.state):
            closing = pool.submit(close, keeper, "acme", "2025-10", reason="x", now=NOVEMBER)
            with pytest.raises(TimeoutError):
                closing.result(0.5)
            stated(told, "acme", "America/Los_Angeles")
        with pytest.raises(PeriodError, match="2025-10 of acme began or ended elsewhere a moment ago; close it again"):
            closing.result(20)
        told.write(in_both)
        period = close(keeper, "acme", "2025-10", reason="x", now=NOVEMBER)
        assert (period.time_zone, period.closed) == ("America/Los_Angeles", Sums(3, 0, 540_000))
        assert sums_again(keeper, period) == period.closed


def test_a_month_is_closed_under_its_full_name(keeper: Connection) -> None:
    assert close(keeper, "acme", "2025-9", reason="x", now=NOVEMBER).month == "2025-09"
    with pytest.raises(PeriodError, match="2025-09 of acme is closed already"):
        close(keeper, "acme", "2025-9", reason="x", now=NOVEMBER)


def test_the_commands_list_and_approve_what_came_late(told: Books, command: Command) -> None:
    assert command("periods", "close", "acme", "2025-10", "--reason", "invoice")[0] == 0
    assert command("periods", "late")[0] == 0
    told.now_us += HOUR_US
    told.write(priced(call(event_key="app/late"), offset=3))
    status, printed = command("periods", "late")
    assert (status, "late call" in printed, "awaits approval" in printed) == (1, True, True), printed
    assert "late call, correction,1,0,220000" in command(
        "costs", "--by", "tenant", "--changed-since", "2025-10-09T10:00:00Z", "--format", "csv"
    )[1].replace('"', "")
    status, printed = command("periods", "approve", "acme", "2025-10", "--reason", "late logs")
    assert (status, "corrections of +1 calls, 0.00000022 USD, are approved" in printed) == (0, True), printed
    assert command("periods", "late")[0] == 0
