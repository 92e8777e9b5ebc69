"""Connections to Postgres: what every process asks of one before it writes."""

from typing import TYPE_CHECKING, Any

import psycopg

if TYPE_CHECKING:
    from ledger.settings import Settings

Connection = psycopg.Connection[tuple[Any, ...]]


class TooPowerfulError(Exception):
    """The login may change what must not be changed; a process must not run with it."""


def connect(settings: "Settings", *, application: str) -> Connection:
    """A connection in autocommit mode, as a role that can neither bypass grants nor alter tables."""
    connection = psycopg.connect(
        host=settings.postgres_host,
        port=settings.postgres_port,
        dbname=settings.postgres_database,
        user=settings.postgres_user,
        application_name=application,
        connect_timeout=5,
        autocommit=True,
        # A frozen server or a dead peer must end in an error, or nothing would retry.
        keepalives_idle=10,
        keepalives_interval=5,
        keepalives_count=3,
        tcp_user_timeout=30_000,
    )
    try:
        refuse_the_powerful(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def refuse_the_powerful(connection: Connection) -> None:
    """Raise TooPowerfulError for a superuser or an owner of ledger tables."""
    row = connection.execute(
        """
        SELECT current_user, rolsuper, EXISTS (
            SELECT FROM pg_class
            WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND pg_has_role(relowner, 'MEMBER')
        )
        FROM pg_roles WHERE rolname = current_user
        """
    ).fetchone()
    if row is None or row[1] or row[2]:
        name = row[0] if row else "?"
        what = "is a superuser" if row and row[1] else "owns ledger tables"
        message = f"postgres: role {name!r} {what}; log in as `writer`, `app` or `analyst`"
        raise TooPowerfulError(message)
