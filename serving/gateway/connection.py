"""One connection to an upstream, one exchange on it at a time: bytes out, status, headers and body in.

Replies may be framed by length, by chunks or by the connection's end.
"""

import asyncio
from collections.abc import Callable
from typing import Final, cast

import httptools

from serving.gateway.deadlines import Deadlines, now_s
from serving.gateway.exchange import Exchange, Patience, UpstreamError

__all__ = ["Connection", "Exchange", "Patience", "UpstreamError"]

_LARGEST_HEAD_BYTES: Final = 65_536
_FIRST_FINAL_STATUS: Final = 200
_SWITCHING: Final = 101
_KEPT_HEADERS: Final = frozenset(
    {b"content-type", b"retry-after", b"retry-after-ms", b"openai-processing-ms", b"openai-version", b"x-should-retry"}
)
"""Reply headers that matter to the caller; no others are passed on."""


class Connection(asyncio.Protocol):
    """A connection to one replica."""

    __slots__ = (
        "_body",
        "_complete",
        "_framed",
        "_head_bytes",
        "_keep",
        "_on_free",
        "_parser",
        "_transport",
        "exchange",
        "idle_since_s",
        "lost",
        "paused",
        "served",
    )

    def __init__(self, on_free: Callable[["Connection"], None]) -> None:
        self._on_free = on_free
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._body: list[bytes] = []
        self._complete = False
        self._framed = False
        self._keep = False
        self._head_bytes = 0
        self.exchange: Exchange | None = None
        self.idle_since_s = 0.0
        self.lost = False
        self.paused = False
        self.served = 0
        """Exchanges it has carried; a connection that carried one may be closed by its server at any time."""

    def send(self, data: list[bytes], *, patience: Patience, deadlines: Deadlines) -> Exchange:
        """Send a request; nothing else may be under way."""
        assert self.exchange is None, "one exchange at a time"  # noqa: S101  (our own mistake, not the world's)
        exchange = self.exchange = Exchange(self, patience=patience, deadlines=deadlines)
        self._complete = self._framed = self._keep = False
        self._head_bytes = 0
        if self.lost or self._transport is None:
            exchange.fail("upstream_closed_unanswered")
        else:
            self._transport.write(b"".join(data))
        return exchange

    def pause(self) -> None:
        """Read no more for now."""
        if not self.paused and self._transport is not None:
            self.paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self.paused:
            self.paused = False
            if self._transport is not None and not self._transport.is_closing():
                self._transport.resume_reading()

    def abort(self) -> None:
        """Close at once, whatever is under way."""
        self.lost = True
        if self._transport is not None:
            self._transport.abort()
        self._free()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        # uvloop's transports are no asyncio.Transport, though they do the same.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Part of a reply."""
        exchange = self.exchange
        if exchange is None or exchange.ended:
            self.abort()  # nobody asked
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            exchange.answered = True
            exchange.fail("upstream_invalid_reply")
            return
        if not exchange.has_head:
            self._head_bytes += len(data)
            if self._head_bytes > _LARGEST_HEAD_BYTES:
                exchange.fail("upstream_invalid_reply")
                return
        body = self._body
        if body:
            self._body = []
        exchange.came(body)
        if self._complete:
            self._done(exchange)

    def eof_received(self) -> bool:
        """The server says no more: close."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """It is closed, by whomever."""
        self.lost = True
        exchange = self.exchange
        if exchange is not None and not exchange.ended:
            if exchange.has_head and not self._framed and exc is None:
                exchange.finished()  # the end of the connection is the end of the reply
            else:
                exchange.fail("upstream_closed" if exchange.answered else "upstream_closed_unanswered")
        self._free()

    # httptools

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header of the reply."""
        assert self.exchange is not None  # noqa: S101  (data is fed only while there is one)
        name = name.lower()
        if name in _KEPT_HEADERS:
            self.exchange.headers.append((name, value))
        elif name in {b"content-length", b"transfer-encoding"}:
            self._framed = True
        elif name == b"content-encoding" and value.lower() != b"identity":
            raise ValueError(f"upstream sent content-encoding {value!r} unasked")

    def on_headers_complete(self) -> None:
        """Status and headers are there."""
        assert self.exchange is not None  # noqa: S101  (as above)
        status = self._parser.get_status_code()
        if status == _SWITCHING:
            raise ValueError("upstream switched protocols unasked")
        if status < _FIRST_FINAL_STATUS:
            self.exchange.headers.clear()
            return
        self.exchange.status = status
        self.exchange.has_head = True

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """The reply, or a provisional one, is complete."""
        assert self.exchange is not None  # noqa: S101  (as above)
        if self.exchange.has_head:
            self._complete = True
            self._keep = self._parser.should_keep_alive()

    def _done(self, exchange: Exchange) -> None:
        transport = self._transport
        exchange.finished()
        # A reply that came before the request was all sent leaves the rest of it in the way of the next.
        if not self._keep or self.lost or transport is None or transport.get_write_buffer_size() > 0:
            self.abort()
            return
        self.resume()
        self._free()

    def _free(self) -> None:
        if self.exchange is not None:
            self.exchange = None
            self.served += 1
            self.idle_since_s = now_s()
            self._on_free(self)
