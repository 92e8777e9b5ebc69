"""The `.proto` of the router's service, from the records that define it."""

from typing import Any, Final

import msgspec

from schemas.meanings import field_meanings, meaning_of
from tokenledger.records.choosing import METHOD, PACKAGE, SERVICE, DecideRequest, DecideResponse

_TYPES: Final[dict[type, str]] = {
    msgspec.inspect.StrType: "string",
    msgspec.inspect.IntType: "int64",
    msgspec.inspect.FloatType: "double",
    msgspec.inspect.BoolType: "bool",
}


def router_proto() -> str:
    """The file. A field's number is its place in the record: fields are only ever added at the end."""
    messages = "\n".join(_message(record) for record in (DecideRequest, DecideResponse))
    call = f"rpc {METHOD}({DecideRequest.__name__}) returns ({DecideResponse.__name__});"
    return (
        f'syntax = "proto3";\n\npackage {PACKAGE};\n\n'
        "// Chooses a model tier for one request. Deadline 10 ms: what would come later is the policy's static tier.\n"
        f"service {SERVICE} {{\n  {call}\n}}\n\n{messages}"
    )


def _message(record: type) -> str:
    meanings = field_meanings(record)
    info: Any = msgspec.inspect.type_info(record)
    lines = [f"// {meaning_of(record)}", f"message {record.__name__} {{"]
    for number, field in enumerate(info.fields, 1):
        lines += [f"  // {meanings[field.name]}", f"  {_type(field.type)} {field.name} = {number};"]
    return "\n".join((*lines, "}", ""))


def _type(info: Any) -> str:
    if isinstance(info, msgspec.inspect.UnionType):
        [inner] = [one for one in info.types if not isinstance(one, msgspec.inspect.NoneType)]
        return f"optional {_TYPES[type(inner)]}"
    return _TYPES[type(info)]
