"""Columns of `tokenledger price` as Arrow types, derived from the rows' own fields."""

import types
from typing import Any, Final, get_args, get_origin, get_type_hints

import msgspec
import pyarrow as pa

from tokenledger.commands.cost_table import Sums
from tokenledger.commands.rows import Refusal, Row

_SCALARS: Final[dict[object, Any]] = {str: pa.string(), int: pa.int64(), bool: pa.bool_()}


def call_schema() -> pa.Schema:
    """One row a call, or a rejected record with only what is known of it."""
    fields = [pa.field("outcome", pa.string()), *_fields(Row)]
    fields += [pa.field(f"rejected_{one.name}", one.type) for one in _fields(Refusal)]
    return pa.schema(fields)


def group_schema(names: tuple[str, ...]) -> pa.Schema:
    """One row a group."""
    return pa.schema([*(pa.field(name, pa.string()) for name in names), *map(_wide, _fields(Sums))])


def _wide(field: pa.Field) -> pa.Field:
    """Sums may pass 64 bits."""
    return field.with_type(pa.decimal128(38, 0)) if field.name.endswith("_usd_pico") else field


def _fields(record: type[msgspec.Struct]) -> list[pa.Field]:
    return [pa.field(name, _type(name, hint)) for name, hint in get_type_hints(record).items()]


def _type(name: str, hint: Any) -> Any:
    """Money is text in JSON and an integer here."""
    if name.endswith(("_usd_pico", "_pico")):
        return pa.int64()
    if isinstance(hint, types.UnionType):
        return _type(name, next(one for one in get_args(hint) if one is not types.NoneType))
    if get_origin(hint) in {list, tuple}:
        return pa.list_(_type("", get_args(hint)[0]))
    if get_origin(hint) is dict:
        return pa.map_(pa.string(), pa.int64())
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return pa.struct(_fields(hint))
    return _SCALARS[hint]
