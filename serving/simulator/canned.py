"""The cheapest upstream there can be: fixed bytes for every request. What is left of a measurement is the gateway."""

import asyncio
import re
from typing import cast

from serving.simulator import wire
from serving.simulator.wire import Counts, Head

CHUNKS = 32
GAP_S = 0.002
MODEL = "gpt-4o-mini"

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_STREAM = re.compile(rb'"stream" *: *true')


def whole() -> bytes:
    """A whole answer of about 0.6 kB, head and body."""
    head = Head(id="chatcmpl-canned0000000000000000000000", created_s=1_760_000_000, model=MODEL)
    text = "A canned answer, always the same, about as long as a short answer is."
    choice = wire.choice(0, text, finish_reason="stop", tool_calls=[])
    body = wire.encode(wire.completion(head, [choice], usage_object=wire.usage(_COUNTS)))
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


def stream() -> list[bytes]:
    """Head and first chunk, the other chunks, and the end with usage: as they are written, chunked."""
    head = Head(id="chatcmpl-canned0000000000000000000000", created_s=1_760_000_000, model=MODEL)
    events = [
        wire.chunk(head, 0, delta={"content": f"word{number} "}, finish_reason=None, usage_asked=True)
        for number in range(CHUNKS)
    ]
    last = wire.chunk(head, 0, delta={}, finish_reason="stop", usage_asked=True)
    last += wire.usage_chunk(head, wire.usage(_COUNTS)) + wire.DONE
    start = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    return [start + _chunked(events[0]), *map(_chunked, events[1:]), _chunked(last) + b"0\r\n\r\n"]


_COUNTS = Counts(prompt_tokens=64, completion_tokens=32)


def _chunked(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Canned(asyncio.Protocol):
    """One connection. Requests must state their length, as every SDK's do."""

    WHOLE = whole()
    STREAM = tuple(stream())

    def __init__(self) -> None:
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A caller."""
        # uvloop's transports are no asyncio.Transport, though they do the same.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """It left."""
        del exc  # nothing to clean up
        self._transport = None

    def data_received(self, data: bytes) -> None:
        """Every whole request is answered at once."""
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            found = _LENGTH.search(self._received, 0, end)
            total = end + 4 + (int(found.group(1)) if found else 0)
            if len(self._received) < total:
                return
            request, self._received = self._received[:total], self._received[total:]
            if _STREAM.search(request, end):
                self._piece(0)
            elif self._transport is not None:
                self._transport.write(self.WHOLE)

    def _piece(self, number: int) -> None:
        if self._transport is None:
            return
        self._transport.write(self.STREAM[number])
        if number + 1 < len(self.STREAM):
            asyncio.get_running_loop().call_later(GAP_S, self._piece, number + 1)
