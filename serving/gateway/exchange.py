"""One request to an upstream and the reply to it, as far as it has come; whoever waits for it, and how long.

Reading pauses while nobody takes what came.
"""

import asyncio
from typing import Final, Protocol

from serving.gateway.deadlines import NEVER, Deadlines, Due, now_s

HEAD: Final = 0
END: Final = 1
_NOTHING: Final = 2

_PAUSE_ABOVE_BYTES: Final = 262_144


class UpstreamError(Exception):
    """An exchange that will not end well; `kind` is the ledger's `error_type`."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class Patience:
    """How long an exchange waits for what, in seconds."""

    __slots__ = ("first_byte_s", "idle_s", "total_s")

    def __init__(self, *, first_byte_ms: int, idle_ms: int, total_ms: int) -> None:
        self.first_byte_s = first_byte_ms / 1_000
        self.idle_s = idle_ms / 1_000
        self.total_s = total_ms / 1_000


class Sink(Due, Protocol):
    """Takes a reply's body as it comes, in the turn of the loop that brought it; told when it waits too long."""

    full: bool
    """Whether it has what it wants."""

    def take(self, data: bytes, at_s: float) -> None:
        """What has come."""


class Line(Protocol):
    """The connection an exchange is on."""

    paused: bool
    """Whether nothing is read from it for now."""

    def abort(self) -> None:
        """Close at once."""

    def pause(self) -> None:
        """Read no more for now."""

    def resume(self) -> None:
        """Read on."""


class Exchange:
    """One request and the reply to it, as far as it has come."""

    __slots__ = (
        "_chunks",
        "_connection",
        "_deadlines",
        "_latest_s",
        "_patience",
        "_sink",
        "_total_due_s",
        "_waiter",
        "_wake_at",
        "abandoned_at_s",
        "answered",
        "answered_at_s",
        "buffered_bytes",
        "due_s",
        "ended",
        "failure",
        "has_head",
        "headers",
        "received_bytes",
        "status",
    )

    def __init__(self, connection: Line, *, patience: Patience, deadlines: Deadlines) -> None:
        now = now_s()
        self._connection = connection
        self._deadlines = deadlines
        self._patience = patience
        self._total_due_s = self._latest_s = now + patience.total_s
        self._chunks: list[bytes] = []
        self._waiter: asyncio.Future[None] | None = None
        self._wake_at = _NOTHING
        self._sink: Sink | None = None
        self.due_s = min(now + patience.first_byte_s, self._total_due_s)
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.has_head = False
        self.answered = False
        """Whether any byte of a reply came."""
        self.answered_at_s = NEVER
        self.ended = False
        self.failure: str | None = None
        self.buffered_bytes = 0
        self.received_bytes = 0
        self.abandoned_at_s = NEVER
        """When the exchange ends because nobody waits for it any more."""
        deadlines.add(self)

    async def head(self) -> None:
        """Returns when status and headers are there. Raises UpstreamError."""
        while not self.has_head and not self.ended:
            await self._wait(HEAD)
        if not self.has_head and self.failure is not None:
            raise UpstreamError(self.failure)

    async def pass_to(self, sink: Sink) -> None:
        """All that comes goes to the sink; returns at the reply's end, or when it has enough. Raises UpstreamError."""
        if self._chunks:
            sink.take(self._take(), now_s())
        self._sink = sink
        self._deadlines.add(sink)
        try:
            while not self.ended and not sink.full:
                await self._wait(END)
        finally:
            self._sink = None
            self._deadlines.discard(sink)
        if self.failure is not None and not sink.full:
            raise UpstreamError(self.failure)

    async def whole(self, limit_bytes: int) -> bytes:
        """The whole body. Raises UpstreamError."""
        parts: list[bytes] = []
        size = 0
        while True:
            if not self.ended:
                await self._wait(END)
            if self._chunks:
                parts.append(self._take())
                size += len(parts[-1])
            if size > limit_bytes:
                self.fail("upstream_reply_too_large")
                raise UpstreamError("upstream_reply_too_large")
            if self.failure is not None:
                raise UpstreamError(self.failure)
            if self.ended:
                return parts[0] if len(parts) == 1 else b"".join(parts)

    def abandon(self, within_s: float) -> None:
        """Nobody waits for it: it may go on for so long."""
        self.abandoned_at_s = now_s() + within_s
        self._latest_s = min(self._latest_s, self.abandoned_at_s)
        self.due_s = min(self.due_s, self.abandoned_at_s)

    def fail(self, kind: str) -> None:
        """It ends here; the connection with it."""
        if not self.ended:
            self._end(kind)
            self._connection.abort()

    def expire(self) -> None:
        """A deadline has passed: of a heartbeat, of patience, or of an abandoned exchange."""
        now = now_s()
        if now >= self.abandoned_at_s:
            self.fail("client_disconnected")
        elif now >= self._total_due_s:
            self.fail("upstream_total_timeout")
        elif not self.answered:
            self.fail("upstream_first_byte_timeout")
        elif self._connection.paused:
            # The silence is ours: the client does not read.
            self.due_s = self._next_due(now)
        else:
            self.fail("upstream_idle_timeout")

    def _next_due(self, now: float) -> float:
        due = now + self._patience.idle_s
        return due if due < self._latest_s else self._latest_s  # noqa: FURB136 - min() costs as much as all the rest

    async def _wait(self, wake_at: int) -> None:
        self._wake_at = wake_at
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
            self._wake_at = _NOTHING

    def hold(self) -> None:
        """Read no more for now: what has come cannot go on."""
        if not self.ended:
            self._connection.pause()

    def release(self) -> None:
        """Read on."""
        if not self.ended:
            self._connection.resume()
            self.due_s = self._next_due(now_s())

    def wake(self) -> None:
        """Whoever waits looks again."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _take(self) -> bytes:
        chunks = self._chunks
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        self._chunks = []
        self.buffered_bytes = 0
        if self._connection.paused:
            self.release()
        return data

    # What the connection tells

    def came(self, chunks: list[bytes]) -> None:
        """A read of the socket brought these pieces of the body, perhaps none."""
        now = now_s()
        if not self.answered:
            self.answered = True
            self.answered_at_s = now
        self.due_s = self._next_due(now)
        if chunks:
            data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
            self.received_bytes += len(data)
            if self._sink is not None:
                self._sink.take(data, now)
                if self._sink.full:
                    self.wake()
                return
            self._chunks.append(data)
            self.buffered_bytes += len(data)
        if self._wake_at == HEAD and self.has_head:
            self.wake()
        if self.buffered_bytes > _PAUSE_ABOVE_BYTES and not self.ended:
            self._connection.pause()
            if self._wake_at == END:
                self.wake()

    def finished(self) -> None:
        """The reply is complete."""
        self._end(None)

    def _end(self, failure: str | None) -> None:
        if not self.ended:
            self.ended = True
            self.failure = failure
            self._deadlines.discard(self)
            self.wake()
