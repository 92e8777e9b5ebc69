"""Raw transcripts, as `curl` leaves them: SSE text and NDJSON chunks, one record a call, cut where a reply ends."""

import re
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from tokenledger.readers.found import Found, Origin, Place

_decode: Final = msgspec.json.decode
_BLANK_LINE: Final = re.compile(r"\r?\n\r?\n")
_ENDS: Final = re.compile(
    r"^data:\s*(\[DONE\]|\{.*\"type\"\s*:\s*\"(message_stop|response\.(completed|incomplete|failed))\")", re.MULTILINE
)
_BEGINS: Final = re.compile(r"^data:\s*\{\s*\"type\"\s*:\s*\"(message_start|response\.created)\"", re.MULTILINE)


def sse(content: bytes, origin: Origin) -> Iterator[Found]:
    """The calls of a file of server-sent events."""
    for ordinal, transcript in enumerate(_cut(content.decode(errors="replace")), 1):
        yield origin.at(ordinal).found(origin.stream(transcript), {})


def _cut(text: str) -> Iterator[str]:
    """Transcripts, cut after an event that ends a reply and before one that begins the next."""
    blocks: list[str] = []
    for block in _BLANK_LINE.split(text):
        if not block.strip():
            continue
        if blocks and _BEGINS.search(block):
            yield "\n\n".join(blocks)
            blocks = []
        if block.strip() == "data: [DONE]" and not blocks:
            continue  # Responses end with an event of their own, and some servers add this one
        blocks.append(block)
        if _ENDS.search(block):
            yield "\n\n".join(blocks)
            blocks = []
    if blocks:
        yield "\n\n".join(blocks)


def ndjson(lines: Iterable[tuple[int, bytes]], origin: Origin) -> Iterator[Found]:
    """The calls of a file of JSON chunks: a reply ends where a chunk says so, or where the next id begins."""
    kept: list[bytes] = []
    first, of = 1, None
    for number, line in lines:
        done, identity = _place(line)
        if kept and identity is not None and of is not None and identity != of:
            yield _transcript(kept, origin.at(first))
            kept = []
        if not kept:
            first = number
        kept.append(line)
        of = identity
        if done:
            yield _transcript(kept, origin.at(first))
            kept, of = [], None
    if kept:
        yield _transcript(kept, origin.at(first))


def _place(line: bytes) -> tuple[bool, object]:
    """(whether the chunk ends its reply, the id of the reply)."""
    try:
        chunk = _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False, None
    if not isinstance(chunk, dict):
        return False, None
    return bool(chunk.get("done") or chunk.get("is_finished")), chunk.get("id") or chunk.get("responseId")


def _transcript(lines: list[bytes], place: Place) -> Found:
    text = b"\n".join(lines).decode(errors="replace")
    return place.found(place.origin.stream(text), {})
