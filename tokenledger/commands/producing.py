"""Messages → Kafka, each acknowledged by all replicas and written down; stops cleanly at any moment."""

import argparse
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tokenledger.commands import traffic
from tokenledger.commands.journal import Journal, text_or_base64
from tokenledger.readers.objects import Journalled

_ANSWER_WITHIN_S: Final = 10.0
_CHECK_EVERY: Final = 256
_EXIT_INCOMPLETE: Final = 1
_EXIT_INTERRUPTED: Final = 130
_MAX_MESSAGE_BYTES: Final = 8 * 1024 * 1024
# A broker that is killed is back in seconds; what waits for it is delivered once, in order.
_GIVE_UP_AFTER_MS: Final = 600_000


class Delivery:
    """One run: what was acknowledged, what failed, and whether to stop."""

    def __init__(self, journal: Journal | None) -> None:
        self.journal = journal
        self.acknowledged = 0
        self.failures: dict[str, int] = {}
        self.stopped = False

    def done(self, message: traffic.Message, error: KafkaError | None, delivered: Message) -> None:
        """The broker's answer for one message."""
        if error is not None:
            self.failures[error.str()] = self.failures.get(error.str(), 0) + 1
            return
        self.acknowledged += 1
        if self.journal is not None:
            self.journal.write(_journalled(message, delivered))

    def stop(self, _signal: int, _frame: FrameType | None) -> None:
        """Send no more; wait for what was sent."""
        self.stopped = True


def _journalled(message: traffic.Message, delivered: Message) -> Journalled:
    _, append_at_ms = delivered.timestamp()
    return Journalled(
        topic=delivered.topic() or "",
        # Delivered messages have a place; the client's types allow them none.
        partition=delivered.partition() or 0,
        offset=delivered.offset() or 0,
        append_at_us=append_at_ms * 1000,
        headers={name: value.decode() for name, value in message.headers.items()},
        n=message.n,
        key=message.key.decode(),
        **text_or_base64(message.value),
    )


def deliver(
    messages: Iterable[traffic.Message], journal: Journal | None, *, options: argparse.Namespace, expected: int
) -> int:
    """Send what the journal does not hold yet; the exit status."""
    producer = Producer(_settings(options.bootstrap))
    _check_topic(producer, options)
    delivery = Delivery(journal)
    known = journal.acknowledged if journal else set[int]()
    started_s = time.monotonic()
    with _bar(expected, quiet=options.quiet) as advance, _on_interrupt(delivery):
        sent = 0
        for message in messages:
            advance(delivery.acknowledged + len(known))
            if delivery.stopped:
                break
            if message.n in known:
                continue
            _produce(producer, message, delivery=delivery, topic=options.topic)
            sent += 1
            if options.rate:
                _keep_pace(producer, sent, rate=options.rate, started_s=started_s)
        while producer.flush(1.0) and not _given_up(delivery):
            advance(delivery.acknowledged + len(known))
    if journal is not None:
        journal.close()
    return _conclude(delivery, sent=sent, known=len(known), elapsed_s=time.monotonic() - started_s)


def _given_up(delivery: Delivery) -> bool:
    return delivery.stopped and bool(delivery.failures)


def _settings(bootstrap: str) -> dict[str, Any]:
    return {
        "bootstrap.servers": bootstrap,
        "enable.idempotence": True,
        "acks": "all",
        # Java producers place records like this; one tenant's records would otherwise lie in two partitions.
        "partitioner": "murmur2_random",
        "linger.ms": 20,
        "compression.type": "lz4",
        "message.max.bytes": _MAX_MESSAGE_BYTES,
        "queue.buffering.max.messages": 100_000,
        "delivery.timeout.ms": _GIVE_UP_AFTER_MS,
        "log_level": 3,
    }


def _check_topic(producer: Producer, options: argparse.Namespace) -> None:
    """Fail at once and in words, not after ten minutes. Raises ValueError."""
    try:
        listed = producer.list_topics(options.topic, timeout=_ANSWER_WITHIN_S).topics[options.topic]
    except KafkaException:
        message = f"no Kafka broker answers at {options.bootstrap}; start the stack with `make up`, or name --bootstrap"
        raise ValueError(message) from None
    if listed.error is not None:
        message = f"topic {options.topic}: {listed.error.str()}; `make up` creates the topics"
        raise ValueError(message)


def _produce(producer: Producer, message: traffic.Message, *, delivery: Delivery, topic: str) -> None:
    headers: list[tuple[str, str | bytes | None]] = list(message.headers.items())
    answered = partial(delivery.done, message)
    while True:
        try:
            producer.produce(topic, message.value, message.key, headers=headers, on_delivery=answered)
        except BufferError:
            producer.poll(0.1)
            if delivery.stopped:
                return
        else:
            break
    if not message.n % _CHECK_EVERY:
        producer.poll(0)


def _keep_pace(producer: Producer, sent: int, *, rate: float, started_s: float) -> None:
    ahead_s = sent / rate - (time.monotonic() - started_s)
    if ahead_s > _SLACK_S:
        producer.poll(ahead_s)
        time.sleep(max(sent / rate - (time.monotonic() - started_s), 0))


_SLACK_S: Final = 0.01


@contextmanager
def _on_interrupt(delivery: Delivery) -> Iterator[None]:
    before = {number: signal.signal(number, delivery.stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _bar(expected: int, *, quiet: bool) -> Iterator[Any]:
    console = Console(stderr=True)
    columns = (TextColumn("sending"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal)
    with bar:
        task = bar.add_task("sending", total=expected)
        yield lambda completed: bar.update(task, completed=completed)


def _conclude(delivery: Delivery, *, sent: int, known: int, elapsed_s: float) -> int:
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    before = f" ({known:,} were acknowledged before)" if known else ""
    rate = f", {delivery.acknowledged / elapsed_s:,.0f} a second" if delivery.acknowledged else ""
    if known and not sent and not delivery.stopped:
        console.print(f"nothing left to send: all {known:,} records were acknowledged before")
        return 0
    console.print(f"{delivery.acknowledged:,} of {sent:,} records acknowledged in {elapsed_s:.1f} s{rate}{before}")
    for reason, count in delivery.failures.items():
        console.print(f"  {count:,} not delivered: {reason}", markup=False)
    if delivery.stopped or delivery.acknowledged < sent:
        if delivery.journal is not None:
            console.print("run the same command again: it goes on where this one stopped")
        return _EXIT_INTERRUPTED if delivery.stopped else _EXIT_INCOMPLETE
    return 0
