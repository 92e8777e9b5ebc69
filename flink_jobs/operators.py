"""The only Flink functions: they hold what a worker needs and hand each record to the library.

They are total. A record that breaks our own code becomes a rejected record with its bytes; raising
would restart the job, meet the same record again, and stop every customer's numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyflink.common import Row
from pyflink.table.udf import ScalarFunction, udf

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flink_jobs.settings import Operator

OUTCOME = "ROW<priced BOOLEAN, record_value BYTES, record_headers MAP<STRING, BYTES>>"
"""What every function returns; a null map would fail in Flink's converter, so it is never null."""


class Identity(ScalarFunction):  # type: ignore[misc] # Flink's classes are untyped
    """Moves the bytes on undecided: the cost of Flink and Kafka alone, for benchmarks."""

    def eval(self, *record: Any) -> Row:  # noqa: ANN401 - Flink's call
        """What opens like JSON counts as priced, anything else as rejected."""
        _key, value, headers, *_origin = record
        if value is not None and value[:1] == b"{":
            return Row(True, value, {})  # noqa: FBT003 - a row's field
        return Row(False, value, present(headers))  # noqa: FBT003 - a row's field


def present(headers: Mapping[str, bytes | None]) -> dict[str, bytes]:
    """Kafka allows a header without a value; to us it is an empty one."""
    return {name: value or b"" for name, value in headers.items()}


def function(operator: Operator) -> Any:  # noqa: ANN401 - Flink's wrapper is untyped
    """The job's one function."""
    return udf({"identity": Identity}[operator](), result_type=OUTCOME)
