"""FIELDS.md: every field, meter, reason, anomaly and topic with its unit and meaning, for people."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Final

import msgspec

from schemas.headers import RAW_HEADERS, rejected_headers_schema
from schemas.json_schema import record_types
from schemas.meanings import field_meanings, meaning_of, member_rows, unit_of
from tokenledger.normalise.envelope import Envelope
from tokenledger.records import Anomaly, PricedCall, RawEvent, Reason, Rejected
from tokenledger.records.features import FeatureWindow
from tokenledger.records.meters import METERS
from tokenledger.records.topics import CAPTURED, TOPICS

_OPENING = """\
# Fields

Every field that travels, with its unit and meaning. Absent or null is *not stated* or *not measured*; 0 was stated.
Money is whole 10⁻¹² USD, time is whole microseconds UTC, and quantities are whole numbers of a meter's base unit.
"""


def glossary() -> str:
    """The whole page."""
    records = [*record_types(PricedCall), Rejected, RawEvent, *record_types(Envelope), FeatureWindow]
    sections = [
        _OPENING,
        _topics(),
        _captured(),
        *(_record(record) for record in records),
        _raw_headers(),
        _rejected_headers(),
        _meters(),
        _members("Reasons", Reason),
        _members("Anomalies", Anomaly),
    ]
    return "\n".join(sections)


def _record(record: type) -> str:
    info = msgspec.inspect.type_info(record)
    meanings = field_meanings(record)
    rows = [
        (f"`{field.encode_name}`", _type(field.type), _unit(record, field), meanings[field.name])
        for field in info.fields  # type: ignore[attr-defined]  # every record is a Struct
    ]
    return _section(record.__name__, meaning_of(record), head=("field", "type", "unit", "meaning"), rows=rows)


def _unit(record: type, field: msgspec.inspect.Field) -> str:
    return (unit_of(record.__name__, field.name) or "") if holds_integer(field.type) else ""


def holds_integer(info: Any) -> bool:
    """Whether values of this type are whole numbers, or lists or maps of them."""
    match info:
        case msgspec.inspect.IntType():
            return True
        case msgspec.inspect.UnionType(types=types):
            return any(holds_integer(member) for member in types)
        case msgspec.inspect.VarTupleType(item_type=item) | msgspec.inspect.ListType(item_type=item):
            return holds_integer(item)
        case msgspec.inspect.DictType(value_type=item):
            return holds_integer(item)
        case _:
            return False


def _type(info: Any) -> str:
    match info:
        case msgspec.inspect.UnionType(types=types):
            return " or ".join(_type(member) for member in types)
        case msgspec.inspect.StructType(cls=cls) | msgspec.inspect.EnumType(cls=cls):
            return f"{cls.__name__}"
        case msgspec.inspect.VarTupleType(item_type=item) | msgspec.inspect.ListType(item_type=item):
            return f"list of {_type(item)}"
        case msgspec.inspect.DictType(key_type=key, value_type=value):
            return f"map {_type(key)} → {_type(value)}"
        case msgspec.inspect.Metadata(type=inner):
            return _type(inner)
        case _:
            return _SIMPLE[type(info)]


_SIMPLE: Final[dict[type, str]] = {
    msgspec.inspect.StrType: "text",
    msgspec.inspect.IntType: "integer",
    msgspec.inspect.FloatType: "number",
    msgspec.inspect.BoolType: "boolean",
    msgspec.inspect.NoneType: "null",
    msgspec.inspect.BytesType: "bytes",
    msgspec.inspect.AnyType: "any JSON",
}


def _topics() -> str:
    rows = [
        (
            f"`{topic.name}`",
            topic.meaning,
            f"`{topic.key}`",
            str(topic.partitions),
            f"{int(topic.config['retention.ms']) // 86_400_000}",
        )
        for topic in TOPICS
    ]
    head = ("topic", "one record is", "key", "partitions", "kept, days")
    return _section("Topics", "Kafka topics.", head=head, rows=rows)


def _captured() -> str:
    rows = [(f"`{topic.name}`", topic.meaning, topic.key, str(topic.partitions)) for topic in CAPTURED]
    meaning = "Written by Debezium, as JSON; the newest record of each key is kept for ever."
    return _section("Topics of changes", meaning, head=("topic", "one record is", "key", "partitions"), rows=rows)


def _raw_headers() -> str:
    rows = [(f"`{header.name}`", "yes" if header.required else "", header.meaning) for header in RAW_HEADERS]
    meaning = "Kafka headers of `llm.raw.v1`, UTF-8 texts."
    return _section("Headers of raw records", meaning, head=("header", "required", "meaning"), rows=rows)


def _rejected_headers() -> str:
    schema = rejected_headers_schema()
    rows = [(f"`{name}`", field["description"]) for name, field in schema["properties"].items()]
    return _section("Headers of rejected records", schema["description"], head=("header", "meaning"), rows=rows)


def _meters() -> str:
    rows = [
        (
            f"`{meter.id}`",
            meter.unit,
            meter.meaning,
            (f"`{meter.priced_as}`" if meter.priced_as else "") + (", flagged" if meter.flagged else ""),
        )
        for meter in METERS.values()
    ]
    meaning = (
        "Every quantity that can be priced. Leaves never overlap; per direction they add up to the provider's own "
        "inclusive total. *Priced as* names the meter whose rate applies where there is none of its own; *flagged* "
        "means that this is said in `rate_fallbacks`."
    )
    return _section("Meters", meaning, head=("meter", "base unit", "one unit is", "priced as"), rows=rows)


def _members(title: str, enum: type[StrEnum]) -> str:
    rows = [(f"`{value}`", meaning) for value, meaning in member_rows(enum)]
    return _section(title, meaning_of(enum), head=("value", "meaning"), rows=rows)


def _section(title: str, meaning: str, *, head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    table = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
    return f"## {title}\n\n{meaning}\n\n{table}\n"
