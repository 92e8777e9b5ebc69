"""The only Flink functions: they hold what a worker needs and hand each record to the library."""

from collections.abc import Mapping
from typing import Any

from pyflink.common import Row
from pyflink.table import FunctionContext
from pyflink.table.udf import ScalarFunction, udf

from flink_jobs.outcome import outcome
from flink_jobs.settings import Operator
from tokenledger.process import default_context
from tokenledger.records.raw import RawEvent
from tokenledger.records.topics import RAW

RESULT_TYPE = "ROW<priced BOOLEAN, record_value BYTES, record_headers MAP<STRING, BYTES>>"
"""What every function returns; Flink's converter fails on a null map, so it is never null."""


class Price(ScalarFunction):  # type: ignore[misc] # Flink's classes are untyped
    """Prices each record, by the book loaded when the worker started."""

    def open(self, function_context: FunctionContext) -> None:
        """Nothing is priced before the whole book is loaded; without one the job does not start."""
        del function_context
        self._context = default_context()

    def eval(self, *record: Any) -> Row:
        """The record's outcome; the fields come in the order in which price_job's SQL names them."""
        key, value, headers, partition, offset, append_at_ms = record
        raw = RawEvent(
            value=value,
            key=key,
            headers=present(headers),
            topic=RAW.name,
            partition=partition,
            offset=offset,
            append_at_us=append_at_ms * 1000,
        )
        return Row(*outcome(raw, self._context))


class Identity(ScalarFunction):  # type: ignore[misc] # Flink's classes are untyped
    """Moves the bytes on undecided: the cost of Flink and Kafka alone, for benchmarks."""

    def eval(self, *record: Any) -> Row:
        """What opens like JSON counts as priced, anything else as rejected."""
        _key, value, headers, *_origin = record
        if value is not None and value[:1] == b"{":
            return Row(True, value, {})  # noqa: FBT003 - the row's first field
        return Row(False, value, present(headers))  # noqa: FBT003 - the row's first field


def present(headers: Mapping[str, bytes | None] | None) -> dict[str, bytes]:
    """Kafka allows a header without a value; to us it is an empty one."""
    return {name: value or b"" for name, value in (headers or {}).items()}


def function(operator: Operator) -> Any:
    """The job's one function."""
    functions = {"price": Price, "identity": Identity}
    return udf(functions[operator](), result_type=RESULT_TYPE)
