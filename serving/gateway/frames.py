"""How intents and outcomes lie in a file: length, CRC-32, kind and JSON, one frame after another. Pure.

A file may end anywhere, at a frame or in the middle of one: what is whole from its start on is what was written.
"""

from collections.abc import Iterator
from struct import Struct
from typing import Final, NamedTuple
from zlib import crc32

INTENT: Final = b"I"
OUTCOME: Final = b"O"

MAX_FRAME_BYTES: Final = 32 * 1024
"""No frame is longer. An intent's texts are headers and ids, an outcome is bounded by whoever writes it."""

_HEAD: Final = Struct("<II")


class Frame(NamedTuple):
    """One frame that was read, and where the next one begins."""

    kind: bytes
    payload: bytes
    end: int


def framed(kind: bytes, payload: bytes) -> bytes:
    """One frame. Raises ValueError for one that is too long."""
    body = kind + payload
    if len(body) > MAX_FRAME_BYTES - _HEAD.size:
        message = f"outbox: a frame of {len(body)} bytes; at most {MAX_FRAME_BYTES - _HEAD.size} would be right"
        raise ValueError(message)
    return _HEAD.pack(len(body), crc32(body)) + body


def frames(data: bytes, start: int = 0) -> Iterator[Frame]:
    """Whole frames from `start` on, up to the first that is not: unwritten, torn, or cut by the end of `data`."""
    at, end = start, len(data)
    while at + _HEAD.size < end:
        length, checksum = _HEAD.unpack_from(data, at)
        first, after = at + _HEAD.size, at + _HEAD.size + length
        if not 0 < length <= MAX_FRAME_BYTES or after > end:
            return
        body = data[first:after]
        if crc32(body) != checksum:
            return
        yield Frame(body[:1], body[1:], after)
        at = after
