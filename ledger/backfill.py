"""A range of the raw topic, judged again by the same `process`, against what the ledger holds of it, to the pico.

What has no outcome yet can be sent to where the stream would have sent it: the ledger takes each origin once, so a
record that arrives twice changes nothing. What has one is never sent: a window of the stream would count it again.
"""

from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, closing
from typing import Any, Final, NamedTuple

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from ledger.database import Connection
from ledger.kafka import is_record
from tokenledger.process import Context, process
from tokenledger.records import PricedCall, RawEvent, Rejected
from tokenledger.records.topics import PRICED, RAW, REJECTED
from tokenledger.records.wire import encode_priced, encode_rejected

_ANSWER_WITHIN_S: Final = 10.0
_AT_ONCE: Final = 2_000
_SHOWN: Final = 20
_END: Final = (1 << 63) - 1


class Differing(NamedTuple):
    """A record whose outcome today is not what the ledger holds."""

    partition: int
    """Partition of the raw topic."""
    offset: int
    """Offset of the raw topic."""
    ledger: str
    """What the ledger holds."""
    again: str
    """What `process` makes of it now."""

    def __str__(self) -> str:
        return f"{RAW.name}/{self.partition}/{self.offset}: the ledger holds {self.ledger}, now it is {self.again}"


class Tally(msgspec.Struct):
    """What a range came to."""

    book_version: str
    """The price book it was judged by."""
    records: int = 0
    """Raw records of the range."""
    equal: int = 0
    """Of them those whose cost, known cost, facts and book are the ledger's, or whose rejection is."""
    behind_another: int = 0
    """Of them those whose call is held by another record: duplicates and losers."""
    by_another_book: int = 0
    """Of them those the ledger prices by another book and otherwise agrees on: repricing is for them."""
    differing: int = 0
    """Of them those that differ."""
    without_outcome: int = 0
    """Of them those the ledger has never seen."""
    sent: int = 0
    """Of the unseen those that were sent."""
    known_cost_usd_pico: int = 0
    """Sum of the known costs of what is equal, 10⁻¹² USD."""
    examples: list[Differing] = []
    """The first that differ."""

    @property
    def right(self) -> bool:
        """Nothing differs and nothing is missing that was not sent."""
        return self.differing == 0 and self.without_outcome == self.sent


class _Held(NamedTuple):
    """A winner's record, or a rejection, as the ledger has it."""

    offset: int
    known_cost_usd_pico: int | None
    cost_usd_pico: int | None
    fingerprint: str
    book_version: str
    reason: str


class Log:
    """The raw topic by time, and the two topics its outcomes go to; close it when done."""

    def __init__(self, bootstrap: str) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                # librdkafka asks for a name; nothing is ever committed under it.
                "group.id": "tokenledger-backfill",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "message.max.bytes": 32 * 1024 * 1024,
                "fetch.max.bytes": 32 * 1024 * 1024,
                "log_level": 3,
            }
        )
        self._bootstrap = bootstrap
        self._failed: list[KafkaError] = []

    def close(self) -> None:
        """Leave."""
        self._consumer.close()

    def spans(self, *, since_us: int, until_us: int) -> dict[int, tuple[int, int]]:
        """Per partition the first offset appended from `since` on, and the first from `until` on."""
        listed = self._consumer.list_topics(RAW.name, timeout=_ANSWER_WITHIN_S).topics[RAW.name]
        if listed.error is not None:
            raise KafkaException(listed.error)
        return {
            number: (self._first(number, since_us), self._first(number, until_us))
            for number in sorted(listed.partitions)
        }

    def _first(self, partition: int, at_us: int) -> int:
        # Kafka's times are milliseconds: the first that is not before the instant.
        asked = TopicPartition(RAW.name, partition, -(-at_us // 1000))
        [answer] = self._consumer.offsets_for_times([asked], timeout=_ANSWER_WITHIN_S)
        if answer.offset >= 0:
            return int(answer.offset)
        return self._consumer.get_watermark_offsets(TopicPartition(RAW.name, partition), timeout=_ANSWER_WITHIN_S)[1]

    def read(self, partition: int, span: tuple[int, int]) -> Iterator[RawEvent]:
        """The records of a span, in order."""
        at, end = span
        self._consumer.assign([TopicPartition(RAW.name, partition, at)])
        while at < end:
            # No more than there are: it would wait for the rest.
            messages = self._consumer.consume(min(_AT_ONCE, end - at), timeout=_ANSWER_WITHIN_S)
            if not messages:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"no answer for partition {partition}"))  # noqa: SLF001
            for message in filter(is_record, messages):
                at = (message.offset() or 0) + 1
                yield _raw(message)

    def send(self, outcomes: Iterable[tuple[RawEvent, PricedCall | Rejected]]) -> int:
        """Write outcomes as the stream would have; how many. Raises KafkaException unless the log has them all."""
        producer = Producer(
            {
                "bootstrap.servers": self._bootstrap,
                "enable.idempotence": True,
                "acks": "all",
                "partitioner": "murmur2_random",
                "message.max.bytes": 8 * 1024 * 1024,
                "log_level": 3,
            }
        )
        count = 0
        for raw, made in outcomes:
            rejected = isinstance(made, Rejected)
            value, headers = encode_rejected(made, raw) if isinstance(made, Rejected) else (encode_priced(made), {})
            topic = REJECTED.name if rejected else PRICED.name
            producer.produce(topic, value, raw.key, headers=list(headers.items()), on_delivery=self._answered)
            count += 1
        if producer.flush(6 * _ANSWER_WITHIN_S) or self._failed:
            message = "the log did not take every record"
            raise KafkaException(self._failed[0] if self._failed else KafkaError(KafkaError._MSG_TIMED_OUT, message))  # noqa: SLF001
        return count

    def _answered(self, error: KafkaError | None, message: Message) -> None:
        del message
        if error is not None:
            self._failed.append(error)


def _raw(message: Message) -> RawEvent:
    headers = {
        name: value if isinstance(value, bytes) else b"" for name, value in dict(message.headers() or []).items()
    }
    key = message.key()
    return RawEvent(
        value=message.value(),
        key=key.encode() if isinstance(key, str) else key,
        headers=headers,
        topic=RAW.name,
        partition=message.partition() or 0,
        offset=message.offset() or 0,
        append_at_us=message.timestamp()[1] * 1000,
    )


def backfill(connection: Connection, log: Log, *, span_us: tuple[int, int], context: Context, send: bool) -> Tally:
    """Judge the range again; memory is bounded by one fetch. Raises KafkaException."""
    tally = Tally(book_version=context.book.version)
    for partition, span in log.spans(since_us=span_us[0], until_us=span_us[1]).items():
        with ExitStack() as transaction:
            transaction.enter_context(connection.transaction())
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            seen = _seen(connection, partition)
            rows = transaction.enter_context(closing(_held(connection, partition=partition, span=span)))
            held = _Merged(rows)
            unseen: list[tuple[RawEvent, PricedCall | Rejected]] = []
            for raw in log.read(partition, span):
                made = process(raw, context)
                tally.records += 1
                if not _within(seen, raw.offset):
                    tally.without_outcome += 1
                    unseen.append((raw, made))
                else:
                    judge(tally, raw, held=held.at(raw.offset), made=made)
                if send and len(unseen) >= _AT_ONCE:
                    tally.sent += log.send(unseen)
                    unseen.clear()
            if send and unseen:
                tally.sent += log.send(unseen)
    return tally


def judge(tally: Tally, raw: RawEvent, *, held: _Held | None, made: PricedCall | Rejected) -> None:
    """Count one record that the ledger has seen."""
    if held is None:
        tally.behind_another += 1
        return
    ledger, again = _told(held), _outcome(made)
    if ledger == again:
        tally.equal += 1
        tally.known_cost_usd_pico += held.known_cost_usd_pico or 0
    elif isinstance(made, PricedCall) and _same_but_for_the_book(held, made):
        tally.by_another_book += 1
    else:
        tally.differing += 1
        if len(tally.examples) < _SHOWN:
            tally.examples.append(Differing(raw.partition, raw.offset, ledger, again))


def _same_but_for_the_book(held: _Held, made: PricedCall) -> bool:
    return held.fingerprint == made.fingerprint and held.book_version != made.book_version


def _told(held: _Held) -> str:
    if held.reason:
        return f"rejected as {held.reason}"
    cost = f"{held.known_cost_usd_pico} of {held.cost_usd_pico} pico-USD"
    return f"{cost}, facts {held.fingerprint[:16]}, book {held.book_version}"


def _outcome(made: PricedCall | Rejected) -> str:
    if isinstance(made, Rejected):
        return f"rejected as {made.reason}"
    cost = f"{made.known_cost_usd_pico} of {made.cost_usd_pico} pico-USD"
    return f"{cost}, facts {made.fingerprint[:16]}, book {made.book_version}"


class _Merged:
    """Rows in the order of their offsets, asked in the order of offsets."""

    def __init__(self, rows: Iterator[_Held]) -> None:
        self._rows = rows
        self._next = next(rows, None)

    def at(self, offset: int) -> _Held | None:
        """The row of that offset, if there is one."""
        while self._next is not None and self._next.offset < offset:
            self._next = next(self._rows, None)
        return self._next if self._next is not None and self._next.offset == offset else None


def _held(connection: Connection, *, partition: int, span: tuple[int, int]) -> Generator[_Held, None, None]:
    where: dict[str, Any] = {"topic": RAW.name, "partition": partition, "first": span[0], "end": span[1]}
    with connection.cursor(name="held") as cursor:
        cursor.itersize = _AT_ONCE
        cursor.execute(
            """
            SELECT "offset", known_cost_usd_pico, cost_usd_pico, encode(fingerprint, 'hex'), book_version, '' FROM calls
            WHERE topic = %(topic)s AND partition = %(partition)s AND "offset" >= %(first)s AND "offset" < %(end)s
            UNION ALL
            SELECT "offset", NULL, NULL, '', '', reason FROM rejected
            WHERE topic = %(topic)s AND partition = %(partition)s AND "offset" >= %(first)s AND "offset" < %(end)s
            ORDER BY 1
            """,
            where,
        )
        for row in cursor:
            yield _Held(*row)


def _seen(connection: Connection, partition: int) -> list[tuple[int, int]]:
    row = connection.execute(
        "SELECT range_agg(seen) FROM origin_ranges WHERE topic = %s AND partition = %s", (RAW.name, partition)
    ).fetchone()
    return [(one.lower, one.upper) for one in (row[0] or ())] if row else []


def _within(spans: list[tuple[int, int]], offset: int) -> bool:
    # A handful of spans, hardly ever more than one: the ledger has no gaps when all is well.
    return any(start <= offset < stop for start, stop in spans)
