"""A PricedCall as a row of `calls` and back: every field of the records is a column. Pure."""

from typing import Any, Final

import msgspec
from msgspec.structs import astuple

from tokenledger.records import Call, Latency, Line, ModelShare, PricedCall, Timings
from tokenledger.records.decision import RouteDecision

# What a reading found odd and what the whole path found odd are two fields of one name.
_RENAMED: Final = {"anomalies": "reading_anomalies"}
_NESTED: Final = ("call", "lines", "latency")

_CALL_FIELDS: Final = Call.__struct_fields__
_PRICED_FIELDS: Final = tuple(name for name in PricedCall.__struct_fields__ if name not in _NESTED)
_LATENCY_FIELDS: Final = Latency.__struct_fields__

CALL_COLUMNS: Final = (
    *(_RENAMED.get(name, name) for name in _CALL_FIELDS),
    *_PRICED_FIELDS,
    *_LATENCY_FIELDS,
)
"""Columns of `calls` that are fields of the records, in the order of `call_values`."""

_JSON: Final = frozenset({"tags", "usage", "shares", "timings", "decision"})
_TEXTS: Final = frozenset({"reading_anomalies", "unpriced_meters", "rate_fallbacks", "anomalies"})
_BYTES: Final = frozenset({"fingerprint", "rank"})

_OTHER_TYPES: Final = {
    **dict.fromkeys(_JSON, "jsonb"),
    **dict.fromkeys(_TEXTS, "text[]"),
    **dict.fromkeys(_BYTES, "bytea"),
    "raw_usage": "json",
    "token_times_us": "int8[]",
}
_PLAIN_TYPES: Final[dict[object, str]] = {int: "int8", bool: "bool", str: "text"}


def _types() -> tuple[str, ...]:
    fields = [*msgspec.structs.fields(Call), *msgspec.structs.fields(PricedCall), *msgspec.structs.fields(Latency)]
    plain = [field for field in fields if field.name not in _NESTED]
    return tuple(
        _OTHER_TYPES.get(column) or _PLAIN_TYPES[_scalar(field.type)]
        for column, field in zip(CALL_COLUMNS, plain, strict=True)
    )


def _scalar(annotation: Any) -> object:
    """The type of an optional field."""
    members = [member for member in getattr(annotation, "__args__", (annotation,)) if member is not type(None)]
    return members[0]


CALL_TYPES: Final = _types()
"""Postgres type of each of CALL_COLUMNS."""

_NO_LATENCY: Final = (None,) * len(_LATENCY_FIELDS)
_AT: Final = {column: index for index, column in enumerate(CALL_COLUMNS)}
_TUPLES: Final = tuple(_AT[name] for name in (*sorted(_TEXTS), "token_times_us", "shares"))
_HEXES: Final = tuple(_AT[name] for name in sorted(_BYTES))


def call_values(priced: PricedCall) -> list[Any]:
    """One value for each of CALL_COLUMNS; empty tuples are null."""
    call, status, _lines, latency, *provenance = astuple(priced)
    values = [
        *astuple(call),
        status,
        *provenance,
        *(_NO_LATENCY if latency is None else astuple(latency)),
    ]
    for index in _TUPLES:
        values[index] = list(values[index]) if values[index] else None
    for index in _HEXES:
        values[index] = bytes.fromhex(values[index])
    return values


def priced_call(values: dict[str, Any], lines: tuple[Line, ...]) -> PricedCall:
    """The reverse: a row of `calls` by column name, and the lines of its posting."""
    call = {name: values[_RENAMED.get(name, name)] for name in _CALL_FIELDS}
    call["shares"] = [msgspec.convert(share, ModelShare) for share in call["shares"] or ()]
    for name, kind in (("timings", Timings), ("decision", RouteDecision)):
        call[name] = None if call[name] is None else msgspec.convert(call[name], kind)
    latency = {name: values[name] for name in _LATENCY_FIELDS}
    priced = {name: values[name] for name in _PRICED_FIELDS}
    for name in _BYTES:
        priced[name] = bytes(priced[name]).hex()
    return PricedCall(
        call=Call(**_tuples(call)),
        lines=lines,
        latency=Latency(**latency) if any(value is not None for value in latency.values()) else None,
        **_tuples(priced),
    )


def _tuples(fields: dict[str, Any]) -> dict[str, Any]:
    """Arrays as the records hold them: tuples, empty instead of null."""
    arrays = _TEXTS | {"token_times_us", "shares"}
    return {name: tuple(value or ()) if name in arrays else value for name, value in fields.items()}
