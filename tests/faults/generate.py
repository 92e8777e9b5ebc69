"""Sends the traffic of one seed and writes down what it sent and what the broker acknowledged.

    python -m tests.faults.generate --journal FILE --bootstrap HOST:PORT --seed 1 --events 200000 --rate 700

The journal is the only witness of the run, one JSON object a line: first the run, then for every record what the
ledger must make of it (written before it is sent), and for every acknowledgement where in the log it lies. Killed at
any instant and started again, it sends on: what the journal holds no acknowledgement of is sent once more.
"""

import argparse
import json
import signal
import sys
import time
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO, Final

import msgspec
from confluent_kafka import KafkaError, Message, Producer

from tests.faults.workload import Event, Run, Traffic

TOPIC: Final = "llm.raw.v1"
AT_ONCE: Final = 50
_BURST_EVERY_S, _BURST_S, _BURST_TIMES = 60.0, 6.0, 3.0
_INTERRUPTED: Final = 130
_INCOMPLETE: Final = 1
_encode: Final = msgspec.json.encode


class Journal:
    """An append-only file; each line reaches the operating system before what it speaks of is done."""

    def __init__(self, path: Path, run: Run) -> None:
        self.planned = -1
        """The last record that was written down before it was sent."""
        self.acknowledged: set[int] = set()
        whole = self._take_up(path, run) if path.exists() else 0
        self.file: BinaryIO = path.open("r+b" if path.exists() else "wb")
        # What a killed process wrote of its last line is cut off.
        self.file.truncate(whole)
        self.file.seek(whole)
        if not whole:
            self.write([{"run": run._asdict()}])

    def _take_up(self, path: Path, run: Run) -> int:
        whole = 0
        with path.open("rb") as lines:
            for line in lines:
                if not line.endswith(b"\n"):
                    break
                whole += len(line)
                self._note(json.loads(line), run)
        return whole

    def _note(self, entry: dict[str, Any], run: Run) -> None:
        if "ack" in entry:
            self.acknowledged.add(entry["ack"])
        elif "n" in entry:
            self.planned = max(self.planned, entry["n"])
        elif entry.get("run", run._asdict()) != run._asdict():
            message = f"the journal is of another run: {entry['run']}, not {run._asdict()}"
            raise ValueError(message)

    def write(self, entries: list[dict[str, Any]]) -> None:
        """Append these lines."""
        self.file.write(b"".join(_encode(entry) + b"\n" for entry in entries))
        self.file.flush()


class Sender:
    """One producer; its journal; whether it was asked to stop."""

    def __init__(self, bootstrap: str, journal: Journal) -> None:
        self.journal = journal
        self.stopped = False
        self.fatal = ""
        self.failed = 0
        self._acks: list[dict[str, Any]] = []
        self.producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,
                "acks": "all",
                "partitioner": "murmur2_random",
                "linger.ms": 20,
                "compression.type": "lz4",
                "queue.buffering.max.messages": 20_000,
                "delivery.timeout.ms": 600_000,
                "reconnect.backoff.max.ms": 1_000,
                "log_level": 0,
                "error_cb": self._failed,
            }
        )

    def _failed(self, error: KafkaError) -> None:
        if error.fatal():
            self.fatal = error.str()

    def stop(self, _signal: int, _frame: FrameType | None) -> None:
        """Send no more."""
        self.stopped = True

    def send(self, events: list[Event]) -> None:
        """Write down what will be sent, then send it, then write down what was acknowledged meanwhile."""
        fresh = [event for event in events if event.n > self.journal.planned]
        self.journal.write([{"n": event.n, **event.entry} for event in fresh])
        for event in events:
            if event.n not in self.journal.acknowledged:
                self._produce(event)
        self.take_answers(0)

    def _produce(self, event: Event) -> None:
        headers: list[tuple[str, str | bytes | None]] = list(event.headers.items())
        while not (self.stopped or self.fatal):
            try:
                self.producer.produce(
                    TOPIC, event.value, event.key, headers=headers, on_delivery=partial(self._answered, event.n)
                )
            except BufferError:
                self.take_answers(0.1)
            else:
                return

    def _answered(self, n: int, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self.failed += 1
            return
        _, at_ms = message.timestamp()
        self._acks.append({"ack": n, "p": message.partition(), "o": message.offset(), "ms": at_ms})

    def take_answers(self, wait_s: float) -> int:
        """Write down what the broker answered; how many records wait for an answer."""
        self.producer.poll(wait_s)
        if self._acks:
            self.journal.write(self._acks)
            self._acks = []
        return len(self.producer)


def main() -> int:
    """0 if all was acknowledged, 1 if not, 130 if interrupted."""
    options = _options()
    run = Run(options.seed, options.events, options.start_us, options.rate, options.prefix)
    sender = Sender(options.bootstrap, Journal(options.journal, run))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, sender.stop)
    traffic = Traffic(run).events()
    for events in _paced(traffic, sender, rate=options.rate):
        sender.send(events)
        if sender.stopped or sender.fatal:
            break
    while sender.take_answers(0.2) and not (sender.stopped or sender.fatal):
        pass
    if sender.fatal:
        sys.stderr.write(f"the producer gave up: {sender.fatal}; start it again\n")
    if sender.stopped:
        return _INTERRUPTED
    return _INCOMPLETE if sender.fatal or sender.failed else 0


def _paced(traffic: Iterator[Event], sender: Sender, *, rate: int) -> Iterator[list[Event]]:
    """Some at a time, at the rate asked for, with bursts; what was sent before is passed over at once."""
    due_s = time.monotonic()
    while events := list(islice(traffic, AT_ONCE)):
        if all(event.n in sender.journal.acknowledged for event in events):
            continue
        yield events
        in_burst = time.monotonic() % _BURST_EVERY_S < _BURST_S
        due_s = max(due_s, time.monotonic() - 1) + len(events) / (rate * (_BURST_TIMES if in_burst else 1))
        while (left_s := due_s - time.monotonic()) > 0 and not sender.stopped:
            sender.take_answers(min(left_s, 0.05))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.generate", description=__doc__)
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--rate", type=int, default=700)
    parser.add_argument("--prefix", default="faults")
    parser.add_argument("--start-us", type=int, default=time.time_ns() // 10**9 * 10**6)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
