"""What the product asks of a large ledger is found, not searched for: no table is read whole that need not be.

A year of calls is made, the product's own functions are run on it, and Postgres's plans of every statement they sent
are looked at. A sequential scan is forbidden to the planner, so one that is left means that there is no index to use;
and of every table only so many rows may be read as the question is about.
"""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import psycopg
import pytest
from psycopg import sql

from benchmarks.filled_ledger import Filling
from feature_repo.spend import sums, today
from ledger import store
from ledger.as_of import changes, standing
from ledger.compact import compact
from ledger.costs import Period, table
from ledger.database import Connection, connect
from ledger.keys import event_key
from ledger.migrate import migrate
from ledger.private_postgres import Server
from ledger.repricing import Wanted, differences
from serving.gateway.spending import charges
from tokenledger.pricing import packaged_book
from tokenledger.process import Context

pytestmark = pytest.mark.slow

_CALLS = 12_000
_DAY_US = 86_400_000_000
_TABLES = ("calls", "lines", "postings", "rollups_15m", "latency_15m", "call_keys", "witnesses")
_EXPLAINED = {
    "session_preload_libraries": "auto_explain",
    "auto_explain.log_min_duration": "0",
    "auto_explain.log_analyze": "on",
    "auto_explain.log_format": "json",
    "auto_explain.log_level": "notice",
    "auto_explain.log_timing": "off",
    "enable_seqscan": "off",
    "statement_timeout": "0",
    "jit": "off",
}
_TENANTS = [f"tenant-{number:02}" for number in range(50)]


class Read(NamedTuple):
    """What one question read."""

    share: dict[str, float]
    """Rows read of each table, as a share of all it has."""
    searched: list[str]
    """Tables, or months of one, that were read from begin to end for want of an index."""


class Year:
    """A ledger of a year."""

    def __init__(self, server: Server, name: str, end_us: int) -> None:
        self._server, self._name, self.end_us = server, name, end_us
        with psycopg.connect(server.dsn("postgres", name), autocommit=True) as admin:
            self._rows = {
                table: admin.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))).fetchone()
                for table in _TABLES
            }

    def read(self, user: str, ask: Callable[[Connection], object]) -> Read:
        """Run it as that role, and see what its statements read."""
        plans: list[dict[str, Any]] = []
        with connect(self._server.settings(self._name, user=user), application="plans") as connection:
            connection.add_notice_handler(lambda notice: plans.extend(_plan(notice.message_primary or "")))
            ask(connection)
        nodes = [node for plan in plans for node in _nodes(plan) if node.get("Actual Loops") and _table(node)]
        assert plans
        share = dict.fromkeys((_table(node) for node in nodes), 0.0)
        for node in nodes:
            share[_table(node)] += _rows(node) / max((self._rows[_table(node)] or (1,))[0], 1)
        searched = [node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan"]
        return Read(share, sorted(set(searched)))


def _plan(message: str) -> list[dict[str, Any]]:
    return [json.loads(message.partition("plan:")[2])["Plan"]] if "plan:" in message else []


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


def _table(node: dict[str, Any]) -> str:
    name = node.get("Relation Name", "")
    return next((table for table in _TABLES if name == table or name.startswith(f"{table}_")), "")


def _rows(node: dict[str, Any]) -> float:
    names = ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck")
    return float(node["Actual Loops"] * sum(node.get(name, 0) for name in names))


@pytest.fixture(scope="module")
def year(server: Server) -> Iterator[Year]:
    name = "ledger_year"
    server.create(name)
    end_us = time.time_ns() // 1000
    with psycopg.connect(server.dsn("postgres", name), autocommit=True) as admin:
        migrate(admin)
        Filling(admin, calls=_CALLS, end_us=end_us, batch_calls=50).back_to(1, lambda _: None)
        admin.execute("ANALYZE")
        for role in ("analyst", "writer", "gateway", "features"):
            for setting, value in _EXPLAINED.items():
                parts = (sql.Identifier(part) for part in (role, name))
                named = sql.SQL(".").join(sql.Identifier(part) for part in setting.split("."))
                statement = sql.SQL("ALTER ROLE {} IN DATABASE {} SET {} = {}")
                admin.execute(statement.format(*parts, named, sql.Literal(value)))
    yield Year(server, name, end_us)
    server.drop(name)


def _asked(statement: str, *values: object) -> Callable[[Connection], object]:
    return lambda connection: connection.execute(statement.encode(), values).fetchall()


def _within(read: Read, **shares: float) -> None:
    """Nothing was searched, and of no table more was read than that."""
    assert read.searched == []
    over = {table: share for table, share in read.share.items() if share > shares.get(table, 0.0)}
    assert over == {}


# A month is a twelfth of the year; calls a day late stand in the month before.
_MONTHS = 0.2


def test_the_gateway_looks_at_what_was_posted_since_its_last_look(year: Year) -> None:
    read = year.read(
        "gateway",
        lambda c: charges(c, [("gateway-0\x1f77", "tenant-03")], since_us=year.end_us - _DAY_US, tenants=_TENANTS,
                          now_us=year.end_us),
    )  # fmt: skip
    _within(read, lines=_MONTHS, call_keys=0.001, calls=0.001)


def test_the_gateway_begins_with_the_month_s_roll_ups(year: Year) -> None:
    read = year.read("gateway", lambda c: charges(c, [], since_us=None, tenants=_TENANTS, now_us=year.end_us))
    _within(read, lines=_MONTHS, rollups_15m=_MONTHS)


def test_the_feature_store_asks_for_today(year: Year) -> None:
    today_us = year.end_us - year.end_us % _DAY_US
    read = year.read("features", lambda c: sums(c, today(today_us)))
    _within(read, lines=_MONTHS, postings=_MONTHS, rollups_15m=_MONTHS)


def test_what_changed_since_yesterday_reads_what_was_posted_since(year: Year) -> None:
    since_us = year.end_us - _DAY_US
    read = year.read("analyst", lambda c: changes(c, by=("tenant",), since_us=since_us, until_us=year.end_us))
    _within(read, lines=_MONTHS, postings=_MONTHS)


def test_the_books_as_of_yesterday_are_the_roll_ups_and_what_was_posted_since(year: Year) -> None:
    read = year.read("analyst", lambda c: standing(c, by=("tenant",), until_us=year.end_us - _DAY_US))
    assert set(read.searched) <= {"rollups_15m"}
    assert {name for name, share in read.share.items() if share > _MONTHS} <= {"rollups_15m"}
    assert read.share["rollups_15m"] <= 1.0


def test_the_costs_of_a_day_read_that_day_s_month(year: Year) -> None:
    period = Period(year.end_us - _DAY_US, year.end_us)
    read = year.read("analyst", lambda c: table(c, by=("tenant", "feature"), period=period))
    _within(read, calls=_MONTHS, postings=_MONTHS)


def test_views_are_read_by_their_whole_numbers_of_time(year: Year) -> None:
    """Under row-level security an index serves comparisons of numbers, not of what `to_timestamp` makes of them."""
    bucket_no = (year.end_us - 7 * _DAY_US) // 900_000_000
    read = year.read("analyst", _asked("SELECT * FROM rollups WHERE bucket_no >= %s", bucket_no))
    _within(read, lines=_MONTHS, postings=_MONTHS, rollups_15m=_MONTHS)
    read = year.read(
        "analyst", _asked("SELECT * FROM cost_by_request WHERE charged_at_us >= %s", year.end_us - _DAY_US)
    )
    _within(read, calls=_MONTHS)


def test_one_call_is_found_by_its_number(year: Year) -> None:
    _within(year.read("analyst", _asked("SELECT * FROM cost_by_request WHERE call_id = 11345")), calls=0.001)


def test_calls_of_unknown_cost_are_found_among_all(year: Year) -> None:
    _within(year.read("analyst", _asked("SELECT * FROM unpriced_calls")), calls=0.02)


def test_the_writer_finds_what_it_knows_of_a_record_by_its_keys(year: Year) -> None:
    def ask(connection: Connection) -> None:
        store.prepare(connection, synchronous_commit="off")
        keys = [event_key(f"tenant-{tenant:02}", f"gateway-0\x1f{number}") for tenant in range(50) for number in (7, 8)]
        known = store.known_keys(connection, keys)
        assert len(known) == 2
        assert len(store.existing(connection, known.values())) == 2

    _within(year.read("writer", ask), calls=0.001, lines=0.001, call_keys=0.001)


def test_a_fold_reads_what_was_posted_since_the_last(year: Year) -> None:
    def ask(connection: Connection) -> None:
        with connection.transaction(force_rollback=True):
            connection.execute("UPDATE compaction SET posted_at_us = posted_at_us - 1")
            assert compact(connection)

    read = year.read("writer", ask)
    assert read.searched == []
    assert {table: share for table, share in read.share.items() if share > _MONTHS and table != "rollups_15m"} == {}


def test_a_repricing_of_a_day_reads_that_day_s_month(year: Year) -> None:
    wanted = Wanted(since_us=year.end_us - _DAY_US, until_us=year.end_us)
    read = year.read("writer", lambda c: list(differences(c, wanted, Context(book=packaged_book()))))
    # Every call of the day is taken again with its lines, by its key.
    _within(read, calls=2 * _MONTHS, lines=_MONTHS)


def test_a_question_without_an_index_is_told_from_one_with(year: Year) -> None:
    """The test itself can fail: a search for what nothing leads to is seen."""
    read = year.read("analyst", _asked("SELECT count(*) FROM calls WHERE user_id = 'user-7'"))
    assert read.searched != [] or read.share["calls"] >= 1.0
