"""What goes back to the caller: one reply or one stream, with the headers every answer has."""

from typing import Final

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
_CLOSE: Final[Headers] = ((b"connection", b"close"),)
_HEARTBEAT: Final = b": heartbeat\n\n"
_LATE: Final = 408


class Answer:
    """The answer to one request."""

    __slots__ = ("_incoming", "_send", "headers", "status")

    def __init__(self, incoming: Incoming) -> None:
        self._incoming = incoming
        self._send = incoming.send
        self.headers: list[tuple[bytes, bytes]] = [(b"x-request-id", incoming.request_id.encode())]
        """What every answer to this request says."""
        self.status = 0
        """0 until something was sent."""

    async def whole(self, status: int, body: bytes, *, headers: Headers = (JSON,)) -> None:
        """A reply in one piece."""
        self.status = status
        length = (b"content-length", b"%d" % len(body))
        self._incoming.peer.hold_head = bool(body) and self._incoming.method != "HEAD"
        await self._send(
            {"type": "http.response.start", "status": status, "headers": [*self.headers, *headers, length]}
        )
        await self._send({"type": "http.response.body", "body": body})

    async def refuse(self, refusal: Refusal) -> None:
        """An error object."""
        closing = _CLOSE if refusal.http_status == _LATE else ()
        metrics.refusals(refusal.http_status).inc()
        await self.whole(refusal.http_status, body_of(refusal), headers=(JSON, *refusal.headers, *closing))

    async def begin(self, headers: Headers = ()) -> None:
        """A stream begins."""
        self.status = 200
        await self._send(
            {"type": "http.response.start", "status": 200, "headers": [*self.headers, *_STREAM_HEADERS, *headers]}
        )

    async def part(self, data: bytes) -> None:
        """Events; waits while the client does not read."""
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def heartbeat(self) -> None:
        """A comment that clients skip."""
        await self.part(_HEARTBEAT)

    async def end(self, refusal: Refusal | None = None) -> None:
        """The stream ends, in an error object where it broke."""
        last = event_of(refusal) if refusal is not None else b""
        await self._send({"type": "http.response.body", "body": last})
