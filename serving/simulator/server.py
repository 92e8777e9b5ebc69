"""HTTP/1.1 down to the socket: only so can a server close in mid-body, stop talking, or refuse to listen."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import cast

import httptools
import msgspec

_REASONS = {
    200: b"OK", 400: b"Bad Request", 401: b"Unauthorized", 404: b"Not Found", 405: b"Method Not Allowed",
    429: b"Too Many Requests", 500: b"Internal Server Error", 502: b"Bad Gateway", 503: b"Service Unavailable",
}  # fmt: skip


class Request(msgspec.Struct, frozen=True):
    """One request, whole."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Header = tuple[str, str]
Handler = Callable[[Request, "Reply"], Awaitable[None]]


class Reply:
    """The way back to the caller: whole, in pieces, or broken off."""

    def __init__(self, connection: "_Connection") -> None:
        self._connection = connection
        self._begun = self._chunked = self.over = False

    def send(self, status: int, body: bytes, *, headers: Sequence[Header] = ()) -> None:
        """A whole answer."""
        self.begin(status, (*headers, ("content-length", str(len(body)))))
        self._connection.write(body)
        self.over = True

    def begin(self, status: int, headers: Sequence[Header]) -> None:
        """Status and headers; the body is chunked unless they state its length."""
        assert not self._begun  # noqa: S101 - one head an answer
        self._begun = True
        self._chunked = all(name != "content-length" for name, _ in headers)
        lines = [b"HTTP/1.1 %d %s" % (status, _REASONS.get(status, b"Status"))]
        lines += [f"{name}: {value}".encode("latin-1") for name, value in headers]
        if self._chunked:
            lines.append(b"transfer-encoding: chunked")
        self._connection.write(b"\r\n".join(lines) + b"\r\n\r\n")

    async def piece(self, data: bytes) -> None:
        """A piece of the body; waits while the caller does not read."""
        self._connection.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)
        await self._connection.writable.wait()

    def end(self) -> None:
        """The body is complete."""
        if self._chunked:
            self._connection.write(b"0\r\n\r\n")
        self.over = True

    def close(self) -> None:
        """The connection ends here, whatever is missing."""
        self.over = True
        self._connection.close()


class Listener:
    """One port and its connections; it can stop to listen and start again on the same port."""

    def __init__(self, handler: Handler, port: int) -> None:
        self._handler = handler
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self.port = port

    @property
    def listening(self) -> bool:
        """Whether it takes connections."""
        return self._server is not None

    async def open(self) -> None:
        """Listening; the port is known from here on."""
        if self._server is None:
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(
                lambda: _Connection(self._handler, self._connections), "127.0.0.1", self.port, backlog=4096
            )
            self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        """Refusing; requests under way go on, idle connections end."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in tuple(self._connections):
            if connection.idle:
                connection.close()


class _Connection(asyncio.Protocol):
    """One caller: its requests are answered one after the other, and dropped when it leaves."""

    def __init__(self, handler: Handler, register: "set[_Connection]") -> None:
        self._handler = handler
        self._register = register
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None
        self._waiting: deque[Request] = deque()
        self._path, self._headers, self._body = b"", dict[str, str](), bytearray()
        self.writable = asyncio.Event()
        self.writable.set()

    @property
    def idle(self) -> bool:
        """Whether no request is under way."""
        return self._task is None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no asyncio.Transport, though they do the same.
        self._transport = cast("asyncio.Transport", transport)
        self._register.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc  # the caller left; how does not matter
        self._transport = None
        self._register.discard(self)
        self.writable.set()
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.close()

    def on_url(self, url: bytes) -> None:
        self._path += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")
        if name.lower() == b"expect":
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        method = self._parser.get_method().decode("ascii")
        self._waiting.append(Request(method, self._path.decode("latin-1"), self._headers, bytes(self._body)))
        self._path, self._headers, self._body = b"", {}, bytearray()
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._answer())

    def write(self, data: bytes) -> None:
        """To the caller, if it is still there."""
        if self._transport is not None:
            self._transport.write(data)

    def close(self) -> None:
        """What is written is flushed, then the connection ends."""
        if self._transport is not None:
            self._transport.close()

    async def _answer(self) -> None:
        answered = False
        try:
            while self._waiting:
                reply = Reply(self)
                await self._handler(self._waiting.popleft(), reply)
                assert reply.over  # noqa: S101 - every request is answered, or its connection closed
            answered = True
        finally:
            self._task = None
            if not answered:
                self.close()  # a caller must not wait for what failed here
