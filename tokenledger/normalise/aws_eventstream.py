"""Frames of `application/vnd.amazon.eventstream`: binary, length-prefixed, with two CRC-32 checks.

A frame is total length, header length and their CRC (4 bytes each), headers, payload, and the CRC of everything before
it, all big-endian (docs.aws.amazon.com, event stream encoding).
"""

import base64
import binascii
import struct
from collections.abc import Mapping
from typing import Final
from zlib import crc32

from tokenledger.normalise.reading import BadRecordError, Event
from tokenledger.normalise.streams import event_data, read_stream
from tokenledger.records.reasons import Reason

CONTENT_TYPE: Final = "application/vnd.amazon.eventstream"

_PRELUDE: Final = struct.Struct(">III")
_OVERHEAD: Final = 16
_TEXT: Final = 7
_LENGTHS: Final = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Value type → bytes of its value; types 6 (bytes) and 7 (text) carry a length of two bytes."""


def is_eventstream(headers: Mapping[str, str]) -> bool:
    """Whether the reply's `content-type` says so."""
    return CONTENT_TYPE in headers.get("content-type", "") or CONTENT_TYPE in headers.get(
        "x-amzn-bedrock-content-type", ""
    )


def read_recorded(text: str) -> list[Event]:
    """Events of a recorded event stream: its frames as base64, or what a recorder decoded them to."""
    stripped = text.strip()
    if stripped.startswith(("{", "[", "data:", "event:", ":")):
        return read_stream(text)
    try:
        frames = base64.b64decode(stripped, validate=True)
    except (binascii.Error, ValueError):
        raise _broken("not base64; the frames of the event stream in base64 would be right") from None
    return read_frames(frames)


def read_frames(data: bytes) -> list[Event]:
    """Events of the frames; a last frame that was cut short is left out. Raises BadRecordError for a damaged one."""
    events = []
    at = 0
    while len(data) - at >= _OVERHEAD:
        total, headers_length, prelude_crc = _PRELUDE.unpack_from(data, at)
        if crc32(data[at : at + 8]) != prelude_crc:
            raise _broken(f"the prelude at byte {at} does not match its checksum")
        if total < _OVERHEAD + headers_length:
            raise _broken(f"the frame at byte {at} says {total} bytes with {headers_length} of headers")
        if at + total > len(data):
            break
        end = at + total - 4
        if crc32(data[at:end]) != int.from_bytes(data[end : end + 4], "big"):
            raise _broken(f"the frame at byte {at} does not match its checksum")
        start = at + 12 + headers_length
        events.append(_event(_headers(data[at + 12 : start]), data[start:end]))
        at += total
    if not events:
        raise _broken("no whole frame in it")
    return events


def _event(headers: dict[str, str], payload: bytes) -> Event:
    data = event_data(payload.decode(errors="replace"))
    kind = headers.get(":message-type", "event")
    if kind == "event":
        return Event(headers.get(":event-type"), data)
    name = headers.get(":exception-type") or headers.get(":error-code") or kind
    return Event(name, {"error": {"type": name}})


def _headers(block: bytes) -> dict[str, str]:
    """Text headers by name; those of other types are passed over."""
    found: dict[str, str] = {}
    at = 0
    while at < len(block):
        name_end = at + 1 + block[at]
        if name_end >= len(block):
            raise _broken("a header's name runs past the headers")
        name, kind = block[at + 1 : name_end].decode(errors="replace"), block[name_end]
        at = name_end + 1
        if kind in _LENGTHS:
            at += _LENGTHS[kind]
            continue
        length = int.from_bytes(block[at : at + 2], "big")
        at += 2
        if kind == _TEXT:
            found[name] = block[at : at + length].decode(errors="replace")
        at += length
    return found


def _broken(what: str) -> BadRecordError:
    return BadRecordError(Reason.INVALID_STREAM, "stream_text", what)
