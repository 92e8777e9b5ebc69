"""`tokenledger reread` beside the live writer: a planted misreading is found, shown by meter, and mended."""

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from ledger.private_postgres import Server
from tests.integration.test_ledger_writer import Broker, Writer, broker, writer
from tests.ledger.conftest import database, server, template
from tests.ledger.test_rereading import BODY, misread, record
from tokenledger.records.topics import RAW

__all__ = ["broker", "database", "server", "template", "writer"]

Reread = Callable[..., tuple[int, str]]
AT_US = 1_760_000_000_000_000
SUMS = (
    b"SELECT sum(known_cost_usd_pico)::bigint, (SELECT sum(amount_usd_pico)::bigint FROM lines), "
    b"(SELECT sum(amount_usd_pico)::bigint FROM rollups), (SELECT sum(calls)::bigint FROM postings), count(*) "
    b"FROM calls"
)
# 400 × $2.50, 600 × $1.25 and 200 × $10 a million tokens; misread, 1,000 × $2.50 for the fresh ones.
RIGHT, WRONG = 3_750_000_000, 5_250_000_000


@pytest.fixture
def reread(server: Server, database: str, broker: Broker) -> Reread:
    """`tokenledger reread`: status and output."""
    settings = os.environ | {
        "TOKENLEDGER_KAFKA_BOOTSTRAP": broker.bootstrap,
        "TOKENLEDGER_POSTGRES_SOCKET": str(server.folder),
        "TOKENLEDGER_POSTGRES_PORT": str(server.port),
        "TOKENLEDGER_POSTGRES_DATABASE": database,
    }

    def run(*options: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "tokenledger.cli", "reread", "--all", *options],
            env=settings, capture_output=True, text=True, check=False, timeout=180,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    return run


def test_a_misreading_is_mended_from_the_log_and_from_what_is_stored(
    broker: Broker, writer: Writer, reread: Reread
) -> None:
    # The log holds the first record's bytes; of the others only the usage is left.
    headers = {"ce_id": b"e0", "ce_source": b"/app", "ce_tenantid": b"acme"}
    broker.put(RAW.name, BODY % (AT_US, b"chat", 0), headers)
    broker.price(*(misread(record(n, offset=n)) for n in range(600)))
    writer.wait(600, 0, 0, 0, 0)

    status, printed = reread("--dry-run")
    # 600 calls, 600 fresh tokens too many in each, at $2.50 a million.
    assert (status, "600 calls change by -0.90 USD" in printed) == (0, True), printed
    assert "600,000" in printed, printed
    assert "240,000" in printed, printed
    assert writer.reader.execute("SELECT count(*) FROM repricings").fetchone() == (0,)

    writer.process.kill()
    writer.process.communicate()
    status, printed = reread("--reason", "cached tokens were counted twice", "--wait", "0.1")
    assert (status, "600 calls wait for the writer" in printed) == (1, True), printed
    writer.process = writer.start()
    status, printed = reread("--stored", "--reason", "once more", "--wait", "60")
    assert writer.process.poll() is None, writer.process.communicate()[1].decode()
    assert status == 0, printed
    writer.wait(600, 0, 0, 0, 0)
    assert writer.reader.execute(SUMS).fetchone() == (600 * RIGHT, 600 * RIGHT, 600 * RIGHT, 600, 600)
    status, printed = reread("--stored", "--reason", "again")
    assert (status, "0 calls change by 0.00 USD" in printed) == (0, True), printed


def test_without_a_reason_nothing_is_read_again(reread: Reread) -> None:
    status, printed = reread()
    assert (status, "--reason says why; or look first with --dry-run" in printed) == (2, True)
