"""The whole path on this machine: sustained events/s, and produce → visible at 30 % and 70 % of it.

Run: `uv run python -m benchmarks.end_to_end`. Everything is on: Kafka, Flink, writer, compactor, Postgres, producer. A
record is visible when the transaction that stored it is committed, read by a second connection every 20 ms.
"""

import sys
import time
from collections import deque
from typing import Any

import psycopg

from benchmarks.stack import cpu_of, in_background, produce, producer, stack_of, wait_until
from benchmarks.workload import Message, messages
from infra.local.stack import Stack
from tokenledger.records.topics import RAW

_WARM, _MEASURED, _PACED_S = 60_000, 240_000, 30
_PROBE_EVERY = 50
_SEEN = "SELECT partition, max(upper(seen)) FROM origin_ranges WHERE topic = %s GROUP BY 1"
_STORED = "SELECT coalesce(sum(winners + losers + duplicates + rejected), 0) FROM origins WHERE topic = %s"


def main() -> None:
    """Print throughput, CPU per event and program, latency, bytes per call."""
    scale = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    with stack_of() as stack, psycopg.connect(stack.layout.dsn("postgres"), autocommit=True) as ledger:
        batches = [list(messages(int(count * scale), seed=seed, end_us=time.time_ns() // 1000))
                   for seed, count in ((1, _WARM), (2, _MEASURED))]  # fmt: skip
        client = producer(stack)
        done = produce(client, batches[0])
        wait_until(lambda: _stored(ledger) >= done)
        rate = _throughput(stack, ledger, client, batches[1], done)
        done += len(batches[1])
        for share in (0.3, 0.7):
            done += _latency(ledger, client, rate * share, share)
            wait_until(lambda: _stored(ledger) >= done)  # noqa: B023 - it is done before the next turn
        _size(ledger)


def _throughput(stack: Stack, ledger: psycopg.Connection[Any], client: Any, batch: list[Message], done: int) -> float:
    before, start_s = cpu_of(stack), time.monotonic()
    own_s = time.process_time()
    thread = in_background(lambda: produce(client, batch))
    wait_until(lambda: _stored(ledger) >= done + len(batch), every_s=0.1)
    elapsed_s = time.monotonic() - start_s
    thread.join()
    used = cpu_of(stack)
    print(
        f"| sustained, all on | {len(batch) / elapsed_s:,.0f} events/s | {len(batch):,} events in {elapsed_s:.1f} s |"
    )
    for name, seconds in sorted(used.items()):
        print(f"| CPU {name} | {(seconds - before.get(name, 0.0)) / len(batch) * 1e6:.1f} µs an event | |")
    print(f"| CPU producer | {(time.process_time() - own_s) / len(batch) * 1e6:.1f} µs an event | |", flush=True)
    return len(batch) / elapsed_s


def _latency(ledger: psycopg.Connection[Any], client: Any, rate: float, share: float) -> int:
    """Paced sending; prints p50 and p99 of produce → visible; how many were sent."""
    batch = list(messages(int(rate * _PACED_S), seed=int(share * 100), end_us=time.time_ns() // 1000))
    waiting: dict[int, deque[tuple[int, float]]] = {}
    latencies_s: list[float] = []

    def acknowledged(sent_s: float) -> Any:
        def note(error: Any, message: Any) -> None:
            assert error is None, error
            waiting.setdefault(message.partition(), deque()).append((message.offset(), sent_s))

        return note

    thread = in_background(lambda: _paced(client, batch, rate, acknowledged))
    while thread.is_alive() or any(waiting.values()):
        seen = dict(ledger.execute(_SEEN, [RAW.name]).fetchall())
        now_s = time.monotonic()
        for partition, probes in list(waiting.items()):
            while probes and probes[0][0] < seen.get(partition, 0):
                latencies_s.append(now_s - probes.popleft()[1])
        time.sleep(0.02)
    ordered = sorted(latencies_s)
    p50, p99 = ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)]
    load = f"{share:.0%} load ({rate:,.0f}/s)"
    print(f"| produce → visible at {load} | p50 {p50:.2f} s, p99 {p99:.2f} s | {len(ordered)} probes |", flush=True)
    return len(batch)


def _paced(client: Any, batch: list[Message], rate: float, acknowledged: Any) -> None:
    start_s = time.monotonic()
    for number, message in enumerate(batch):
        due_s = start_s + number / rate
        if (ahead_s := due_s - time.monotonic()) > 0.002:
            time.sleep(ahead_s)
        probe = acknowledged(time.monotonic()) if number % _PROBE_EVERY == 0 else None
        client.produce(RAW.name, message.value, message.key, headers=list(message.headers.items()), on_delivery=probe)
        client.poll(0)
    client.flush()


def _stored(ledger: psycopg.Connection[Any]) -> int:
    row = ledger.execute(_STORED, [RAW.name]).fetchone()
    return int(row[0]) if row else 0


def _size(ledger: psycopg.Connection[Any]) -> None:
    ledger.execute("VACUUM")
    row = ledger.execute(
        "SELECT sum(pg_total_relation_size(c.oid)), (SELECT count(*) FROM calls) FROM pg_class c "
        "WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'm')"
    ).fetchone()
    assert row is not None
    print(f"| on disk, all tables and indexes | {int(row[0]) / row[1]:.0f} bytes a call | {row[1]:,} calls |")


if __name__ == "__main__":
    main()
