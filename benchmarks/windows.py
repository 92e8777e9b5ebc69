"""windows_job: CPU of its worker per event beyond an idle worker's, and how long after its end a minute is told.

Run: `uv run python -m benchmarks.windows`. A fresh stack; priced calls that end now, at a steady rate.
"""

import random
import time
from collections.abc import Iterator

import msgspec
from confluent_kafka import Consumer, TopicPartition

from benchmarks.stack import cpu_of, producer, stack_of
from benchmarks.workload import messages
from infra.local.stack import Stack
from tokenledger.process import default_context, process
from tokenledger.records import PricedCall, RawEvent
from tokenledger.records.features import MINUTE_US
from tokenledger.records.topics import FEATURES, PRICED
from tokenledger.records.wire import decode_window, encode_priced

_PROGRAMS = ("kafka", "jobmanager", "taskmanager", "windows_job")
_RATE, _WARM_S, _MEASURED_S, _IDLE_S = 1_000, 70, 120, 20
_POOL = 3_000


def priced_calls() -> list[PricedCall]:
    """Calls of the workload, to be sent again and again with other times."""
    context, now_us = default_context(), time.time_ns() // 1000
    found = []
    for offset, one in enumerate(messages(_POOL, seed=1, end_us=now_us)):
        raw = RawEvent(value=one.value, key=one.key, headers=one.headers, offset=offset, append_at_us=now_us)
        priced = process(raw, context)
        assert isinstance(priced, PricedCall), priced
        found.append(priced)
    return found


def send(stack: Stack, pool: list[PricedCall], *, seconds: int) -> int:
    """Calls that ended within the last 0.2 s, at the rate; how many."""
    client, chance = producer(stack), random.Random(1)
    started_at, sent = time.monotonic(), 0
    while (elapsed := time.monotonic() - started_at) < seconds:
        while sent < elapsed * _RATE:
            now_us = time.time_ns() // 1000
            client.produce(PRICED.name, ended(pool[sent % _POOL], now_us, chance), b"%d" % sent)
            sent += 1
        client.poll(0)
        time.sleep(0.005)
    client.flush()
    return sent


def ended(priced: PricedCall, now_us: int, chance: random.Random) -> bytes:
    """The call as if it had just ended."""
    end_us = now_us - chance.randrange(200_000)
    lasted_us = (priced.latency.total_us if priced.latency else None) or 0
    call = msgspec.structs.replace(priced.call, started_at_us=end_us - lasted_us, ended_at_us=end_us)
    return encode_priced(msgspec.structs.replace(priced, call=call, append_at_us=now_us))


def delays_s(stack: Stack, *, since_us: int) -> Iterator[float]:
    """From the end of each minute that began since then to the append of its first telling."""
    consumer = Consumer({"bootstrap.servers": stack.layout.kafka_bootstrap, "group.id": "benchmark"})
    for number in range(FEATURES.partitions):
        place = TopicPartition(FEATURES.name, number, 0)
        _, end = consumer.get_watermark_offsets(place, timeout=10)
        consumer.assign([place])
        for _ in range(end):
            message = consumer.poll(10)
            assert message is not None
            window = decode_window(message.value() or b"")
            if window.calls and not window.late_calls and window.window_start_at_us >= since_us:
                yield message.timestamp()[1] / 1e3 - (window.window_start_at_us + MINUTE_US) / 1e6
    consumer.close()


def main() -> None:
    """Print the figures."""
    pool = priced_calls()
    with stack_of(_PROGRAMS) as stack:
        send(stack, pool, seconds=_WARM_S)
        time.sleep(5)
        before_s = cpu_of(stack)["taskmanager"]
        time.sleep(_IDLE_S)
        warm_at_us = time.time_ns() // 1000 - MINUTE_US
        idle_s = cpu_of(stack)["taskmanager"]
        sent = send(stack, pool, seconds=_MEASURED_S)
        used_s = cpu_of(stack)["taskmanager"] - idle_s - (idle_s - before_s) / _IDLE_S * _MEASURED_S
        time.sleep(3)
        told = sorted(delays_s(stack, since_us=warm_at_us))
    print("| figure | measured |")
    print("|---|---|")
    print(f"| windows_job, CPU µs an event at {_RATE}/s, {_POOL} shapes of call | {used_s / sent * 1e6:.0f} |")
    print(f"| end of a minute → its telling on the topic, {len(told)} windows | {spread(told)} |")


def spread(values_s: list[float]) -> str:
    """Median and tail."""
    return f"p50 {values_s[len(values_s) // 2]:.2f} s, p99 {values_s[len(values_s) * 99 // 100]:.2f} s"


if __name__ == "__main__":
    main()
