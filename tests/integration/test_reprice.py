"""`tokenledger reprice` beside the live writer: the difference first, then new charges; nothing is lost or doubled."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ledger.private_postgres import Server
from tests.integration.test_ledger_writer import Broker, Writer, broker, writer
from tests.ledger.conftest import database, server, template
from tests.ledger.samples import call, priced

__all__ = ["broker", "database", "server", "template", "writer"]

Reprice = Callable[..., tuple[int, str]]
SUMS = (
    "SELECT sum(known_cost_usd_pico)::bigint, (SELECT sum(amount_usd_pico)::bigint FROM lines), "
    "(SELECT sum(calls)::bigint FROM postings), count(*) FROM calls"
)


@pytest.fixture
def reprice(server: Server, database: str, broker: Broker, tmp_path: Path) -> Reprice:
    """`tokenledger reprice` by a book where m-1 costs 3,000 pico-USD a token: status and output."""
    prices = tmp_path / "prices.yaml"
    prices.write_text(
        'prices:\n  - {provider: openai, model: "m-1*", usd_per_million: {input.text: 0.003, output.text: 0.003}}\n',
        encoding="utf-8",
    )
    settings = os.environ | {
        "TOKENLEDGER_KAFKA_BOOTSTRAP": broker.bootstrap,
        "TOKENLEDGER_POSTGRES_SOCKET": str(server.folder),
        "TOKENLEDGER_POSTGRES_PORT": str(server.port),
        "TOKENLEDGER_POSTGRES_DATABASE": database,
    }

    def run(*options: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "tokenledger.cli", "reprice", "--prices", str(prices), *options],
            env=settings, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    return run


def test_calls_are_charged_anew_while_others_come(broker: Broker, writer: Writer, reprice: Reprice) -> None:
    broker.price(*(priced(call(event_key=f"app/{n}"), offset=n) for n in range(1_200)))
    writer.wait(1_200, 0, 0, 0, 0)
    status, printed = reprice("--dry-run")
    # 1,200 calls of 110 tokens, 1,000 pico-USD dearer each.
    assert (status, "1200 calls change by 0.000132 USD" in printed) == (0, True), printed
    assert writer.reader.execute("SELECT count(*) FROM repricings").fetchone() == (0,)
    broker.price(*(priced(call(event_key=f"app/{n}"), offset=n) for n in range(1_200, 1_500)))
    status, printed = reprice("--reason", "a test")
    assert (status, "the writer has charged them anew" in printed) == (0, True), printed
    writer.wait(1_500, 0, 0, 0, 0)
    status, _ = reprice("--reason", "what came meanwhile")
    assert status == 0
    assert writer.reader.execute(SUMS.encode()).fetchone() == (495_000_000, 495_000_000, 1_500, 1_500)
    assert "0 calls change" in reprice("--reason", "again")[1]


def test_a_writer_that_was_killed_with_a_queue_takes_it_up_again(
    broker: Broker, writer: Writer, reprice: Reprice
) -> None:
    broker.price(*(priced(call(event_key=f"app/{n}"), offset=n) for n in range(600)))
    writer.wait(600, 0, 0, 0, 0)
    writer.process.kill()
    writer.process.communicate()
    status, printed = reprice("--reason", "a test", "--wait", "0.5")
    assert (status, "600 calls wait for the writer" in printed) == (1, True), printed
    writer.process = writer.start()
    status, printed = reprice("--reason", "once more")
    assert status == 0, printed
    assert writer.reader.execute(SUMS.encode()).fetchone() == (198_000_000, 198_000_000, 600, 600)


def test_without_a_reason_nothing_is_done(reprice: Reprice) -> None:
    status, printed = reprice()
    assert (status, "--reason says why; or look first with --dry-run" in printed) == (2, True)
