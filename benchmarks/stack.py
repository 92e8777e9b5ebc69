"""A stack of its own for one benchmark, the messages to put into it, and the CPU its programs used."""

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition

from benchmarks.workload import Message
from infra.local.place import claim_free_ports, layout_of
from infra.local.stack import Stack
from tokenledger.records.topics import RAW

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_GIVE_UP_AFTER_S = 600


@contextmanager
def stack_of(names: tuple[str, ...] = ()) -> Iterator[Stack]:
    """A fresh stack of the named programs (all of them if none is named), gone afterwards."""
    root = Path(tempfile.mkdtemp(prefix="tlb-", dir="/tmp"))
    root.chmod(0o755)  # Postgres runs as another account when we are root
    claim_free_ports(root)
    stack = Stack(layout_of(str(root)), lambda line: print(f"  {line}", flush=True))
    try:
        stack.up(names)
        yield stack
    finally:
        stack.down()
        shutil.rmtree(root)


def producer(stack: Stack) -> Producer:
    """An idempotent producer as `tokenledger send` configures it."""
    return Producer(
        {
            "bootstrap.servers": stack.layout.kafka_bootstrap,
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            "compression.type": "lz4",
            "linger.ms": 5,
            "queue.buffering.max.messages": 200_000,
        }
    )


def produce(client: Producer, messages: Iterable[Message]) -> int:
    """Send them all, as fast as the broker takes them; how many."""
    count = 0
    for message in messages:
        while True:
            try:
                client.produce(RAW.name, message.value, message.key, headers=list(message.headers.items()))
                break
            except BufferError:
                client.poll(0.1)
        count += 1
        if count % 1000 == 0:
            client.poll(0)
    client.flush()
    return count


def end_offsets(stack: Stack, topic: str) -> int:
    """Records ever appended to a topic."""
    consumer = Consumer({"bootstrap.servers": stack.layout.kafka_bootstrap, "group.id": "benchmark"})
    try:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        return sum(consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=10)[1] for p in partitions)
    finally:
        consumer.close()


def wait_until(done: Callable[[], bool], *, every_s: float = 0.2) -> None:
    """Poll until done; TimeoutError after ten minutes."""
    deadline = time.monotonic() + _GIVE_UP_AFTER_S
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not done after {_GIVE_UP_AFTER_S} s")
        time.sleep(every_s)


def cpu_s(pid: int) -> float:
    """CPU seconds of a process and everything below it, now."""
    children: dict[int, list[int]] = {}
    used: dict[int, float] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        child = int(path.parent.name)
        children.setdefault(int(fields[1]), []).append(child)
        used[child] = sum(int(ticks) for ticks in fields[11:15]) / _TICKS_PER_S
    total, waiting = 0.0, [pid]
    while waiting:
        one = waiting.pop()
        total += used.get(one, 0.0)
        waiting += children.get(one, [])
    return total


def cpu_of(stack: Stack) -> dict[str, float]:
    """CPU seconds of every program so far."""
    return {process.name: cpu_s(process.pid) for process in stack.supervision.processes() if process.pid}


def in_background(work: Callable[[], object]) -> threading.Thread:
    """A thread that is already running."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread
