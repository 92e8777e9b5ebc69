"""JSON Schema of a record, with the meaning of every field in it."""

from typing import Any, Final

import msgspec

from schemas.meanings import field_meanings, unit_of

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_INT64: Final = 2**63


def record_schema(record: type) -> dict[str, Any]:
    """The schema of one record and all it holds, each field described."""
    _, parts = msgspec.json.schema_components([record], ref_template="#/$defs/{name}")
    for kind in record_types(record):
        _describe(parts[kind.__name__], kind)
    root = parts.pop(record.__name__)
    return {"$schema": DIALECT, **root, **({"$defs": parts} if parts else {})}


def record_types(record: type) -> list[type]:
    """The record itself and every record inside it, in the order they are met."""
    found: list[type] = []
    _collect(msgspec.inspect.type_info(record), found)
    return found


def _collect(info: Any, found: list[type]) -> None:
    match info:
        case msgspec.inspect.StructType(cls=cls, fields=fields):
            if cls in found:
                return
            found.append(cls)
            for field in fields:
                _collect(field.type, found)
        case msgspec.inspect.UnionType(types=types):
            for member in types:
                _collect(member, found)
        case msgspec.inspect.VarTupleType(item_type=item) | msgspec.inspect.ListType(item_type=item):
            _collect(item, found)
        case _:
            pass


def _describe(schema: dict[str, Any], kind: type) -> None:
    meanings = field_meanings(kind)
    schema["description"] = " ".join(schema["description"].split())
    for name, field in schema["properties"].items():
        field["description"] = meanings[name]
        if _bound_integers(field) and (unit := unit_of(kind.__name__, name)):
            field["x-unit"] = unit


def _bound_integers(schema: dict[str, Any]) -> bool:
    """Say int64 wherever a whole number stands; whether one does."""
    if schema.get("type") == "integer":
        schema.setdefault("minimum", -_INT64)
        schema.setdefault("maximum", _INT64 - 1)
        return True
    inner = [*schema.get("anyOf", ()), schema.get("items"), schema.get("additionalProperties")]
    bounded = [_bound_integers(part) for part in inner if isinstance(part, dict)]
    return any(bounded)
