"""Feast's layout of an entity in Redis (entity key serialisation 3), in bytes: keys, hash fields, values, timestamps.

One hash per entity holds every view's features. `tests/integration/test_feature_store.py` holds it against the SDK.
"""

import math
import struct
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final

MAX_KEY_VALUE_BYTES: Final = 1024
"""Longest value of a join key, UTF-8. Records bound their texts to 256 characters, which is at most this."""

_STRING: Final = 2  # feast.types.ValueType.STRING
_DOUBLE_TAG, _INT64_TAG, _STRING_TAG, _BOOL_TAG = 0x29, 0x20, 0x12, 0x38
_SECONDS_TAG, _NANOS_TAG = 0x08, 0x10
_MORE: Final = 0x80  # set in every byte of a varint but the last
_INT64: Final = range(-(1 << 63), 1 << 63)
_BEYOND: Final = 1 << 63
_LONGEST_INT: Final = 11  # tag and ten bytes
_U32: Final = struct.Struct("<I")
_PAIR: Final = struct.Struct("<II")
_DOUBLE: Final = struct.Struct("<d")
_unpack_double: Final = _DOUBLE.unpack_from
_isfinite: Final = math.isfinite


def key_frame(project: str, join_keys: Sequence[str]) -> tuple[bytes, tuple[int, ...], bytes]:
    """What every key of these join keys begins with, the order their values stand in, and what it ends with."""
    order = tuple(sorted(range(len(join_keys)), key=join_keys.__getitem__))
    named = b"".join(_text(join_keys[place]) for place in order)
    return _U32.pack(len(join_keys)) + named, order, project.encode()


def entity_key(frame: tuple[bytes, tuple[int, ...], bytes], values: Sequence[str]) -> bytes:
    """The Redis key of an entity, its values in the order of the join keys. Raises ValueError for what is refused."""
    head, order, project = frame
    if len(values) != len(order):
        message = f"entity: {len(values)} values; the view has {len(order)} join keys"
        raise ValueError(message)
    return head + b"".join([_value(values[place]) for place in order]) + project


def _value(value: str) -> bytes:
    data = value.encode()
    if len(data) > MAX_KEY_VALUE_BYTES:
        message = f"entity: a value of {len(data)} bytes; at most {MAX_KEY_VALUE_BYTES} are a name"
        raise ValueError(message)
    return _PAIR.pack(_STRING, len(data)) + data


def _text(text: str) -> bytes:
    data = text.encode()
    return _PAIR.pack(_STRING, len(data)) + data


def feature_field(view: str, feature: str) -> bytes:
    """The hash field of a feature."""
    return _U32.pack(murmur3_32(f"{view}:{feature}".encode()))


def timestamp_field(view: str) -> bytes:
    """The hash field that says when a view's features were true."""
    return f"_ts:{view}".encode()


def murmur3_32(data: bytes) -> int:
    """MurmurHash3, 32 bit, seed 0."""
    state = 0
    whole = len(data) & ~3
    for (block,) in _U32.iter_unpack(data[:whole]):
        state ^= _scrambled(block)
        state = (((state << 13) | (state >> 19)) * 5 + 0xE6546B64) & 0xFFFFFFFF
    if tail := data[whole:]:
        state ^= _scrambled(int.from_bytes(tail, "little"))
    state ^= len(data)
    state = ((state ^ (state >> 16)) * 0x85EBCA6B) & 0xFFFFFFFF
    state = ((state ^ (state >> 13)) * 0xC2B2AE35) & 0xFFFFFFFF
    return state ^ (state >> 16)


def _scrambled(block: int) -> int:
    block = (block * 0xCC9E2D51) & 0xFFFFFFFF
    return (((block << 15) | (block >> 17)) * 0x1B873593) & 0xFFFFFFFF


# Values: a protobuf message with one field of a oneof, or none for null.


def encoded(value: float | str | None) -> bytes:
    """The value as Feast stores it. Raises ValueError for a number it must not hold."""
    if value is None:
        return b""
    if isinstance(value, bool):
        return bytes((_BOOL_TAG, value))
    if isinstance(value, int):
        return bytes((_INT64_TAG,)) + _varint(_checked(value))
    if isinstance(value, float):
        if not math.isfinite(value):
            message = f"feature: {value!r} is no measurement; leave it null"
            raise ValueError(message)
        return bytes((_DOUBLE_TAG,)) + _DOUBLE.pack(value)
    data = value.encode()
    return bytes((_STRING_TAG,)) + _varint(len(data)) + data


def _checked(value: int) -> int:
    if value not in _INT64:
        message = f"feature: {value} is beyond 64 bits; leave it null"
        raise ValueError(message)
    return value & 0xFFFFFFFFFFFFFFFF


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= _MORE:
        out.append(value & 0x7F | _MORE)
        value >>= 7
    out.append(value)
    return bytes(out)


def decoded_int(value: bytes | None) -> int | None:
    """A whole number; null and absent are None. Raises ValueError for anything else."""
    if not value:
        return None
    if value[0] != _INT64_TAG or not 1 < len(value) <= _LONGEST_INT or value[-1] >= _MORE:
        _refuse(value, "a whole number")
    # Most of a read is spent here: no call, no pair of results.
    number = shift = 0
    for byte in value[1:]:
        number |= (byte & 0x7F) << shift
        shift += 7
    return number if number < _BEYOND else number - (_BEYOND << 1)


def decoded_float(value: bytes | None) -> float | None:
    """A finite number; null and absent are None. Raises ValueError for anything else."""
    if not value:
        return None
    if value[0] != _DOUBLE_TAG or len(value) != 1 + _DOUBLE.size:
        _refuse(value, "a floating point number")
    number: float = _unpack_double(value, 1)[0]
    if not _isfinite(number):
        _refuse(value, "a finite number")
    return number


def decoded_str(value: bytes | None) -> str | None:
    """A text; null and absent are None. Raises ValueError for anything else."""
    if not value:
        return None
    if value[0] != _STRING_TAG:
        _refuse(value, "a text")
    length, start = _read_varint(value, 1)
    if start + length != len(value):
        _refuse(value, "a text")
    return value[start:].decode()


def decoded_bool(value: bytes | None) -> bool | None:
    """A truth value; null and absent are None. Raises ValueError for anything else."""
    if not value:
        return None
    if value[0] != _BOOL_TAG:
        _refuse(value, "a truth value")
    return _read_varint(value, 1)[0] != 0


DECODERS: Final[dict[type, Callable[[bytes | None], Any]]] = {
    bool: decoded_bool,
    int: decoded_int,
    float: decoded_float,
    str: decoded_str,
}
"""Type of a feature → what reads it."""


def _refuse(value: bytes, right: str) -> None:
    message = f"feature: {value[:16].hex()} is no Feast value of {right}"
    raise ValueError(message)


def _read_varint(data: bytes, start: int) -> tuple[int, int]:
    number = shift = 0
    for place in range(start, len(data)):
        byte = data[place]
        number |= (byte & 0x7F) << shift
        if byte < _MORE:
            return number, place + 1
        shift += 7
    message = f"feature: {data[:16].hex()} ends inside a number"
    raise ValueError(message)


def encoded_timestamp(at_us: int) -> bytes:
    """An instant as a protobuf Timestamp."""
    seconds, micros = divmod(at_us, 1_000_000)
    out = b"" if seconds == 0 else bytes((_SECONDS_TAG,)) + _varint(seconds & 0xFFFFFFFFFFFFFFFF)
    return out if micros == 0 else out + bytes((_NANOS_TAG,)) + _varint(micros * 1000)


@lru_cache(maxsize=4096)  # the entities of one minute share it
def decoded_timestamp(value: bytes) -> int:
    """The instant, µs UTC. Raises ValueError if it is none."""
    seconds = nanos = place = 0
    while place < len(value):
        tag = value[place]
        number, place = _read_varint(value, place + 1)
        if tag == _SECONDS_TAG:
            seconds = number if number < _BEYOND else number - (_BEYOND << 1)
        elif tag == _NANOS_TAG:
            nanos = number
        else:
            _refuse(value, "a timestamp")
    return seconds * 1_000_000 + nanos // 1000
