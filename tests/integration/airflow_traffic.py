"""What the tests of Airflow find in the lake: conversations, refusals among them, old ones; answers of two tiers."""

import json
import time
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta

from tests.integration.conversations import conversation, routed

TENANT, ROUTED = "airflow-tests", "airflow-routed"
CALLS = 600
REFUSALS = CALLS // 50
OLD = 5
OLD_DAYS = 100
PAIRS = 360
"""Operations that two tiers answered; the first half easy and hours before the other."""


def unpriced() -> bytes:
    """A call of a model that only a price of our own knows: 1,000 tokens."""
    usage = {"prompt_tokens": 1_000, "completion_tokens": 0, "total_tokens": 1_000}
    reply = {"id": f"own-{uuid.uuid4()}", "object": "chat.completion", "model": "own", "choices": [], "usage": usage}
    body = {"provider": "airflow-ai", "api": "chat", "response": reply, "started_at_us": time.time_ns() // 1_000}
    return json.dumps(body).encode()


def conversations(now: datetime) -> Iterator[bytes]:
    """What `TENANT` says today, and a little of long ago."""
    at_us = int(now.timestamp()) * 1_000_000
    yield from (conversation(number, run=TENANT, started_at_us=at_us) for number in range(CALLS))
    yield from (
        conversation(number, run="old", started_at_us=at_us - OLD_DAYS * 86_400_000_000) for number in range(OLD)
    )


def operations(now: datetime) -> Iterator[bytes]:
    """What `ROUTED` asks of two tiers: easy things, and hours later hard ones."""
    for number in range(PAIRS):
        is_hard = number >= PAIRS // 3  # two of three: the strong tier is the better one on the whole
        begins = now - timedelta(hours=2 if is_hard else 4)
        at_us = int(begins.timestamp()) * 1_000_000
        yield from routed(number, run=ROUTED, started_at_us=at_us, is_hard=is_hard)
