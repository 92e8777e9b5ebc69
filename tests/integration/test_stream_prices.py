"""The stream prices by the ledger's book: a committed price is at work within seconds, and after a worker's death."""

import json
import os
import time
from functools import partial
from pathlib import Path

import psycopg
import pytest
from confluent_kafka import Producer

from infra.local.layout import SUPERUSER
from tests.integration.conftest import RunningStack
from tokenledger.cli import main
from tokenledger.records.topics import RAW


def _send(stack: RunningStack, event_id: str, model: str) -> None:
    """One call of a model no catalogue knows: 1,000 tokens in."""
    producer = Producer({"bootstrap.servers": stack.layout.kafka_bootstrap})
    body = {
        "provider": "acme-ai",
        "api": "chat",
        "response": {"id": event_id, "object": "chat.completion", "model": model,
                     "choices": [], "usage": {"prompt_tokens": 1_000, "completion_tokens": 0}},
        "started_at_us": time.time_ns() // 1_000,
    }  # fmt: skip
    headers: dict[str, str | bytes | None] = {
        "ce_id": event_id, "ce_source": "book", "ce_type": "llm.call.v1", "ce_tenantid": "book",
        "content-type": "application/json",
    }  # fmt: skip
    producer.produce(RAW.name, json.dumps(body), key=f"book/{event_id}", headers=headers)
    assert producer.flush(10) == 0


def _cost(stack: RunningStack, event_id: str) -> tuple[str, int | None] | None:
    with psycopg.connect(stack.layout.dsn(SUPERUSER)) as connection:
        return connection.execute(
            "SELECT price_status, cost_usd_pico FROM calls WHERE tenant_id = 'book' AND event_id = %s", (event_id,)
        ).fetchone()


def _is_there(stack: RunningStack, event_id: str) -> bool:
    return _cost(stack, event_id) is not None


def priced(stack: RunningStack, name: str, expected: tuple[str, int | None], *, model: str = "acme-book") -> None:
    """Calls sent one after another; one of them within ten seconds has the expected price."""
    for attempt in range(20):
        event_id = f"{name}-{attempt}"
        _send(stack, event_id, model)
        stack.wait_until(partial(_is_there, stack, event_id), f"{event_id} in the ledger")
        if _cost(stack, event_id) == expected:
            return
        time.sleep(0.5)
    pytest.fail(f"{name}: {_cost(stack, event_id)} instead of {expected}")


def test_a_committed_price_is_at_work_in_the_stream_and_survives_a_worker(
    stack: RunningStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in stack.layout.client_environment().items():
        monkeypatch.setitem(os.environ, name, value)
    stack.wait_until_healthy()
    priced(stack, "before", ("unpriced", None))
    file = tmp_path / "prices.yaml"
    file.write_text(
        "prices:\n  - {provider: acme-ai, model: acme-book, usd_per_million: {input.text: 3, output.text: 3}}\n",
        encoding="utf-8",
    )
    assert main(["prices", "add", str(file), "--reason", "a test"]) == 0
    priced(stack, "after", ("priced", 3_000_000_000))
    stack.kill(stack.worker_of("price_job"))
    stack.wait_until_healthy()
    priced(stack, "restarted", ("priced", 3_000_000_000))
    # What came before the price drains into it.
    assert main(["reprice", "--tenant", "book", "--reason", "the price arrived"]) == 0
    assert _cost(stack, "before-0") == ("priced", 3_000_000_000)
