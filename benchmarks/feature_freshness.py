"""From the end of a minute to its features in Redis: live traffic through price_job, windows_job and the pusher.

Run: `uv run python -m benchmarks.feature_freshness`. Steady calls of 20 models and 200 product features for three
minutes; an entity is fresh when the gateway's reader first sees the minute that has just ended.
"""

import asyncio
import itertools
import json
import threading
import time
import uuid
from collections.abc import Iterator

from benchmarks.stack import producer, stack_of
from feature_repo.online import Entity, OnlineReader, ReadPolicy
from feature_repo.settings import RedisSettings
from infra.local.stack import Stack
from tokenledger.records.features import MINUTE_US
from tokenledger.records.topics import RAW

_MODELS = [("openai", f"gpt-{number}") for number in range(20)]
_CALLERS = [(f"tenant-{number % 20}", f"feature-{number // 20}") for number in range(200)]
_ASKED: dict[str, list[Entity]] = {"model_traffic_1h": [*_MODELS], "feature_traffic_1h": [*_CALLERS]}
_PER_S = 400
_MINUTES = 3
_GIVE_UP_AFTER_S = 30.0
_NAMES = (
    "postgres", "kafka", "redis", "jobmanager", "taskmanager", "taskmanager2", "price_job", "windows_job", "writer",
    "pusher",
)  # fmt: skip


def _calls() -> Iterator[tuple[bytes, bytes, dict[str, bytes]]]:
    """Calls that have just ended, each model and each caller in turn."""
    for number in itertools.count():
        (_, model), (tenant, feature) = _MODELS[number % len(_MODELS)], _CALLERS[number % len(_CALLERS)]
        ended_at_us = time.time_ns() // 1000
        usage = {"prompt_tokens": 1000, "completion_tokens": 20, "total_tokens": 1020}
        call = {
            "provider": "openai",
            "api": "chat",
            "request_model": model,
            "feature": feature,
            "started_at_us": ended_at_us - 800_000 - number % 100_000,
            "first_token_at_us": ended_at_us - 500_000,
            "ended_at_us": ended_at_us,
            "response": {"object": "chat.completion", "model": model, "choices": [], "usage": usage},
        }
        event_id = uuid.uuid4().hex
        headers = {"ce_id": event_id, "ce_source": "/benchmark", "ce_tenantid": tenant}
        encoded = {name: value.encode() for name, value in headers.items()}
        yield f"{tenant}/{event_id}".encode(), json.dumps(call).encode(), encoded


def _send(stack: Stack, stop: threading.Event) -> None:
    client = producer(stack)
    begun_s = time.monotonic()
    for number, (key, value, headers) in enumerate(_calls()):
        client.produce(RAW.name, value, key, headers=list(headers.items()))
        client.poll(0)
        if (early_s := begun_s + number / _PER_S - time.monotonic()) > 0:
            time.sleep(early_s)
        if stop.is_set():
            break
    client.flush()


async def _late_s(reader: OnlineReader, end_us: int) -> list[float]:
    """How long after the minute's end each entity was fresh; infinite where it never was."""
    waiting = {(view, entity) for view, entities in _ASKED.items() for entity in entities}
    late = []
    while waiting and time.time() < end_us / 1e6 + _GIVE_UP_AFTER_S:
        vector = await reader.read(_ASKED)
        now_s = time.time()
        for view, entities in _ASKED.items():
            for entity, features in zip(entities, vector.views[view], strict=True):
                if (features.event_at_us or 0) >= end_us and (view, entity) in waiting:
                    waiting.remove((view, entity))
                    late.append(now_s - end_us / 1e6)
        await asyncio.sleep(0.05)
    return late + [float("inf")] * len(waiting)


async def _measure(stack: Stack) -> list[float]:
    settings = RedisSettings.from_environment(stack.layout.client_environment(), user="gateway")
    reader = OnlineReader(settings, ReadPolicy(deadline_s=1.0))
    assert await reader.start(within_s=5)
    late: list[float] = []
    # The first minute is not whole.
    end_us = (time.time_ns() // 1000 // MINUTE_US + 2) * MINUTE_US
    for _ in range(_MINUTES):
        await asyncio.sleep(max(end_us / 1e6 - time.time(), 0))
        late += await _late_s(reader, end_us)
        end_us += MINUTE_US
    await reader.close()
    return sorted(late)


def main() -> None:
    """Print the figures."""
    with stack_of(_NAMES) as stack:
        stop = threading.Event()
        sender = threading.Thread(target=_send, args=(stack, stop))
        sender.start()
        try:
            late = asyncio.run(_measure(stack))
        finally:
            stop.set()
            sender.join()
    p50, p99 = late[len(late) // 2], late[int(len(late) * 0.99)]
    print(f"{len(_MODELS) + len(_CALLERS)} entities, {_PER_S} calls/s, {_MINUTES} minutes: minute's end → Redis")
    print("| p50 | p99 (≤ 3 s) | latest |")
    print("|---|---|---|")
    print(f"| {p50:.2f} s | {p99:.2f} s | {late[-1]:.2f} s |")


if __name__ == "__main__":
    main()
