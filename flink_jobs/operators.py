"""The only Flink functions: they hold what a worker needs and hand each record to the library."""

import sys
import time
from collections.abc import Iterator
from functools import partial
from typing import Any, Final

from pyflink.common import Row, RowKind, Types
from pyflink.datastream import KeyedProcessFunction, RuntimeContext
from pyflink.datastream.state import MapStateDescriptor, ValueStateDescriptor
from pyflink.table import FunctionContext
from pyflink.table.udf import ScalarFunction, udf

from flink_jobs.minutes import Minutes
from flink_jobs.outcome import Outcome, outcome
from flink_jobs.settings import Operator
from ledger.prices.following import Following
from ledger.settings import Settings as Ledger
from tokenledger.process import default_context
from tokenledger.records.raw import RawEvent
from tokenledger.records.topics import PRICED, RAW
from tokenledger.records.wire import encode_window, window_key

RESULT_TYPE = "ROW<priced BOOLEAN, record_value BYTES, record_headers MAP<STRING, BYTES>>"
"""What every function returns; Flink's converter fails on a null map, so it is never null."""

WINDOW_TYPE: Final = Types.ROW_NAMED(
    ["record_key", "record_value"], [Types.PRIMITIVE_ARRAY(Types.BYTE()), Types.PRIMITIVE_ARRAY(Types.BYTE())]
)
"""A window as it is written."""
_LOOK_EVERY_MS: Final = 100
"""How often the operator looks whether a minute is over."""


_FOLLOWED: Final[list[Following]] = []
"""What this worker follows: one book, for it has one slot."""


class Price(ScalarFunction):  # type: ignore[misc] # Flink's classes are untyped
    """Prices each record, by the book at work."""

    def __init__(self, ledger: Ledger | None) -> None:
        self._ledger = ledger
        self._book: Following | None = None

    def open(self, function_context: FunctionContext) -> None:
        """Nothing is priced before the whole book is loaded; without one the job does not start."""
        del function_context
        # An attempt that failed is not always closed; its thread and connection would stay as long as the worker.
        while _FOLLOWED:
            _FOLLOWED.pop().close()
        if self._ledger is not None:
            self._book = Following(self._ledger, say=partial(_say, "price_job"))
            self._book.start()
            _FOLLOWED.append(self._book)
        self._packaged = default_context() if self._book is None else self._book.context

    def close(self) -> None:
        """Follow the book no longer."""
        if self._book is not None:
            self._book.close()

    def eval(self, *record: Any) -> Row:
        """The record's outcome; the fields come in the order in which price_job's SQL names them."""
        key, value, header_names, header_values, partition, offset, append_at_ms = record
        raw = RawEvent(
            value=value,
            key=key,
            headers=present(dict(zip(header_names or (), header_values or (), strict=True))),
            topic=RAW.name,
            partition=partition,
            offset=offset,
            append_at_us=append_at_ms * 1000,
        )
        book = self._book
        return Decided(outcome(raw, self._packaged if book is None else book.context))


class Decided(Row):  # type: ignore[misc] # Flink's classes are untyped
    """An outcome as PyFlink takes a row apart: making one of its own for each record costs a microsecond more."""

    def __init__(self, values: Outcome) -> None:
        self._values = values

    def get_row_kind(self) -> RowKind:
        """Every outcome is a new row."""
        return RowKind.INSERT


class Identity(ScalarFunction):  # type: ignore[misc] # Flink's classes are untyped
    """Moves the bytes on undecided: the cost of Flink and Kafka alone, for benchmarks."""

    def eval(self, *record: Any) -> Row:
        """What opens like JSON counts as priced, anything else as rejected."""
        _key, value, headers, *_origin = record
        if value is not None and value[:1] == b"{":
            return Row(True, value, {})  # noqa: FBT003 - the row's first field
        return Row(False, value, present(headers))  # noqa: FBT003 - the row's first field


class CountMinutes(KeyedProcessFunction):  # type: ignore[misc] # Flink's classes are untyped
    """Counts batches of priced calls into minutes; all of them under one key, whose state is the whole of it."""

    def __init__(self, disorder_us: int) -> None:
        self._disorder_us = disorder_us
        self._minutes: Minutes | None = None

    def open(self, runtime_context: RuntimeContext) -> None:
        """The state's names and types; a change here needs a new name."""
        self._progress = runtime_context.get_state(ValueStateDescriptor("progress", Types.PICKLED_BYTE_ARRAY()))
        self._entries = runtime_context.get_map_state(
            MapStateDescriptor("entries", Types.STRING(), Types.PICKLED_BYTE_ARRAY())
        )

    def process_element(self, value: Any, ctx: KeyedProcessFunction.Context) -> Iterator[Row]:
        """One batch: the partition and its records in their order."""
        partition, values = value
        minutes = self._ready(ctx)
        unreadable = minutes.unreadable_records
        minutes.take(partition, values, now_us=_now_us())
        if minutes.unreadable_records > unreadable:
            _say(
                "windows_job",
                f"{minutes.unreadable_records} records of {PRICED.name} since the start were no priced calls",
            )
        yield from self._told(minutes)

    def on_timer(self, timestamp: int, ctx: KeyedProcessFunction.OnTimerContext) -> Iterator[Row]:
        """Time passes without records, too."""
        del timestamp
        minutes = self._ready(ctx)
        _look_again(ctx)
        yield from self._told(minutes)

    def _ready(self, ctx: KeyedProcessFunction.Context) -> Minutes:
        # Not in open(): there is no key yet, hence no state.
        if self._minutes is None:
            minutes = Minutes(range(PRICED.partitions), now_us=_now_us(), disorder_us=self._disorder_us)
            minutes.restore(self._progress.value(), self._entries.items(), stored=self._entries.get)
            self._minutes = minutes
            _look_again(ctx)
        return self._minutes

    def _told(self, minutes: Minutes) -> Iterator[Row]:
        for window in minutes.tell(_now_us()):
            yield Row(window_key(window), encode_window(window))
        changes = minutes.changes()
        self._progress.update(changes.progress)
        for key, entry in changes.put.items():
            self._entries.put(key, entry)
        for key in changes.remove:
            self._entries.remove(key)


def _look_again(ctx: KeyedProcessFunction.Context) -> None:
    # On the grid: a timer that a checkpoint brought back and a new one are the same timer.
    timers = ctx.timer_service()
    next_ms = (timers.current_processing_time() // _LOOK_EVERY_MS + 1) * _LOOK_EVERY_MS
    timers.register_processing_time_timer(next_ms)


def _now_us() -> int:
    return time.time_ns() // 1000


def _say(job: str, message: str) -> None:
    sys.stderr.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {job}: {message}\n")


def present(headers: dict[str, bytes] | None) -> dict[str, bytes]:
    """Kafka allows a header without a value; to us it is an empty one."""
    if headers and None not in headers.values():
        return headers  # nearly always, and nobody else holds it
    return {name: value or b"" for name, value in (headers or {}).items()}


def function(operator: Operator, ledger: Ledger | None) -> Any:
    """The job's one function. `ledger` is where the price book is; without it, the packaged one prices."""
    return udf(Price(ledger) if operator == "price" else Identity(), result_type=RESULT_TYPE)
