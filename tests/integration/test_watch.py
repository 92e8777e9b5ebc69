"""The watcher as a process: librdkafka's own broker, a real Postgres."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import psycopg
import pytest

from ledger.private_postgres import Server
from tests.integration.test_ledger_writer import Broker, broker
from tests.ledger.conftest import database, server, template
from tokenledger.records.topics import RAW

__all__ = ["broker", "database", "server", "template"]


class Watcher:
    """The watcher's process and its ledger."""

    def __init__(self, server: Server, database: str, broker: Broker) -> None:
        self.broker = broker
        self.environment = os.environ | {
            "TOKENLEDGER_KAFKA_BOOTSTRAP": broker.bootstrap,
            "TOKENLEDGER_POSTGRES_SOCKET": str(server.folder),
            "TOKENLEDGER_POSTGRES_PORT": str(server.port),
            "TOKENLEDGER_POSTGRES_DATABASE": database,
            "TOKENLEDGER_WATCH_EVERY_S": "0.2",
            "TOKENLEDGER_WATCH_HOLD_S": "0",
            "TOKENLEDGER_WATCH_GAP_S": "0",
            "TOKENLEDGER_WATCH_SILENT_FLOOR_S": "1",
            "TOKENLEDGER_WATCH_SILENT_HISTORY_S": "0",
            "TOKENLEDGER_WATCH_SILENT_RECORDS": "3",
        }
        self.reader = psycopg.connect(server.dsn("postgres", database), autocommit=True)
        self.process = self.start()

    def start(self) -> "subprocess.Popen[bytes]":
        """Start a watcher."""
        return subprocess.Popen([sys.executable, "-m", "ledger.watch"], env=self.environment, stderr=subprocess.PIPE)

    def kill(self) -> None:
        """As a machine's memory killer would."""
        self.process.kill()
        self.process.wait()
        assert self.process.stderr is not None
        self.process.stderr.close()

    def say(self, *numbers: int, source: str = "/app", epoch: str = "start-1") -> None:
        """Records of a producer that numbers them."""
        for number in numbers:
            self.broker.put(
                RAW.name,
                b"{}",
                {
                    "ce_id": f"{epoch}/{number}".encode(),
                    "ce_source": source.encode(),
                    "ce_epoch": epoch.encode(),
                    "ce_sequence": str(number).encode(),
                    "ce_tenantid": b"acme",
                },
            )

    def rows(self, statement: str) -> list[tuple[object, ...]]:
        """Rows of a query."""
        return self.reader.execute(statement.encode()).fetchall()

    def command(self, *arguments: str) -> int:
        """Exit status of `tokenledger …`."""
        command = [sys.executable, "-m", "tokenledger.cli", *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, check=False, timeout=60).returncode

    def wait(self, holds: Callable[[], bool], what: str) -> None:
        """Until it holds."""
        deadline_s = time.monotonic() + 60
        while not holds():
            if self.process.poll() is not None or time.monotonic() > deadline_s:
                self.process.kill()
                assert self.process.stderr is not None
                pytest.fail(f"{what}: {self.process.stderr.read().decode()[-3000:]} {self.rows('TABLE sources')}")
            time.sleep(0.05)


@pytest.fixture
def watcher(server: Server, database: str, broker: Broker) -> Iterator[Watcher]:
    started = Watcher(server, database, broker)
    yield started
    started.kill()
    started.reader.close()


GAPS = "SELECT ce_source, epoch, first_no, last_no FROM sequence_gaps ORDER BY 1, 2, 3"
OPEN = "SELECT state, about FROM alerts WHERE closed_at_us IS NULL ORDER BY 1, 2"


def test_lost_numbers_are_listed_until_they_come_and_a_restart_is_no_loss(watcher: Watcher) -> None:
    watcher.say(1, 2, 5, 6, 9)
    watcher.say(1, 2, epoch="start-2")
    gaps = [("/app", "start-1", 3, 4), ("/app", "start-1", 7, 8)]
    watcher.wait(lambda: watcher.rows(GAPS) == gaps, "two gaps")
    watcher.wait(lambda: ("gap", "source /app, epoch start-1") in watcher.rows(OPEN), "an alert")
    assert (watcher.command("sources", "--gaps"), watcher.command("alerts", "--open", "--state", "gap")) == (1, 1)
    watcher.kill()
    watcher.say(4, 3, 3, 9)
    watcher.process = watcher.start()
    watcher.wait(lambda: watcher.rows(GAPS) == gaps[1:], "one gap")
    watcher.say(7, 8)
    watcher.wait(lambda: ("gap", "source /app, epoch start-1") not in watcher.rows(OPEN), "no alert")
    assert watcher.rows(GAPS) == []
    assert (watcher.command("sources", "--gaps"), watcher.command("alerts", "--open", "--state", "gap")) == (0, 0)
    # Thirteen records were sent, though the watcher was killed amid them.
    assert watcher.rows("SELECT records FROM sources") == [(13,)]


def test_a_source_that_falls_silent_is_listed_until_it_speaks(watcher: Watcher) -> None:
    for number in range(1, 6):
        watcher.say(number)
        time.sleep(0.1)
    watcher.wait(lambda: ("silent", "source /app") in watcher.rows(OPEN), "silence")

    def spoke() -> bool:
        watcher.say(6)
        return ("silent", "source /app") not in watcher.rows(OPEN)

    watcher.wait(spoke, "a word")


def test_asked_to_end_it_ends_well(watcher: Watcher) -> None:
    watcher.say(1)
    watcher.wait(lambda: watcher.rows("SELECT records FROM sources") == [(1,)], "a record")
    watcher.process.send_signal(signal.SIGTERM)
    assert watcher.process.wait(10) == 0
