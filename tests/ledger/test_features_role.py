"""Spend features come from the ledger's roll-ups, through a login that sees sums and nothing else."""

import psycopg
import pytest
from psycopg import sql

from feature_repo.spend import Sums, days_before, spend_features, sums, today
from feature_repo.spending import Spending
from ledger import compact
from ledger.database import connect
from ledger.private_postgres import Server
from tests.ledger.books import Books
from tests.ledger.samples import NOW_US, call, priced
from tokenledger.records.features import SpendFeatures

pytestmark = pytest.mark.slow

_HOUR_US = 3_600_000_000
_DAY_US = 24 * _HOUR_US
_TODAY_US = NOW_US - NOW_US % _DAY_US
_MONTH_US = _TODAY_US - 8 * _DAY_US  # NOW_US is on the 9th
_CALL_USD_PICO = 110 * 2_000  # 100 tokens in, 10 out, each 2,000 pico-dollars
_SECRET_COLUMNS = [
    ("calls", "user_id"),
    ("dimensions", "api_key_id"),
    ("postings", "posting_id"),
    ("rates", "price_id"),
]


@pytest.fixture
def filled(books: Books) -> Books:
    """Calls of today (one sent twice), of another day of the month, of late last night and of the month before."""
    times = {
        "now": NOW_US,
        "days-ago": NOW_US - 3 * _DAY_US,
        "last-night": _TODAY_US - _HOUR_US,
        "last-month": _MONTH_US - _HOUR_US,
    }
    made = [
        call(event_id=name, event_key=name, started_at_us=at_us, ended_at_us=at_us + 1)
        for name, at_us in [*times.items(), ("now", NOW_US)]
    ]
    other = call(tenant_id="umbrella", feature=None, started_at_us=_TODAY_US - _HOUR_US, usage_source="none", usage={})
    books.write(*(priced(one, offset=place) for place, one in enumerate([*made, other])))
    return books


@pytest.mark.usefixtures("filled")
def test_spend_counts_a_call_once_and_names_who_called_shortly_before_midnight(server: Server, database: str) -> None:
    with connect(server.settings(database, user="features"), application="test") as login:
        before, this_day = sums(login, days_before(_MONTH_US, _TODAY_US)), sums(login, today(_TODAY_US))

    assert before["acme", "chat"] == Sums(2 * _CALL_USD_PICO, 2, 0)
    assert this_day == {("acme", "chat"): Sums(_CALL_USD_PICO, 1, 0), ("umbrella", ""): Sums(0, 0, 0)}
    assert spend_features(before, this_day)["acme", "chat"] == SpendFeatures(
        known_cost_usd_pico_day=_CALL_USD_PICO,
        known_cost_usd_pico_month=3 * _CALL_USD_PICO,
        incomplete_calls_month=0,
        calls_month=3,
    )


def test_spend_is_the_same_before_and_after_the_compactor(server: Server, database: str, filled: Books) -> None:
    with connect(server.settings(database, user="features"), application="test") as login:
        fresh = sums(login, days_before(_MONTH_US, _TODAY_US + _DAY_US))
        while compact.compact(filled.connection):
            pass
        assert sums(login, days_before(_MONTH_US, _TODAY_US + _DAY_US)) == fresh


@pytest.mark.usefixtures("filled")
def test_spend_is_asked_again_over_a_new_connection_after_the_old_one_broke(server: Server, database: str) -> None:
    spending = Spending(server.settings(database, user="features"))
    first = spending.ask(now_s=NOW_US / 1e6)
    with psycopg.connect(server.dsn("postgres", database), autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'features'")

    with pytest.raises(psycopg.OperationalError):
        spending.ask(now_s=NOW_US / 1e6)
    assert spending.ask(now_s=NOW_US / 1e6) == first
    spending.close()


@pytest.mark.usefixtures("filled")
def test_with_the_day_and_the_month_the_sums_begin_anew(server: Server, database: str) -> None:
    spending = Spending(server.settings(database, user="features"))
    asked = [spending.ask(now_s=(NOW_US + days * _DAY_US) / 1e6).get(("acme", "chat")) for days in (0, 1, 30, 31)]
    spending.close()

    # Day, month. Whoever was told of once is told that it is nothing now; then no more.
    assert [one and (one.known_cost_usd_pico_day, one.known_cost_usd_pico_month) for one in asked] == [
        (_CALL_USD_PICO, 3 * _CALL_USD_PICO),
        (0, 3 * _CALL_USD_PICO),
        (0, 0),
        None,
    ]


def test_who_has_gone_is_told_zeros(books: Books) -> None:
    del books
    nothing = SpendFeatures(
        known_cost_usd_pico_day=0, known_cost_usd_pico_month=0, incomplete_calls_month=0, calls_month=0
    )
    assert spend_features({}, {}, also=[("acme", "chat")]) == {("acme", "chat"): nothing}


@pytest.mark.parametrize(("table", "column"), _SECRET_COLUMNS)
@pytest.mark.usefixtures("filled")
def test_the_login_cannot_read_who_called(server: Server, database: str, table: str, column: str) -> None:
    question = sql.SQL("SELECT {} FROM {}").format(sql.Identifier(column), sql.Identifier(table))
    with (
        connect(server.settings(database, user="features"), application="test") as login,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        login.execute(question)


@pytest.mark.usefixtures("filled")
def test_the_login_cannot_write(server: Server, database: str) -> None:
    with (
        connect(server.settings(database, user="features"), application="test") as login,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        login.execute("UPDATE rollups_15m SET calls = 0")
