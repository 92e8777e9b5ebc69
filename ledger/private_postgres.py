"""A Postgres of one's own for tests and benchmarks: on a free port, in a folder that is gone afterwards."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from ledger.settings import Settings

FAST = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
"""For tests: nothing has to survive the machine."""
AS_DEPLOYED = {
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "wal_compression": "lz4",
    "wal_level": "logical",
    "jit": "off",
}
"""For benchmarks: as the local stack sets it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running Postgres."""

    folder: Path
    port: int

    def dsn(self, user: str, database: str = "postgres") -> str:
        """How to log in as `user`."""
        return f"host={self.folder} port={self.port} user={user} dbname={database}"

    def settings(self, database: str, *, user: str = "writer", synchronous_commit: str = "off") -> Settings:
        """Settings of a process on this server."""
        return Settings.from_environment(
            {
                "TOKENLEDGER_POSTGRES_SOCKET": str(self.folder),
                "TOKENLEDGER_POSTGRES_PORT": str(self.port),
                "TOKENLEDGER_POSTGRES_DATABASE": database,
                "TOKENLEDGER_WRITER_SYNCHRONOUS_COMMIT": synchronous_commit,
            },
            user=user,
        )

    def create(self, database: str, *, template: str = "template1") -> None:
        """Make a database, empty or a copy."""
        with psycopg.connect(self.dsn("postgres"), autocommit=True) as admin:
            statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
            admin.execute(statement.format(sql.Identifier(database), sql.Identifier(template)))

    def drop(self, database: str) -> None:
        """Remove a database, whoever is connected to it."""
        with psycopg.connect(self.dsn("postgres"), autocommit=True) as admin:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(database)))


@contextmanager
def running(settings: Mapping[str, str]) -> Iterator[Server]:
    """Start one, and stop it at the end."""
    binaries = _binaries()
    with tempfile.TemporaryDirectory(prefix="tl-pg-") as name:
        folder = Path(name)
        if os.getuid() == 0:
            os.chown(folder, pwd.getpwnam("postgres").pw_uid, -1)
        data = folder / "data"
        _run(
            str(binaries / "initdb"), "-A", "trust", "-E", "UTF8", "--locale=C", "-U", "postgres", "--no-sync",
            "-D", str(data),
        )  # fmt: skip
        port = _free_port()
        given = {"listen_addresses": "127.0.0.1", "unix_socket_directories": str(folder), **settings}
        options = " ".join([f"-p {port}", *(f"-c {name}={value}" for name, value in given.items())])
        _run(str(binaries / "pg_ctl"), "-w", "-D", str(data), "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield Server(folder=folder, port=port)
        finally:
            _run(str(binaries / "pg_ctl"), "-w", "-m", "immediate", "-D", str(data), "stop")


def _binaries() -> Path:
    found = [Path(path).parent for path in [shutil.which("pg_ctl")] if path]
    found += sorted((path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/pg_ctl")), reverse=True)
    if not found:
        message = "pg_ctl is not on the path nor under /usr/lib/postgresql; run `make setup`"
        raise FileNotFoundError(message)
    return found[0]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _run(*command: str) -> None:
    """Run as a user that Postgres accepts: it refuses root."""
    user = "postgres" if os.getuid() == 0 else None
    subprocess.run(
        command, user=user, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True, timeout=120
    )
