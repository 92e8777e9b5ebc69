"""The ledger's database is destroyed and had again as it was at an instant; the writer goes on, nothing is doubled.

A Postgres of its own under supervisor, since it is destroyed; the log is librdkafka's own broker.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from infra.local.backup import backup, bases
from infra.local.place import claim_free_ports, layout_of
from infra.local.restore import NotRestored, restore
from infra.local.stack import Stack
from ledger.compact import compact
from ledger.verify import verify
from tests.integration.test_ledger_writer import Broker
from tests.ledger.samples import call, priced

_WITHIN_S = 60.0
_COST_USD_PICO = 220_000  # 110 tokens at 2,000


class Drill:
    """A ledger that can be lost: its Postgres, its log, and a writer that outlives the loss."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.broker = Broker()
        settings = {"TOKENLEDGER_KAFKA_BOOTSTRAP": self.broker.bootstrap, "TOKENLEDGER_WRITER_BATCH_WAIT_MS": "50"}
        self.writer = subprocess.Popen(
            [sys.executable, "-m", "ledger.writer"],
            env=os.environ | stack.layout.client_environment() | settings,
            stderr=subprocess.DEVNULL,
        )
        self.sent = self.records = 0

    def row(self, statement: str) -> tuple[Any, ...]:
        """One row, as the superuser."""
        with psycopg.connect(self.stack.layout.dsn("postgres"), autocommit=True) as connection:
            return connection.execute(statement.encode()).fetchone() or ()

    def send(self, count: int) -> None:
        """So many more calls, each tenth of them told twice; returns when the ledger has them."""
        for n in range(self.sent, self.sent + count):
            one = call(event_key=f"app/{n}", tenant_id=f"t{n % 3}")
            for _ in range(2 if n % 10 == 0 else 1):
                self.broker.price(priced(one, offset=self.records))
                self.records += 1
        self.sent += count
        self.wait()

    def wait(self) -> None:
        """Until the ledger has all that was sent."""
        deadline = time.monotonic() + _WITHIN_S
        while True:
            try:
                found = self.row("SELECT sum(winners), sum(duplicates), sum(redelivered) FROM origins")
            except psycopg.OperationalError:
                found = ()
            if found == (self.sent, self.sent // 10, 0):
                return
            assert time.monotonic() < deadline, f"{found} of {self.sent}"
            time.sleep(0.1)

    def destroy(self) -> None:
        """Kill Postgres as a machine's end would, and take its disk."""
        os.kill(self.stack.supervision.process("postgres").pid, signal.SIGKILL)
        self.stack.supervision.stop_program("postgres")
        shutil.rmtree(self.stack.layout.data / "postgres")

    def is_right(self) -> None:
        """The ledger agrees with itself and with what was sent."""
        with psycopg.connect(self.stack.layout.dsn("writer"), autocommit=True) as connection:
            assert verify(connection, None) == []
            compact(connection)
            assert verify(connection, None) == []
        found = self.row("SELECT count(*), sum(known_cost_usd_pico), count(DISTINCT event_key) FROM calls")
        assert found == (self.sent, self.sent * _COST_USD_PICO, self.sent)


@pytest.fixture(scope="module")
def drill() -> Iterator[Drill]:
    root = Path(tempfile.mkdtemp(prefix="tl-", dir="/tmp"))
    root.chmod(0o755)  # Postgres runs as another account when we are root
    claim_free_ports(root)
    stack = Stack(layout_of(str(root)), print)
    stack.up(("postgres",))
    made = Drill(stack)
    try:
        yield made
    finally:
        made.writer.kill()
        made.writer.wait()
        stack.down()
        shutil.rmtree(root)


def test_without_a_copy_there_is_nothing_to_restore_from(drill: Drill) -> None:
    with pytest.raises(NotRestored, match="there is no copy"):
        restore(drill.stack, None)


def test_a_destroyed_ledger_restored_to_an_instant_catches_up_and_equals_what_it_was(drill: Drill) -> None:
    drill.send(100)
    backup(drill.stack.layout)
    drill.send(100)
    drill.row("INSERT INTO audit_log (action, detail) VALUES ('before', '{}') RETURNING 1")
    instant = datetime.now(UTC)
    drill.row("INSERT INTO audit_log (action, detail) VALUES ('after', '{}') RETURNING 1")
    drill.send(100)
    drill.row("SELECT pg_switch_wal()")
    _archived(drill)
    drill.destroy()
    restored = restore(drill.stack, instant)
    assert restored.last_commit is not None
    assert restored.last_commit <= instant
    # What people did after the instant is gone; what the log holds comes again.
    assert drill.row("SELECT string_agg(action, ' ') FROM audit_log WHERE action IN ('before', 'after')") == ("before",)
    drill.wait()
    drill.is_right()


def test_a_ledger_that_runs_is_restored_to_its_last_commit_on_the_way_of_an_earlier_restore(drill: Drill) -> None:
    drill.send(100)
    before = drill.row("SELECT max(posted_at_us) FROM batches")
    restored = restore(drill.stack, None)
    assert drill.row("SELECT max(posted_at_us) FROM batches") == before
    assert restored.replaced is not None
    shutil.rmtree(restored.replaced)
    drill.send(10)
    drill.is_right()


def test_an_instant_that_cannot_be_had_changes_nothing(drill: Drill) -> None:
    with pytest.raises(NotRestored, match="the oldest copy is of"):
        restore(drill.stack, datetime.now(UTC) - timedelta(days=1))
    with pytest.raises(NotRestored, match="before configured recovery target was reached"):
        restore(drill.stack, datetime.now(UTC) + timedelta(days=1))
    drill.send(10)
    drill.is_right()


def test_old_copies_go_with_the_log_that_only_they_needed(drill: Drill) -> None:
    folder = drill.stack.layout.backups / "wal"
    before = {path.name for path in folder.glob("*.gz")}
    drill.row("SELECT pg_switch_wal()")
    newest = backup(drill.stack.layout, keep=1)
    assert list(bases(drill.stack.layout).values()) == [newest]
    assert not before & {path.name for path in folder.glob("0*[0-9A-F].gz")}
    drill.destroy()
    restore(drill.stack, None)
    drill.wait()
    drill.is_right()


def _archived(drill: Drill) -> None:
    deadline = time.monotonic() + _WITHIN_S
    while drill.row("SELECT count(*) FROM pg_ls_dir('pg_wal/archive_status') AS f WHERE f LIKE '%.ready'") != (0,):
        assert time.monotonic() < deadline, "the log is not archived"
        time.sleep(0.1)
