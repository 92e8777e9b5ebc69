"""A stream of server-sent events, cut at their ends whatever the network cut, and what the gateway must know of it.

Pure: bytes in, bytes out. Most of a stream is only searched for a few names, never decoded; a name that is searched
for cannot stand in a text, where its quotes would be escaped.
"""

import re
from typing import Final

import msgspec

from serving.gateway.replies import Chunk, Facts, Members, chunk_of

_DONE: Final = b"data: [DONE]"
_NULL_USAGE: Final = b',"usage":null'
_NO_USAGE_AT_END: Final = (b',"usage":null}\n', b"}\n")
_EMPTY_LINES: Final = (b"\n\n", b"\n\r\n")
_empty_lines: Final = re.compile(rb"\n\r?\n").finditer
MAX_TIMES: Final = 64

_members: Final = msgspec.json.Decoder(Members)
_encode: Final = msgspec.json.Encoder().encode


class Stream:
    """One reply's events as they pass."""

    __slots__ = ("_rest", "_usage_wanted", "chunks", "done", "facts", "times_us")

    def __init__(self, *, usage_wanted: bool) -> None:
        self._rest = b""
        self._usage_wanted = usage_wanted
        self.facts = Facts()
        self.chunks = 0
        """Chunks with content."""
        self.times_us: list[int] = []
        """When the first of them came."""
        self.done = False
        """Whether the stream said that it is over."""

    @property
    def held_bytes(self) -> int:
        """The size of the event that is not complete yet."""
        return len(self._rest)

    def feed(self, data: bytes, now_us: int) -> bytes:
        """The events that are complete now, as the caller shall see them."""
        if self._rest:
            data, self._rest = self._rest + data, b""
        if data[-2:] == b"\n\n":
            return self._pass(data, now_us)
        end = max((data.rfind(line) + len(line) for line in _EMPTY_LINES if line in data), default=0)
        self._rest = data[end:]
        return self._pass(data[:end], now_us) if end else b""

    def close(self, now_us: int) -> bytes:
        """What a stream that ended well left without an empty line at its end."""
        rest, self._rest = self._rest, b""
        return self._pass(rest, now_us) if rest.strip() else b""

    def _pass(self, block: bytes, now_us: int) -> bytes:
        if b"[DONE]" in block and (_DONE in block or b"data:[DONE]" in block):
            self.done = True
        shown = self._unchanged(block)
        if shown is None:
            return b"".join([self._event(event, now_us) for event in events(block)])
        chunks = block.count(b'"delta"') - block.count(b'"delta":{}')
        if chunks == 1 and len(self.times_us) < MAX_TIMES:
            self.chunks += 1
            self.times_us.append(now_us)
        else:
            self._saw(chunks, now_us)
        return shown

    def _unchanged(self, block: bytes) -> bytes | None:
        """The block as the caller shall see it, where no event of it need be looked at.

        Nothing in it but content then: no first chunk, no usage, no finish, no error.
        """
        if self.facts.id is None or b'"error"' in block:
            return None
        finishes = block.count(b'"finish_reason"')
        if finishes and finishes != block.count(b'"finish_reason":null'):
            return None
        usages = block.count(b'"usage"')
        if not usages:
            return block
        if usages != block.count(_NULL_USAGE):
            return None
        if self._usage_wanted:
            return block
        stripped = block.replace(*_NO_USAGE_AT_END)
        return stripped if len(block) - len(stripped) == usages * len(_NULL_USAGE) else None

    def _saw(self, chunks: int, now_us: int) -> None:
        if chunks > 0:
            self.chunks += chunks
            if (room := MAX_TIMES - len(self.times_us)) > 0:
                self.times_us.extend([now_us] * min(chunks, room))

    def _event(self, event: bytes, now_us: int) -> bytes:
        """One event, looked at."""
        data = data_of(event)
        chunk = chunk_of(data) if data and data != b"[DONE]" else None
        if chunk is None:
            return event
        self.facts.take(chunk)
        if chunk.has_content():
            self._saw(1, now_us)
        if self._usage_wanted or chunk.usage is msgspec.UNSET:
            return event
        if chunk.is_usage_only():
            return b""
        return _without_usage(data)


def events(block: bytes) -> list[bytes]:
    """A block of complete events, one by one, each with its empty line."""
    if b"\r" not in block:
        parts = block.split(b"\n\n")
        return [part + b"\n\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])
    # A proxy may end its own lines otherwise than the upstream ends its.
    ends = [found.end() for found in _empty_lines(block)]
    parts = [block[start:end] for start, end in zip([0, *ends], [*ends, len(block)], strict=True)]
    return parts if parts[-1] else parts[:-1]


def data_of(event: bytes) -> bytes:
    """The event's data; lines of it are joined."""
    lines = [line[5:].removeprefix(b" ") for line in event.splitlines() if line.startswith(b"data:")]
    return lines[0] if len(lines) == 1 else b"\n".join(lines)


def _without_usage(data: bytes) -> bytes:
    """The event again, all but its usage as it was."""
    members = _members.decode(data)
    members.pop("usage", None)
    return b"data: " + _encode(members) + b"\n\n"


__all__ = ["Chunk", "Stream", "data_of", "events"]
