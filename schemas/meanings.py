"""What the records say of themselves: the sentence under each field, and the unit in each name."""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from enum import StrEnum
from functools import cache
from itertools import pairwise
from typing import Final

UNITS: Final = (
    ("kv_token_us", "tokens × µs"),
    ("_at_us", "µs since 1970, UTC"),
    ("_times_us", "µs since 1970, UTC"),
    ("_us", "µs"),
    ("_usd_pico", "10⁻¹² USD"),
    ("_tokens", "tokens"),
)
"""Ends of names and the unit they state; the first that fits counts."""

COUNTS: Final = {
    "container_part": "ordinal, from 0",
    "attempt_no": "ordinal, from 1",
    "revision": "ordinal",
    "ce_sequence": "ordinal",
    "reading_version": "version",
    "http_status": "HTTP status",
    "explicit_leaves": "count",
    "usage": "base unit of the meter",
    "quantity": "base unit of the meter",
    "list_pico": "10⁻¹² USD per `list_per`",
    "list_per": "base units of the meter",
    "contracted_pico": "10⁻¹² USD per `contracted_per`",
    "contracted_per": "base units of the meter",
    "partition": "Kafka partition",
    "offset": "Kafka offset",
    "partitions": "count",
    "calls": "calls",
    "errors": "calls",
    "rate_limited": "calls",
    "timeouts": "calls",
    "aborted": "calls",
    "cache_hits": "calls",
    "escalations": "calls",
    "incomplete_calls": "calls",
    "clamped_calls": "calls",
    "late_calls": "calls",
    "expired_calls": "calls",
}
"""Numbers whose name needs no unit, and what they are instead. A new one needs a reason of this kind."""

DURATIONS: Final = frozenset({"MeasuredTimes"})
"""Records that stand under a name with the unit (`timings_us`), so that their fields need none: all µs."""


HISTOGRAMS: Final = frozenset({"FeatureWindow"})
"""Records whose durations are histograms, bucket → calls."""


def unit_of(record: str, field: str) -> str | None:
    """The unit of a numeric field; None where neither its name nor the list of counts says."""
    if record in DURATIONS:
        return "µs"
    if record in HISTOGRAMS and field in {"total_us", "ttft_us", "tpot_us"}:
        return "calls by bucket"
    for end, unit in UNITS:
        if field.endswith(end):
            return unit
    return COUNTS.get(field)


@cache
def field_meanings(record: type) -> dict[str, str]:
    """Field or member → the sentence under it, in the order of the source. A field without one is left out."""
    source = textwrap.dedent(inspect.getsource(record))
    return dict(_documented(ast.parse(source).body[0].body))  # type: ignore[attr-defined]  # a class has a body


def meaning_of(record: type) -> str:
    """The docstring of a record or enum on one line."""
    return _one_line(inspect.getdoc(record) or "")


def member_rows(enum: type[StrEnum]) -> list[tuple[str, str]]:
    """(value, meaning) of each member of an enum."""
    meanings = field_meanings(enum)
    return [(member.value, meanings.get(member.name, "")) for member in enum]


def _documented(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    for statement, after in pairwise(body):
        match statement, after:
            case (
                ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                yield name, _one_line(text)


def _one_line(text: str) -> str:
    return " ".join(text.split())
