"""Who may read and write what, tried as each role."""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from ledger.as_of import changes
from ledger.database import Connection, TooPowerfulError, connect
from ledger.private_postgres import Server
from tests.ledger.books import Books
from tests.ledger.samples import NOW_US, call, priced

pytestmark = pytest.mark.slow

_VISIBLE = (
    "calls", "postings", "lines", "rates", "dimensions", "rollups", "cost_daily", "cost_by_feature", "cost_by_meter",
    "cost_by_request", "latency_histograms", "latency_percentiles",
)  # fmt: skip


@pytest.fixture
def filled(books: Books) -> Books:
    """A ledger with one call of each of two tenants."""
    books.write(priced(call(), offset=0), priced(call(tenant_id="umbrella"), offset=1))
    return books


@pytest.fixture
def person(server: Server, database: str) -> Iterator[str]:
    """A login that is an analyst of tenant umbrella."""
    with psycopg.connect(server.dsn("postgres", database), autocommit=True) as admin:
        admin.execute("CREATE ROLE dana LOGIN IN ROLE analyst")
        admin.execute("INSERT INTO tenant_grants VALUES ('dana', 'umbrella')")
        yield "dana"
        admin.execute("DROP ROLE dana")


def _count(connection: Connection, relation: str) -> int:
    row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(relation))).fetchone()
    return int(row[0]) if row else 0


@pytest.mark.parametrize("role", ["postgres", "boss"])
def test_a_process_refuses_to_run_with_too_much_power(server: Server, database: str, role: str) -> None:
    with psycopg.connect(server.dsn("postgres", database), autocommit=True) as admin:
        if role == "boss":
            admin.execute("CREATE ROLE boss LOGIN IN ROLE owner")
        try:
            with pytest.raises(TooPowerfulError, match="log in as"):
                connect(server.settings(database, user=role), application="test")
        finally:
            admin.execute("DROP ROLE IF EXISTS boss")


@pytest.mark.parametrize("statement", ["UPDATE {} SET dim_no = 0", "DELETE FROM {}", "TRUNCATE {}"])
@pytest.mark.parametrize("table", ["postings", "lines"])
def test_the_writer_cannot_change_what_was_posted(filled: Books, statement: str, table: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        filled.connection.execute(sql.SQL(statement).format(sql.Identifier(table)))


@pytest.mark.parametrize("relation", _VISIBLE)
def test_the_app_sees_the_tenant_it_set_and_nothing_else(
    server: Server, database: str, filled: Books, relation: str
) -> None:
    whole = _count(filled.connection, relation)
    with connect(server.settings(database, user="app"), application="test") as app:
        assert _count(app, relation) == 0
        with app.transaction():
            app.execute("SELECT set_config('app.tenant', 'acme', true)")
            assert _count(app, relation) * 2 == whole > 0
        assert _count(app, relation) == 0


@pytest.mark.parametrize("relation", _VISIBLE)
def test_an_analyst_sees_the_tenants_granted_to_the_login(
    server: Server, database: str, filled: Books, person: str, relation: str
) -> None:
    whole = _count(filled.connection, relation)
    with connect(server.settings(database, user=person), application="test") as some:
        assert _count(some, relation) * 2 == whole > 0
    with connect(server.settings(database, user="analyst"), application="test") as every:
        assert _count(every, relation) == whole


@pytest.fixture
def run_of_acme(server: Server, database: str, filled: Books) -> Books:
    """A price changed and a run was made for tenant acme; a batch of it charged a call of umbrella too."""
    with connect(server.settings(database, user="keeper"), application="test") as keeper:
        keeper.execute("INSERT INTO price_changes (made_at_us, action, reason) VALUES (1, 'add', 'acme gets half off')")
    write = filled.connection.execute
    write(
        "INSERT INTO repricing_runs (reason, book_version, calls, before_usd_pico, after_usd_pico, kind) "
        "VALUES ('acme gets half off', 'book-2', 7, 700, 350, 'reread')"
    )
    write("INSERT INTO run_batches (posted_at_us, run_no) SELECT posted_at_us, 1 FROM batches")
    return filled


@pytest.mark.parametrize("table", ["repricing_runs", "price_changes"])
def test_why_and_for_how_much_is_read_by_who_sees_every_tenant(
    server: Server, database: str, run_of_acme: Books, person: str, table: str
) -> None:
    assert _count(run_of_acme.connection, table) == 1
    readers = {"repricing_runs": ("keeper", "watcher"), "price_changes": ("keeper", "pricing")}
    for role, rows in ((person, 0), ("analyst", 1), *((role, 1) for role in readers[table])):
        with connect(server.settings(database, user=role), application="test") as reader:
            assert (role, _count(reader, table)) == (role, rows)


@pytest.mark.usefixtures("run_of_acme")
def test_costs_that_a_run_changed_name_it_to_every_analyst(server: Server, database: str, person: str) -> None:
    for login, calls in ((person, 1), ("analyst", 2)):
        with connect(server.settings(database, user=login), application="test") as reader:
            [found] = changes(reader, by=("provider",), since_us=0, until_us=2 * NOW_US)
            assert (found.cause, found.calls) == ("reread run 1", calls)


@pytest.mark.parametrize("role", ["app", "analyst"])
@pytest.mark.usefixtures("filled")
def test_readers_cannot_write(server: Server, database: str, role: str) -> None:
    with (
        connect(server.settings(database, user=role), application="test") as reader,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        reader.execute("UPDATE calls SET known_cost_usd_pico = 0")


@pytest.mark.usefixtures("filled")
def test_partitions_cannot_be_read_around_the_policies(server: Server, database: str) -> None:
    with (
        connect(server.settings(database, user="analyst"), application="test") as reader,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        reader.execute("SELECT FROM calls_202510")
