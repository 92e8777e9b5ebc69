"""A private Postgres for the ledger's tests: started on a free port in a folder of its own, gone afterwards."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from ledger.database import connect
from ledger.migrate import migrate
from ledger.settings import Settings
from tests.ledger.books import Books


def _bin() -> Path:
    on_path = shutil.which("pg_ctl")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    if not on_path and not found:
        pytest.fail("Postgres is not installed: run `make setup`")
    return Path(on_path).parent if on_path else found[-1].parent


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _as_postgres(*command: str) -> None:
    """Run as a user that Postgres accepts: it refuses root."""
    user = "postgres" if os.getuid() == 0 else None
    done = subprocess.run(command, user=user, cwd="/", capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running Postgres."""

    folder: Path
    port: int

    def dsn(self, user: str, database: str = "postgres") -> str:
        """How to log in as `user`."""
        return f"host={self.folder} port={self.port} user={user} dbname={database}"

    def settings(self, database: str, *, user: str = "writer") -> Settings:
        """Settings of a process on this server."""
        return Settings.from_environment(
            {
                "TOKENLEDGER_POSTGRES_SOCKET": str(self.folder),
                "TOKENLEDGER_POSTGRES_PORT": str(self.port),
                "TOKENLEDGER_POSTGRES_DATABASE": database,
                "TOKENLEDGER_WRITER_SYNCHRONOUS_COMMIT": "off",
            },
            user=user,
        )


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    binaries = _bin()
    with tempfile.TemporaryDirectory(prefix="tl-pg-") as name:
        folder = Path(name)
        if os.getuid() == 0:
            os.chown(folder, pwd.getpwnam("postgres").pw_uid, -1)
        data = folder / "data"
        _as_postgres(
            str(binaries / "initdb"), "-A", "trust", "-E", "UTF8", "--locale=C", "-U", "postgres", "--no-sync",
            "-D", str(data),
        )  # fmt: skip
        port = _free_port()
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
        _as_postgres(
            str(binaries / "pg_ctl"), "-w", "-D", str(data), "-l", str(folder / "log"), "-o", options, "start"
        )
        try:
            yield Server(folder=folder, port=port)
        finally:
            _as_postgres(str(binaries / "pg_ctl"), "-w", "-m", "immediate", "-D", str(data), "stop")


@pytest.fixture(scope="session")
def template(server: Server) -> str:
    """A migrated database that others are copied from."""
    with psycopg.connect(server.dsn("postgres"), autocommit=True) as admin:
        admin.execute("CREATE DATABASE ledger_template")
    with psycopg.connect(server.dsn("postgres", "ledger_template"), autocommit=True) as admin:
        migrate(admin)
    return "ledger_template"


@pytest.fixture
def database(server: Server, template: str) -> Iterator[str]:
    """The name of a fresh, migrated, empty database."""
    name = f"ledger_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server.dsn("postgres"), autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template)))
        yield name
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def books(server: Server, database: str) -> Iterator[Books]:
    """An empty ledger, written as role `writer`."""
    with connect(server.settings(database), application="test") as connection:
        yield Books(connection)
