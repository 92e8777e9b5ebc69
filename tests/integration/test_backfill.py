"""`tokenledger backfill` on the whole stack: what the stream made is made again, equal to the pico."""

import json
import os
import subprocess
import sys
import uuid
from datetime import UTC, datetime, timedelta

import psycopg
from confluent_kafka import Producer

from infra.local.layout import SUPERUSER
from tests.integration.conftest import RunningStack
from tokenledger.records.topics import RAW


def _reply(number: int, run: str) -> bytes:
    usage = {"prompt_tokens": 1000 + number, "completion_tokens": 200, "total_tokens": 1200 + number}
    body = {"id": f"chatcmpl-{run}-{number}", "object": "chat.completion", "created": 1_795_000_000 + number}
    reply = body | {"model": "gpt-4o-2024-08-06", "choices": [], "usage": usage}
    return json.dumps({"provider": "openai", "api": "chat", "response": reply}).encode()


class _Range:
    """Records of one test, and `tokenledger backfill` over the time in which the log took them."""

    def __init__(self, stack: RunningStack) -> None:
        self.stack = stack
        self.run = uuid.uuid4().hex
        self.since = datetime.now(UTC)

    def send(self, *values: bytes) -> None:
        producer = Producer({"bootstrap.servers": self.stack.layout.kafka_bootstrap, "acks": "all"})
        for number, value in enumerate(values):
            headers = [("ce_tenantid", self.run.encode()), ("ce_id", f"{number}".encode()), ("ce_source", b"/app")]
            producer.produce(RAW.name, value, headers=[*headers, ("ce_type", b"llm.call.v1")])
        assert producer.flush(20) == 0

    def backfill(self, *more: str) -> tuple[int, dict[str, int]]:
        """Its exit status and its figures."""
        until = datetime.now(UTC) + timedelta(seconds=5)
        words = ["backfill", "--since", self.since.isoformat(), "--until", until.isoformat(), *more]
        done = subprocess.run(
            [sys.executable, "-m", "tokenledger.cli", *words],
            env=os.environ | {"TOKENLEDGER_STACK_ROOT": str(self.stack.layout.root)},
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        lines = [line.rsplit(maxsplit=1) for line in done.stdout.splitlines() if "  " in line]
        figures = {name.strip(): int(figure.replace(",", "")) for name, figure in lines if "DIFFERS" not in name}
        return done.returncode, figures

    def outcomes(self) -> int:
        """How many of its records the ledger has taken."""
        with psycopg.connect(self.stack.layout.dsn(SUPERUSER)) as connection:
            row = connection.execute(
                "SELECT (SELECT count(*) FROM calls WHERE tenant_id = %(run)s)"
                " + (SELECT count(*) FROM rejected WHERE tenant_id = %(run)s)",
                {"run": self.run},
            ).fetchone()
        return int(row[0]) if row else 0


def test_what_the_stream_priced_or_refused_is_equal_when_it_is_judged_again(stack: RunningStack) -> None:
    one = _Range(stack)
    one.send(*(_reply(number, one.run) for number in range(3)), b"{ cut")
    stack.wait_until(lambda: one.outcomes() == 4, "every record to have its outcome")

    status, figures = one.backfill()

    # Three calls: 3,003 × $2.50 and 600 × $10 a million tokens.
    assert (status, figures["raw records"], figures["equal to the ledger"]) == (0, 4, 4)
    assert figures["known cost of these, pico-USD"] == 3_003 * 2_500_000 + 600 * 10_000_000


def test_a_ledger_that_holds_another_amount_is_found(stack: RunningStack) -> None:
    one = _Range(stack)
    one.send(_reply(0, one.run))
    stack.wait_until(lambda: one.outcomes() == 1, "the record to have its outcome")
    change = "UPDATE calls SET known_cost_usd_pico = known_cost_usd_pico + %s WHERE tenant_id = %s"
    with psycopg.connect(stack.layout.dsn(SUPERUSER), autocommit=True) as connection:
        connection.execute(change, (1, one.run))
        try:
            status, figures = one.backfill()
        finally:
            connection.execute(change, (-1, one.run))

    assert (status, figures["differing"], figures["equal to the ledger"]) == (1, 1, 0)
    assert one.backfill()[0] == 0


def test_what_the_ledger_never_saw_is_sent_and_the_stream_that_sends_it_too_doubles_nothing(
    stack: RunningStack,
) -> None:
    one = _Range(stack)
    stack.stack.supervision.stop_program("writer")
    try:
        one.send(_reply(0, one.run), b"{ cut")
        assert one.backfill()[1]["without outcome"] == 2
        assert one.backfill("--send")[1]["sent"] == 2
    finally:
        stack.stack.supervision.start_program("writer")
    stack.wait_until(lambda: one.outcomes() == 2, "the ledger to take what was sent, by the stream and by hand")

    status, figures = one.backfill("--send")

    assert (status, figures["equal to the ledger"], figures["sent"]) == (0, 2, 0)
    assert one.outcomes() == 2
