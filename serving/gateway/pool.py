"""Connections to one replica: bounded, kept for reuse, waited for in a bounded line."""

import asyncio
import ssl
from collections import deque
from dataclasses import dataclass

from serving.gateway.connection import Connection, UpstreamError
from serving.gateway.deadlines import Deadlines, now_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How many connections, how many in line, how long for either."""

    connections: int
    waiting: int
    connect_s: float
    keep_alive_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where the replica is."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None


class _InLine:
    """One who waits for a connection."""

    __slots__ = ("due_s", "turn")

    def __init__(self, within_s: float) -> None:
        self.due_s = now_s() + within_s
        self.turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def expire(self) -> None:
        """Waited too long."""
        if not self.turn.done():
            self.turn.set_result(False)


class Pool:
    """All connections to one replica. Every `enter` that returns is followed by one exchange or one `leave`."""

    def __init__(self, address: Address, bounds: Bounds, *, deadlines: Deadlines) -> None:
        self._address = address
        self._bounds = bounds
        self._deadlines = deadlines
        self._idle: list[Connection] = []
        self._line: deque[_InLine] = deque()
        self._closing = False
        self.busy = 0
        """Connections in use, or promised."""

    async def enter(self) -> None:
        """Returns when a connection may be used. Raises UpstreamError where too many wait already."""
        if self.busy < self._bounds.connections:
            self.busy += 1
            return
        if len(self._line) >= self._bounds.waiting:
            raise UpstreamError("upstream_overloaded")
        waiting = _InLine(self._bounds.connect_s)
        self._line.append(waiting)
        self._deadlines.add(waiting)
        try:
            if not await waiting.turn:
                raise UpstreamError("upstream_overloaded")
        except asyncio.CancelledError:
            if waiting.turn.done() and not waiting.turn.cancelled() and waiting.turn.result():
                self.leave()
            raise
        finally:
            self._deadlines.discard(waiting)
            if waiting in self._line:
                self._line.remove(waiting)

    def leave(self) -> None:
        """One connection fewer is in use; the first in line has it."""
        while self._line:
            waiting = self._line.popleft()
            if not waiting.turn.done():
                waiting.turn.set_result(True)
                return
        self.busy -= 1

    def idle(self) -> Connection | None:
        """A connection that is open and unused, the one used last first."""
        oldest_s = now_s() - self._bounds.keep_alive_s
        while self._idle:
            connection = self._idle.pop()
            if connection.idle_since_s < oldest_s:
                connection.abort()
            elif not connection.lost:
                return connection
        return None

    async def connect(self) -> Connection:
        """A new connection. Raises UpstreamError."""
        where = self._address
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._bounds.connect_s):
                _, connection = await loop.create_connection(
                    lambda: Connection(self._freed), where.host, where.port, ssl=where.tls
                )
        except TimeoutError:
            raise UpstreamError("upstream_connect_timeout") from None
        except ssl.SSLError:
            raise UpstreamError("upstream_tls_failed") from None
        except OSError:
            raise UpstreamError("upstream_connect_failed") from None
        return connection

    def close(self) -> None:
        """No connection is kept any longer; those in use end with their exchange."""
        self._closing = True
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.abort()

    def sweep(self) -> None:
        """Close what was unused for too long."""
        oldest_s = now_s() - self._bounds.keep_alive_s
        kept = [one for one in self._idle if not one.lost and one.idle_since_s >= oldest_s]
        stale = [one for one in self._idle if one not in kept]
        self._idle = kept
        for connection in stale:
            connection.abort()

    def _freed(self, connection: Connection) -> None:
        """An exchange is over."""
        if self._closing:
            connection.abort()
        elif not connection.lost:
            self._idle.append(connection)
        self.leave()
