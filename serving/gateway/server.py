"""HTTP/1.1 on one client connection: requests in, within bounds on heads, bodies, time and silence; answers out.

uvicorn listens and ends; the protocol is our own, since uvicorn's makes scopes, events and regular expressions of each
request, which cost more than the request. A request is handed over when it is all there, one at a time a connection.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any, Final, cast
from urllib.parse import unquote

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.server import ServerState

from serving.gateway.configuration import MILLIS_PER_SECOND, Limits
from serving.gateway.deadlines import NEVER, Alarm, Deadlines, now_s
from serving.gateway.errors import body_of, refused
from serving.gateway.ids import new_id
from serving.gateway.incoming import Incoming, is_too_large, too_large
from serving.gateway.records import Refusal

Handler = Callable[[Incoming], Awaitable[None]]

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


def protocol_of(limits: Callable[[], Limits], deadlines: Deadlines) -> Callable[..., "Protocol"]:
    """What uvicorn makes for each connection; limits are those of the moment it opens."""

    def made(config: Config, server_state: ServerState, *, app_state: Any, _loop: Any = None) -> "Protocol":
        del app_state, _loop
        return Protocol(config.app, server_state, limits=limits(), deadlines=deadlines)  # type: ignore[arg-type]  # ours

    return made


class Protocol(asyncio.Protocol):
    """One client connection."""

    __slots__ = (
        "_answer",
        "_deadlines",
        "_handed_over",
        "_head_bytes",
        "_headers",
        "_in_head",
        "_incoming",
        "_limits",
        "_parser",
        "_parts",
        "_receiving",
        "_size",
        "_stalled",
        "_state",
        "_task",
        "_transport",
        "_url",
        "_waiting",
        "due_s",
        "gone",
        "paused",
        "when_gone",
        "when_writable",
    )

    def __init__(self, answer: Handler, state: ServerState, *, limits: Limits, deadlines: Deadlines) -> None:
        self._answer = answer
        self._state = state
        self._limits = limits
        self._deadlines = deadlines
        self._parser = httptools.HttpRequestParser(self)
        # A client may say "connection: close" and send on: what follows is not read as an error of what came before.
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._transport: asyncio.Transport
        self._task: asyncio.Task[None] | None = None
        self._waiting: deque[Incoming] = deque()
        self._incoming: Incoming | None = None
        self._receiving = False
        self._in_head = False
        self._handed_over = False
        self._head_bytes = 0
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._parts: list[bytes] = []
        self._size = 0
        self._stalled: Alarm | None = None
        self.due_s = NEVER
        self.gone = False
        self.paused = False
        self.when_gone: Callable[[], None] | None = None
        self.when_writable: Callable[[], None] | None = None

    # The connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """One more client, unless there are too many."""
        # uvloop's transports are no asyncio.Transport, though they do the same.
        self._transport = cast("asyncio.Transport", transport)
        self._state.connections.add(self)  # type: ignore[arg-type]  # all that uvicorn asks of it is `shutdown`
        if len(self._state.connections) > self._limits.connections:
            self._transport.abort()
        else:
            self._wait(self._limits.idle_ms)
            self._deadlines.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        del exc
        self._state.connections.discard(self)
        self._deadlines.discard(self)
        self.gone = True
        self._waiting.clear()
        self.resume_writing()
        if self.when_gone is not None:
            self.when_gone()

    def data_received(self, data: bytes) -> None:
        """Part of a request, mostly all of it."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # answered as what it is otherwise
        except httptools.HttpParserError:
            self._refuse(400, "Invalid HTTP request received.")
            return
        if self._receiving:
            if self._in_head:
                self._head_bytes += len(data)
                if self._head_bytes > self._limits.head_bytes:
                    self._refuse(431, f"request line and headers have more than {self._limits.head_bytes} bytes")
                    return
            if self.due_s == NEVER:
                self._wait(self._limits.request_ms)

    def eof_received(self) -> bool:
        """It sends no more: the connection is over."""
        return False

    def pause_writing(self) -> None:
        """The client does not read."""
        self.paused = True
        if self._stalled is None:
            self._stalled = Alarm(self._limits.stalled_ms / MILLIS_PER_SECOND, self._transport.abort)
            self._deadlines.add(self._stalled)

    def resume_writing(self) -> None:
        """It reads again."""
        self.paused = False
        if self._stalled is not None:
            self._deadlines.discard(self._stalled)
            self._stalled = None
        if self.when_writable is not None:
            then, self.when_writable = self.when_writable, None
            then()

    def shutdown(self) -> None:
        """The process ends: the request under way is the last."""
        self._waiting.clear()
        if self._task is None:
            self._transport.close()
        elif self._incoming is not None:
            self._incoming.keep = False

    def expire(self) -> None:
        """A request that takes too long to arrive, or a silence between two."""
        self.due_s = NEVER
        if not self._receiving:
            self._transport.close()
        elif self._in_head:
            self._refuse(408, f"the request's head did not arrive within {self._limits.request_ms} ms")
        elif not self._handed_over:
            self._refuse(408, f"the request's body did not arrive within {self._limits.request_ms} ms", code="timeout")
        else:
            self._transport.abort()  # refused already, and the rest of it does not end

    def _wait(self, within_ms: int) -> None:
        self.due_s = now_s() + within_ms / MILLIS_PER_SECOND

    # httptools

    def on_message_begin(self) -> None:
        """A request begins."""
        self._receiving = self._in_head = True
        self._handed_over = False
        self._head_bytes = self._size = 0
        self._url = b""
        self._headers = {}
        self._parts = []
        self.due_s = NEVER

    def on_url(self, url: bytes) -> None:
        """Part of its target, mostly all of it."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """Its head is there; what it announces may be too much."""
        self._in_head = False
        headers = self._headers
        if b"content-length" in headers and is_too_large(headers, self._limits):
            self._hand_over(too_large(self._limits))
        elif b"expect" in headers and headers[b"expect"].lower() == b"100-continue" and self._task is None:
            self.write(_CONTINUE)

    def on_body(self, body: bytes) -> None:
        """Part of its body."""
        if self._handed_over:
            return
        self._size += len(body)
        self._parts.append(body)
        if self._size > self._limits.body_bytes:
            self._parts = []
            self._hand_over(too_large(self._limits))

    def on_message_complete(self) -> None:
        """It is all there."""
        self._receiving = False
        self.due_s = NEVER
        if not self._handed_over:
            self._hand_over(None)
        elif self._task is None:  # refused before it was all there, and that answer is long sent
            self._wait(self._limits.idle_ms)

    # One request at a time

    def _hand_over(self, refusal: Refusal | None) -> None:
        self._handed_over = True
        parser, parts = self._parser, self._parts
        incoming = Incoming(self, method=parser.get_method().decode(), path=_path(self._url), headers=self._headers)
        incoming.body = parts[0] if len(parts) == 1 else b"".join(parts)
        incoming.refusal = refusal
        incoming.chunks = parser.get_http_version() != "1.0"
        incoming.keep = incoming.chunks and parser.should_keep_alive() and not parser.should_upgrade()
        if self._task is None:
            self._begin(incoming)
        else:
            self._waiting.append(incoming)
            self._transport.pause_reading()

    def _begin(self, incoming: Incoming) -> None:
        self._incoming = incoming
        self._task = asyncio.get_running_loop().create_task(self._run(incoming))
        self._state.tasks.add(self._task)

    async def _run(self, incoming: Incoming) -> None:
        try:
            await self._answer(incoming)
        finally:
            if self._task is not None:
                self._state.tasks.discard(self._task)
            self._task = self._incoming = None
            self._next(incoming)

    def _next(self, before: Incoming) -> None:
        if self.gone:
            return
        if not before.ended or not before.keep:
            self._transport.close()
            return
        if self._waiting:
            self._begin(self._waiting.popleft())
            if not self._waiting:
                self._transport.resume_reading()
        elif not self._receiving:
            self._wait(self._limits.idle_ms)

    # What answers write

    @property
    def address(self) -> str | None:
        """The client's host."""
        name = self._transport.get_extra_info("peername")
        return name[0] if name else None

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """The date, which uvicorn renews every second."""
        return self._state.default_headers

    def write(self, data: bytes) -> None:
        """Send it, unless nobody is there."""
        if not self.gone:
            self._transport.write(data)

    async def writable(self) -> None:
        """Returns when the client reads again, or has gone."""
        if self.paused and not self.gone:
            waiter = asyncio.get_running_loop().create_future()
            self.when_writable = lambda: None if waiter.done() else waiter.set_result(None)
            await waiter

    def _refuse(self, status: int, message: str, *, code: str | None = None) -> None:
        """Answer without the application, and close."""
        if self._task is not None:
            self._transport.abort()
            return
        body = body_of(refused(status, message, code=code))
        head = b"content-type: application/json\r\nconnection: close\r\nx-request-id: %s\r\ncontent-length: %d\r\n\r\n"
        self.write(STATUS_LINE[status] + head % (new_id().encode(), len(body)) + body)
        self._transport.close()


@lru_cache(maxsize=64)
def _path(url: bytes) -> str:
    """The path of a request's target. Raises for what is none, and the parser makes a bad request of it."""
    path = httptools.parse_url(url).path.decode("ascii")
    return unquote(path) if "%" in path else path
