"""uvicorn's HTTP protocol with what it lacks: bounds on heads, time and silence, and word of a client that has gone.

Nothing is added to the path of a request that comes in one piece.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final, cast

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from serving.gateway.configuration import MILLIS_PER_SECOND, Limits
from serving.gateway.deadlines import Alarm, Deadlines
from serving.gateway.errors import body_of, refused
from serving.gateway.ids import new_id

PEER: Final = "tokenledger.peer"
"""Where a request's scope has its Peer."""


class Peer:
    """The client of one connection."""

    __slots__ = ("gone", "hold_head", "late", "when_gone")

    def __init__(self) -> None:
        self.hold_head = False
        """Whether the next thing written waits for what follows it: one system call for head and body."""
        self.gone = False
        """It has closed the connection."""
        self.late = False
        """It did not send its request in time."""
        self.when_gone: Callable[[], None] | None = None
        """Called once, when it goes."""


class Writer:
    """A client's transport that can hold a head back until its body comes."""

    __slots__ = ("_held", "_peer", "_transport", "get_extra_info", "is_closing")

    def __init__(self, transport: asyncio.Transport, peer: Peer) -> None:
        self._transport = transport
        self._peer = peer
        self._held = b""
        self.get_extra_info = transport.get_extra_info
        self.is_closing = transport.is_closing

    def write(self, data: bytes) -> None:
        """Send it, with what was held."""
        if self._peer.hold_head:
            self._peer.hold_head = False
            self._held = data
        elif self._held:
            held, self._held = self._held, b""
            self._transport.write(held + data)
        else:
            self._transport.write(data)

    def close(self) -> None:
        """Send what was held, then close."""
        if self._held:
            self.write(b"")
        self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()


def protocol_of(limits: Callable[[], Limits], deadlines: Deadlines) -> Callable[..., "Protocol"]:
    """What uvicorn makes for each connection; limits are those of the moment it opens."""

    def made(
        *,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> Protocol:
        protocol = Protocol(config, server_state, app_state, _loop)
        protocol.guard(limits(), deadlines)
        return protocol

    return made


class Protocol(HttpToolsProtocol):
    """One client connection."""

    _limits: Limits
    _deadlines: Deadlines

    def guard(self, limits: Limits, deadlines: Deadlines) -> None:
        """Its bounds. Called once, before anything comes."""
        self._limits = limits
        self._deadlines = deadlines
        self._peer = Peer()
        self._alarm: Alarm | None = None
        self._stalled: Alarm | None = None
        self._receiving = False
        self._in_head = False
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """One more client, unless there are too many."""
        # uvloop's transports are no asyncio.Transport, though they do the same.
        open_one = cast("asyncio.Transport", transport)
        super().connection_made(open_one)
        self.transport = Writer(open_one, self._peer)  # type: ignore[assignment]  # all that uvicorn uses of it
        if len(self.connections) > self._limits.connections:
            open_one.abort()
        else:
            self._arm(self._limits.idle_ms, open_one.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        self._disarm()
        self._end_stall()
        super().connection_lost(exc)
        self._peer.gone = True
        if self._peer.when_gone is not None:
            self._peer.when_gone()

    def data_received(self, data: bytes) -> None:
        """Part of a request, mostly all of it."""
        super().data_received(data)
        if self._receiving:
            if self._in_head:
                self._head_bytes += len(data)
                if self._head_bytes > self._limits.head_bytes:
                    self._refuse(431, f"request line and headers have more than {self._limits.head_bytes} bytes")
                    return
            if self._alarm is None:
                self._arm(self._limits.request_ms, self._late)
        elif self._alarm is not None:
            self._disarm()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self.scope[PEER] = self._peer  # type: ignore[typeddict-unknown-key]  # a key of our own
        self._receiving = self._in_head = True
        self._head_bytes = 0
        self._disarm()

    def on_headers_complete(self) -> None:
        """Its head is there."""
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """It is all there."""
        self._receiving = False
        super().on_message_complete()

    def pause_writing(self) -> None:
        """The client does not read."""
        super().pause_writing()
        if self._stalled is None:
            self._stalled = Alarm(self._limits.stalled_ms / MILLIS_PER_SECOND, self.transport.abort)
            self._deadlines.add(self._stalled)

    def resume_writing(self) -> None:
        """It reads again."""
        super().resume_writing()
        self._end_stall()

    def send_400_response(self, msg: str) -> None:
        """What came is no HTTP."""
        self._refuse(400, msg)

    def _late(self) -> None:
        """A request that takes too long to arrive."""
        self._alarm = None
        if self.cycle is not None and not self._in_head and not self.cycle.response_started:
            self._peer.late = True
            self.cycle.message_event.set()  # whoever waits for the body finds out
        elif self._in_head:
            self._refuse(408, f"the request's head did not arrive within {self._limits.request_ms} ms")
        else:
            self.transport.abort()

    def _refuse(self, status: int, message: str) -> None:
        """Answer without the application, and close."""
        if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
            self.transport.abort()
            return
        body = body_of(refused(status, message))
        head = b"content-type: application/json\r\nconnection: close\r\nx-request-id: %s\r\ncontent-length: %d\r\n\r\n"
        self.transport.write(STATUS_LINE[status] + head % (new_id().encode(), len(body)) + body)
        self.transport.close()

    def _arm(self, after_ms: int, action: Callable[[], None]) -> None:
        self._disarm()
        self._alarm = Alarm(after_ms / MILLIS_PER_SECOND, action)
        self._deadlines.add(self._alarm)

    def _disarm(self) -> None:
        if self._alarm is not None:
            self._deadlines.discard(self._alarm)
            self._alarm = None

    def _end_stall(self) -> None:
        if self._stalled is not None:
            self._deadlines.discard(self._stalled)
            self._stalled = None
