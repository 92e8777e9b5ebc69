"""A process that makes attempts as a gateway does, without HTTP: intends, notes that it did, waits, settles.

`python -m tests.integration.attempts_made JOURNAL RATE KEY`: writes `intended ID` once an intent is durable,
`settled ID` once its outcome was taken, `full` and `taken again` where the outbox refuses and takes on. Ends at
SIGTERM.
"""

import asyncio
import os
import signal
import sys
import time
import uuid
from pathlib import Path
from typing import TextIO

import msgspec

from serving.gateway.books import Books, BooksSettings, opened
from serving.gateway.records import Admitted, Intent, OutboxFullError, Outcome, Refusal

_LONG_EVERY = 10
_LONG_S = 30.0


async def attempt(books: Books, journal: TextIO, number: int, key: str) -> bool:
    """One attempt; whether the outbox took it."""
    admitted = books.admission.admit(authorization=f"Bearer {key}".encode(), api="chat", model="m", feature=None)
    assert isinstance(admitted, Admitted), admitted
    intent = _intent(admitted)
    reserved = books.admission.reserve(intent)
    if isinstance(reserved, Refusal):
        journal.write(f"refused {reserved.code}\n")
        return True
    intent = msgspec.structs.replace(intent, reserved_usd_pico=reserved)
    try:
        await books.accounting.intend(intent)
    except OutboxFullError:
        books.admission.release(intent)
        return False
    journal.write(f"intended {intent.event_id}\n")
    await asyncio.sleep(_LONG_S if number % _LONG_EVERY == 0 else 0.05)
    cost = books.accounting.settle(intent, _outcome(intent))
    journal.write(f"settled {intent.event_id} {cost}\n")
    return True


def _intent(admitted: Admitted) -> Intent:
    name = uuid.uuid4().hex
    return Intent(
        event_id=name,
        operation_id=f"op-{name}",
        attempt_no=1,
        attempt_role="primary",
        tenant_id=admitted.tenant_id,
        api_key_id=admitted.api_key_id,
        feature=admitted.feature,
        route="m",
        provider="openai",
        api="chat",
        request_model="gpt-4o-mini",
        deployment_id="main",
        replica_id="127.0.0.1:9",
        stream=False,
        started_at_us=time.time_ns() // 1000,
        input_tokens_estimate=1000,
        output_tokens_limit=100,
        reserved_usd_pico=0,
    )


def _outcome(intent: Intent) -> Outcome:
    reply = {
        "id": f"chatcmpl-{intent.event_id}",
        "object": "chat.completion",
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{"index": 0, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100},
    }
    now_us = time.time_ns() // 1000
    raw = msgspec.Raw(msgspec.json.encode(reply))
    total_us = max(now_us - intent.started_at_us, 0)
    return Outcome(
        event_id=intent.event_id, http_status=200, reply=raw, ended_at_us=now_us, timings_us={"total": total_us}
    )


async def attempts(journal: TextIO, *, rate: float, key: str) -> None:
    """Attempt on and on, until told to end."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with opened(BooksSettings.from_environment(os.environ)) as books:
        while not books.ready():  # noqa: ASYNC110  (as whoever asks /readyz)
            await asyncio.sleep(0.05)
        under_way: set[asyncio.Task[bool]] = set()
        number, full = 0, False
        while not stop.is_set():
            number += 1
            under_way.add(asyncio.create_task(attempt(books, journal, number, key)))
            await asyncio.sleep(1 / rate)
            ended = {one for one in under_way if one.done()}
            under_way -= ended
            refused = any(not one.result() for one in ended)
            if refused != full and ended:
                journal.write("full\n" if refused else "taken again\n")
                full = refused
        for one in under_way:
            one.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


if __name__ == "__main__":
    with Path(sys.argv[1]).open("a", buffering=1, encoding="utf-8") as opened_journal:
        asyncio.run(attempts(opened_journal, rate=float(sys.argv[2]), key=sys.argv[3]))
