"""A private Postgres for the ledger's tests, with a fresh database for each test that asks."""

import uuid
from collections.abc import Iterator

import psycopg
import pytest

from ledger.database import connect
from ledger.migrate import migrate
from ledger.private_postgres import FAST, Server, running
from tests.ledger.books import Books


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with running(FAST) as started:
        yield started


@pytest.fixture(scope="session")
def template(server: Server) -> str:
    """A migrated database that others are copied from."""
    server.create("ledger_template")
    with psycopg.connect(server.dsn("postgres", "ledger_template"), autocommit=True) as admin:
        migrate(admin)
    return "ledger_template"


@pytest.fixture
def database(server: Server, template: str) -> Iterator[str]:
    """The name of a fresh, migrated, empty database."""
    name = f"ledger_{uuid.uuid4().hex[:12]}"
    server.create(name, template=template)
    yield name
    server.drop(name)


@pytest.fixture
def books(server: Server, database: str) -> Iterator[Books]:
    """An empty ledger, written as role `writer`."""
    with connect(server.settings(database), application="test") as connection:
        yield Books(connection)
