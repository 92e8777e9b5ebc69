"""The protobuf messages of `Decide`, built from the records that define them: no generated code, nothing to go stale.

`schemas/proto/router.proto` says the same for other languages; a test compiles it and compares.
"""

from typing import Any, Final, TypeVar

import msgspec
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

from tokenledger.records.choosing import PACKAGE, DecideRequest, DecideResponse

_Record = TypeVar("_Record", DecideRequest, DecideResponse)
_Field = descriptor_pb2.FieldDescriptorProto

_FILE: Final = "tokenledger/router.proto"
_TYPES: Final[dict[type, Any]] = {
    msgspec.inspect.StrType: _Field.TYPE_STRING,
    msgspec.inspect.IntType: _Field.TYPE_INT64,
    msgspec.inspect.FloatType: _Field.TYPE_DOUBLE,
    msgspec.inspect.BoolType: _Field.TYPE_BOOL,
}


def described(record: type) -> descriptor_pb2.DescriptorProto:
    """The message of a record: a field's number is its place."""
    message = descriptor_pb2.DescriptorProto(name=record.__name__)
    info: Any = msgspec.inspect.type_info(record)
    for number, field in enumerate(info.fields, 1):
        optional = isinstance(field.type, msgspec.inspect.UnionType)
        types = field.type.types if optional else (field.type,)
        [kind] = [type(one) for one in types if not isinstance(one, msgspec.inspect.NoneType)]
        made = message.field.add(
            name=field.name, number=number, type=_TYPES[kind], label=_Field.LABEL_OPTIONAL, json_name=_camel(field.name)
        )
        if optional:  # presence is a group of one, as protoc makes it
            made.proto3_optional, made.oneof_index = True, len(message.oneof_decl)
            message.oneof_decl.add(name=f"_{field.name}")
    return message


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _messages() -> dict[type, type[Message]]:
    records = (DecideRequest, DecideResponse)
    file = descriptor_pb2.FileDescriptorProto(name=_FILE, package=PACKAGE, syntax="proto3")
    file.message_type.extend(described(record) for record in records)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        record: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{record.__name__}"))
        for record in records
    }


_MESSAGES: Final = _messages()
_NAMES: Final = {record: record.__struct_fields__ for record in (DecideRequest, DecideResponse)}


def encode(record: DecideRequest | DecideResponse) -> bytes:
    """The record on the wire; None is absent."""
    stated = {name: value for name in _NAMES[type(record)] if (value := getattr(record, name)) is not None}
    return _MESSAGES[type(record)](**stated).SerializeToString()


def decode_request(data: bytes) -> DecideRequest:
    """A request off the wire. Raises google.protobuf.message.DecodeError."""
    return _decoded(data, DecideRequest)


def decode_response(data: bytes) -> DecideResponse:
    """A response off the wire."""
    return _decoded(data, DecideResponse)


def _decoded(data: bytes, kind: type[_Record]) -> _Record:
    message = _MESSAGES[kind].FromString(data)
    present = message.DESCRIPTOR.fields_by_name
    return kind(
        **{
            name: getattr(message, name) if not present[name].has_presence or message.HasField(name) else None
            for name in _NAMES[kind]
        }
    )
