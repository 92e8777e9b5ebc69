"""A ledger rebuilt from the log says what the original says; a difference is named, an interrupted rebuild goes on."""

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg import sql

from ledger.private_postgres import Server
from tests.integration.test_ledger_writer import Broker, Writer, broker, writer
from tests.ledger.conftest import database, server, template
from tests.ledger.samples import call, priced

__all__ = ["broker", "database", "server", "template", "writer"]

Replay = Callable[..., tuple[int, str]]


@pytest.fixture
def replay(server: Server, database: str, broker: Broker) -> Iterator[Replay]:
    """`tokenledger replay` into a database of its own: status and output."""
    into = f"again_{uuid.uuid4().hex[:8]}"
    settings = os.environ | {
        "TOKENLEDGER_KAFKA_BOOTSTRAP": broker.bootstrap,
        "TOKENLEDGER_POSTGRES_SOCKET": str(server.folder),
        "TOKENLEDGER_POSTGRES_PORT": str(server.port),
        "TOKENLEDGER_POSTGRES_DATABASE": database,
        "TOKENLEDGER_POSTGRES_ADMIN_DSN": server.dsn("postgres", database),
        "TOKENLEDGER_WRITER_BATCH_RECORDS": "50",
    }

    def run(name: str = into) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "tokenledger.cli", "replay", "--into", name],
            env=settings, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    yield run
    with psycopg.connect(server.dsn("postgres", database), autocommit=True) as admin:
        admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} (FORCE)").format(sql.Identifier(into)))


def _fed(broker: Broker, writer: Writer) -> None:
    """Two hundred calls, every tenth told twice, every twentieth told better afterwards."""
    for n in range(200):
        one = call(event_key=f"app/{n}", tenant_id=f"t{n % 3}", usage_source="estimated")
        broker.price(priced(one, offset=n))
        if n % 10 == 0:
            broker.price(priced(one, offset=1_000 + n))
        if n % 20 == 0:
            broker.price(priced(call(event_key=f"app/{n}", tenant_id=f"t{n % 3}"), offset=2_000 + n))
    writer.wait(200, 10, 20, 0, 0)


def test_a_rebuilt_ledger_says_what_the_original_says(broker: Broker, writer: Writer, replay: Replay) -> None:
    _fed(broker, writer)
    status, printed = replay()
    assert (status, printed.splitlines()[0]) == (0, "200 calls are in both and equal"), printed
    assert printed.splitlines()[-1] == "the rebuilt ledger says what the original says"
    # What came since is read on from where the rebuild ended.
    broker.price(priced(call(event_key="app/late"), offset=3_000))
    writer.wait(201, 10, 20, 0, 0)
    status, printed = replay()
    assert (status, printed.splitlines()[0]) == (0, "201 calls are in both and equal"), printed


def test_a_ledger_that_was_tampered_with_is_told_from_the_log(
    broker: Broker, writer: Writer, replay: Replay, server: Server, database: str
) -> None:
    _fed(broker, writer)
    with psycopg.connect(server.dsn("postgres", database), autocommit=True) as admin:
        admin.execute("UPDATE calls SET known_cost_usd_pico = known_cost_usd_pico + 1 WHERE event_key = 'app/7'")
        admin.execute("DELETE FROM calls WHERE event_key = 'app/8'")
    status, printed = replay()
    assert status == 1
    assert "1 calls are in the rebuilt ledger only" in printed
    assert "1 calls differ" in printed
    assert "differing: t1/app/7, 220001 pico-USD" in printed


def test_the_original_is_no_place_to_rebuild_into(replay: Replay, database: str) -> None:
    status, printed = replay(database)
    assert (status, "that is the original; name a new database" in printed) == (2, True)
