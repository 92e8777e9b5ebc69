"""Which format a file has, by its content alone."""

import re
from enum import Enum, auto
from typing import IO, Final

import msgspec

from tokenledger.readers.found import UnreadableError
from tokenledger.readers.objects import is_stream_chunk

_HEAD_BYTES: Final = 1 << 16
_BOM: Final = b"\xef\xbb\xbf"
_SSE: Final = re.compile(rb"\A(?:data|event|id|retry|):", re.ASCII)
_CASSETTE: Final = re.compile(rb"^[\"']?(?:http_)?interactions[\"']?:", re.MULTILINE)
_decode: Final = msgspec.json.Decoder(msgspec.Raw).decode


class Format(Enum):
    """How a file is divided into records."""

    DOCUMENT = auto()
    """One JSON value."""
    LINES = auto()
    """A JSON value a line."""
    CHUNKS = auto()
    """A chunk of a stream a line."""
    SSE = auto()
    """Server-sent events."""
    CASSETTE = auto()
    """A VCR cassette in YAML."""


def sniff(content: IO[bytes]) -> Format:
    """The format of the content. Raises UnreadableError where no record can be told from another."""
    head = content.read(_HEAD_BYTES).removeprefix(_BOM).lstrip()
    if not head:
        raise UnreadableError("empty", "the file has no content")
    if head[:1] in b"{[":
        return _json(content)
    if _SSE.match(head):
        return Format.SSE
    if _CASSETTE.search(head):
        return Format.CASSETTE
    if any(_is_json(line) for line in head.splitlines() if line.lstrip()[:1] == b"{"):
        return Format.LINES  # a log whose first lines are damaged, or no records
    raise UnreadableError(
        "unknown_format", f"begins with {_kind(head)}; JSON, JSONL, SSE, a VCR cassette or gzip of one"
    )


def _json(content: IO[bytes]) -> Format:
    """JSONL if the first line is a value of its own, or any of the next is; else one document."""
    content.seek(0)
    lines = [line for line in (content.readline() for _ in range(_LOOK_AHEAD)) if line.strip()]
    first = lines[0].strip().removeprefix(_BOM)
    if _is_json(first):
        return _lines_or_chunks(first, more=len(lines) > 1)
    content.seek(0)
    whole = content.read().removeprefix(_BOM)
    if _is_json(whole):
        return Format.DOCUMENT
    if any(line[:1] == b"{" and _is_json(line) for line in lines[1:]):
        return Format.LINES
    if len(whole.strip().splitlines()) == 1 or first.endswith((b"}", b"]")):
        return Format.LINES  # a line that was cut, or damaged: `process` says how
    raise UnreadableError("invalid_json", _why(whole))


_LOOK_AHEAD: Final = 16


def _lines_or_chunks(first: bytes, *, more: bool) -> Format:
    return Format.CHUNKS if more and first[:1] == b"{" and is_stream_chunk(first) else Format.LINES


def _is_json(value: bytes) -> bool:
    return not _why(value)


def _why(value: bytes) -> str:
    try:
        _decode(value)
    except UnicodeDecodeError as error:
        return f"byte {error.start}: {error.reason}"
    except (msgspec.DecodeError, RecursionError) as error:
        return str(error)
    return ""


def _kind(head: bytes) -> str:
    """A word for the first bytes that repeats nothing of them."""
    return "bytes that are no text" if b"\x00" in head[:512] else "text that is none of the known formats"
