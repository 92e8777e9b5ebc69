"""What goes back to the caller: one reply or one stream, with the headers every answer has."""

from typing import Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from serving.gateway import metrics
from serving.gateway.errors import JSON, body_of, event_of
from serving.gateway.incoming import Incoming
from serving.gateway.records import Refusal

Headers = tuple[tuple[bytes, bytes], ...]

_STREAM_HEADERS: Final[Headers] = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)
_CLOSE: Final = (b"connection", b"close")
_CHUNKED: Final = (b"transfer-encoding", b"chunked")
_HEARTBEAT: Final = b": heartbeat\n\n"
_LAST_CHUNK: Final = b"0\r\n\r\n"
_LATE: Final = 408


class Answer:
    """The answer to one request."""

    __slots__ = ("_incoming", "headers", "status")

    def __init__(self, incoming: Incoming) -> None:
        self._incoming = incoming
        self.headers: list[tuple[bytes, bytes]] = [(b"x-request-id", incoming.request_id.encode())]
        """What every answer to this request says."""
        self.status = 0
        """0 until something was sent."""

    async def whole(self, status: int, body: bytes, *, headers: Headers = (JSON,)) -> None:
        """A reply in one piece; as the last event where a stream has begun."""
        if self.status:
            await self.end(last=b"data: %b\n\n" % body)
            return
        incoming, peer = self._incoming, self._incoming.peer
        head = self._head(status, (*headers, (b"content-length", b"%d" % len(body))))
        peer.write(head if incoming.method == "HEAD" else head + body)
        incoming.ended = True
        if peer.paused:
            await peer.writable()

    async def refuse(self, refusal: Refusal) -> None:
        """An error object."""
        if refusal.http_status == _LATE:
            self._incoming.keep = False
        metrics.refusals(refusal.http_status).inc()
        await self.whole(refusal.http_status, body_of(refusal), headers=(JSON, *refusal.headers))

    async def begin(self, headers: Headers = ()) -> None:
        """A stream begins, unless it has."""
        if self.status:
            return
        chunks = self._incoming.chunks
        if not chunks:
            self._incoming.keep = False
        self._incoming.peer.write(self._head(200, (*_STREAM_HEADERS, *headers, *((_CHUNKED,) if chunks else ()))))

    def pass_on(self, data: bytes) -> None:
        """Events, at once; whoever writes more looks whether the client reads."""
        self._incoming.peer.write(b"%x\r\n%b\r\n" % (len(data), data) if self._incoming.chunks else data)

    async def part(self, data: bytes) -> None:
        """Events; waits while the client does not read."""
        self.pass_on(data)
        if self._incoming.peer.paused:
            await self._incoming.peer.writable()

    def heartbeat(self) -> None:
        """A comment that clients skip."""
        self.pass_on(_HEARTBEAT)

    async def end(self, refusal: Refusal | None = None, *, last: bytes = b"") -> None:
        """The stream ends with these events, in an error object where it broke."""
        incoming = self._incoming
        if refusal is not None:
            last += event_of(refusal)
        if incoming.chunks:
            last = (b"%x\r\n%b\r\n" % (len(last), last) if last else b"") + _LAST_CHUNK
        incoming.peer.write(last)
        incoming.ended = True

    def _head(self, status: int, more: Headers) -> bytes:
        """Status line and headers. Raises ValueError for one that would begin another."""
        headers = [*self._incoming.peer.default_headers, *self.headers, *more]
        if not self._incoming.keep:
            headers.append(_CLOSE)
        lines = [b": ".join(header) for header in headers]
        head = b"%b%b\r\n\r\n" % (STATUS_LINE[status], b"\r\n".join(lines))
        ends = len(lines) + 2
        if head.count(b"\n") != ends or head.count(b"\r") != ends:
            raise ValueError(f"a header with a line break: {headers!r:.500}")
        self.status = status
        return head
