"""Faults inside Postgres: a session that is ended at the worst moment, a ledger that is locked."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import psycopg

from tests.faults.fault import NotInjected
from tests.faults.injections.making import made

if TYPE_CHECKING:
    import random

    from tests.faults.fault import Injected, Site

_WRITES_WITHIN_S: Final = 30.0
_MOMENTS: Final = {"copy": "COPY%", "commit": "COMMIT%"}
_AT_MOMENT: Final = """
    SELECT pid FROM pg_stat_activity
    WHERE application_name = 'tokenledger-writer' AND state = 'active' AND query LIKE %s
"""
_END_AT_MOMENT: Final = """
    SELECT pid FROM pg_stat_activity
    WHERE application_name = 'tokenledger-writer' AND state = 'active' AND query LIKE %s AND pg_terminate_backend(pid)
"""


@dataclass(frozen=True, slots=True)
class EndSession:
    """The writer's backend is ended in the middle of a COPY or of its commit."""

    name: str
    moment: str
    """"copy" or "commit"."""
    by_kill: bool = False
    """Kill -9 of the backend, after which Postgres recovers as after a crash; else `pg_terminate_backend`."""
    code: str = "F5"

    def inject(self, site: Site, _dice: random.Random) -> Injected:
        """Wait for the moment, end it; the writer is ready again when this returns."""
        with site.connect() as connection:
            pid, began_ns = self._ended(connection)
        site.healed("postgres")
        site.wait_until(lambda: _has_session(site, but=pid), "the writer to have another session")
        how = "kill -9 of" if self.by_kill else "pg_terminate_backend of"
        return made(self, "postgres", began_ns, f"{how} the writer's backend {pid} in its {self.moment}")

    def _ended(self, connection: psycopg.Connection[tuple[object, ...]]) -> tuple[int, int]:
        pattern = _MOMENTS[self.moment]
        deadline = time.monotonic() + _WRITES_WITHIN_S
        while time.monotonic() < deadline:
            row = connection.execute(_AT_MOMENT if self.by_kill else _END_AT_MOMENT, [pattern]).fetchone()
            if row is not None:
                pid = int(str(row[0]))
                if self.by_kill:
                    os.kill(pid, signal.SIGKILL)
                return pid, time.time_ns()
        message = f"no {self.moment} of the writer was met in {_WRITES_WITHIN_S:.0f} s; does it write?"
        raise NotInjected(message)


def _has_session(site: Site, *, but: int) -> bool:
    try:
        with site.connect() as connection:
            found = connection.execute(
                "SELECT FROM pg_stat_activity WHERE application_name = 'tokenledger-writer' AND pid <> %s", [but]
            ).fetchone()
    except psycopg.OperationalError:
        return False
    return found is not None


@dataclass(frozen=True, slots=True)
class LockLedger:
    """Tables the writer needs are locked: it can neither write nor wait for ever, and its lag grows."""

    name: str = "lock_ledger"
    code: str = "F17"
    held_s: float = 60.0

    def inject(self, site: Site, dice: random.Random) -> Injected:
        """Hold the lock of one of them, or of all."""
        tables = dice.choice((("calls",), ("postings", "lines"), ("calls", "call_keys", "postings", "lines")))
        began_ns = time.time_ns()
        with site.connect() as connection, connection.transaction():
            for table in tables:
                statement = psycopg.sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE")
                connection.execute(statement.format(psycopg.sql.Identifier(table)))
            held_ns = time.time_ns()
            time.sleep(self.held_s)
        waited_s = (held_ns - began_ns) / 1e9
        detail = f"{', '.join(tables)} locked for {self.held_s:.0f} s, after a wait of {waited_s:.1f} s"
        return made(self, "postgres", began_ns, detail)


SESSIONS = (
    EndSession("terminate_writer_in_copy", "copy"),
    EndSession("terminate_writer_in_commit", "commit"),
    EndSession("kill_backend_in_copy", "copy", by_kill=True),
    EndSession("kill_backend_in_commit", "commit", by_kill=True),
    LockLedger(),
)
