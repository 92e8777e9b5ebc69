"""Brings the schema up to date: every migration once, in order, as role `owner`. Running it again changes nothing."""

import os
import sys
from hashlib import sha256
from importlib.resources import files
from typing import Any, Final

import psycopg
from psycopg import sql

Admin = psycopg.Connection[tuple[Any, ...]]

_ROLES: Final = (
    ("owner", sql.SQL("NOLOGIN")),
    # COPY into a table under row-level security is refused to roles that do not bypass it.
    ("writer", sql.SQL("LOGIN BYPASSRLS")),
    ("app", sql.SQL("LOGIN")),
    ("analyst", sql.SQL("LOGIN")),
    ("features", sql.SQL("LOGIN")),
    ("keeper", sql.SQL("LOGIN")),
    ("gateway", sql.SQL("LOGIN")),
    ("pricing", sql.SQL("LOGIN")),
    ("archive", sql.SQL("LOGIN")),
    ("watcher", sql.SQL("LOGIN")),
    ("capture", sql.SQL("LOGIN REPLICATION")),
)


class MigrationChangedError(Exception):
    """A migration that was applied is no longer what it was."""


def migrations() -> list[tuple[str, str]]:
    """Name and text of every migration, in order."""
    folder = files("ledger") / "migrations"
    return sorted((entry.name, entry.read_text("utf-8")) for entry in folder.iterdir() if entry.name.endswith(".sql"))


def migrate(connection: Admin) -> list[str]:
    """Apply what is missing, in one transaction; the names of what was applied."""
    with connection.transaction():
        # Two that start at once: the second waits, then finds nothing to do.
        connection.execute("SELECT pg_advisory_xact_lock(hashtext('tokenledger migrate'))")
        _create_roles(connection)
        connection.execute("SET LOCAL ROLE owner")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS migrations "
            "(name text PRIMARY KEY, sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT clock_timestamp())"
        )
        connection.execute("RESET ROLE")
        known: dict[str, str] = dict(connection.execute("SELECT name, sha256 FROM migrations").fetchall())
        done = [name for name, text in migrations() if _apply(connection, name, text, known=known.get(name))]
        _grant_defaults(connection)
    return done


def _create_roles(connection: Admin) -> None:
    for name, options in _ROLES:
        if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (name,)).fetchone() is None:
            connection.execute(sql.SQL("CREATE ROLE {} {}").format(sql.Identifier(name), options))
    # Exclusion constraints compare texts and ranges together; making an extension is not the owner's to do.
    connection.execute("CREATE EXTENSION IF NOT EXISTS btree_gist")
    connection.execute("GRANT CREATE, USAGE ON SCHEMA public TO owner")
    # A publication belongs to the database, not to a schema.
    database = sql.Identifier(connection.info.dbname)
    connection.execute(sql.SQL("GRANT CREATE ON DATABASE {} TO owner").format(database))
    connection.execute(
        "GRANT USAGE ON SCHEMA public TO writer, app, analyst, features, keeper, gateway, pricing, archive, capture, "
        "watcher"
    )
    connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    # A writer that hangs must not hold the locks of its transaction.
    connection.execute("ALTER ROLE writer SET idle_in_transaction_session_timeout = '5s'")
    connection.execute("ALTER ROLE writer SET lock_timeout = '5s'")
    # Sums of a month that take longer are asked again later, instead of piling up.
    connection.execute("ALTER ROLE features SET statement_timeout = '10s'")


def _apply(connection: Admin, name: str, text: str, *, known: str | None) -> bool:
    digest = sha256(text.encode()).hexdigest()
    if known == digest:
        return False
    if known is not None:
        message = (
            f"{name}: applied with SHA-256 {known}, now {digest}; add a new migration instead of changing this one"
        )
        raise MigrationChangedError(message)
    connection.execute("SET LOCAL ROLE owner")
    connection.execute("SET LOCAL client_min_messages = warning")
    connection.execute(text.encode())
    connection.execute("RESET ROLE")
    connection.execute("INSERT INTO migrations (name, sha256) VALUES (%s, %s)", (name, digest))
    return True


def _grant_defaults(connection: Admin) -> None:
    """The bare `analyst` login reads every tenant; people get logins of their own and grants of their own."""
    connection.execute("INSERT INTO tenant_grants VALUES ('analyst', '*') ON CONFLICT DO NOTHING")


def main() -> int:
    """`python -m ledger.migrate`."""
    dsn = os.environ.get("TOKENLEDGER_POSTGRES_ADMIN_DSN")
    if not dsn:
        sys.stderr.write("migrate: TOKENLEDGER_POSTGRES_ADMIN_DSN is not set; it names a superuser's connection\n")
        return 2
    with psycopg.connect(dsn, autocommit=True) as connection:
        applied = migrate(connection)
    sys.stdout.write(f"migrate: applied {', '.join(applied)}\n" if applied else "migrate: up to date\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
