"""A private Postgres for the mutation checks: the ledger tests' own."""

from tests.ledger.conftest import books, database, server, template

__all__ = ["books", "database", "server", "template"]
