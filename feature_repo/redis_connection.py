"""One connection to Redis inside an event loop: commands in, replies in the same order, no wait without an end."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final, cast

import hiredis

from feature_repo.settings import RedisSettings

_INCOMPLETE: Final = object()


class RefusedError(Exception):
    """Redis answered the login with an error: wrong user or password, or not ready yet."""


class _Waiting:
    """Commands that were sent together and what has come of them so far."""

    __slots__ = ("due", "future", "replies", "sent_at_s")

    def __init__(self, due: int, future: "asyncio.Future[Any]", sent_at_s: float) -> None:
        self.due = due
        self.future = future
        self.replies: list[Any] = []
        self.sent_at_s = sent_at_s


class RedisConnection(asyncio.Protocol):
    """An open, logged-in connection. Replies nobody waits for any more are read and forgotten."""

    def __init__(self, lost: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._lost = lost
        self._parser = hiredis.Reader(notEnoughData=_INCOMPLETE)
        self._waiting: deque[_Waiting] = deque()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The transport is ours."""
        # uvloop's transports are none of asyncio's classes.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Hand complete replies to whoever waits for them."""
        self._parser.feed(data)
        take = self._parser.gets
        waiting = self._waiting
        while waiting:
            first = waiting[0]
            replies = first.replies
            while len(replies) < first.due:
                try:
                    reply = take()
                except hiredis.ProtocolError:
                    self.abort()
                    return
                if reply is _INCOMPLETE:
                    return
                replies.append(reply)
            waiting.popleft()
            if not first.future.done():
                first.future.set_result(replies)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell everybody who waits that nothing will come."""
        del exc
        self._transport = None
        while self._waiting:
            future = self._waiting.popleft().future
            if not future.done():
                future.set_result(None)
        self._lost()

    @property
    def open(self) -> bool:
        """Whether commands can be sent."""
        return self._transport is not None

    @property
    def in_flight(self) -> int:
        """Requests whose replies are not all there."""
        return len(self._waiting)

    def oldest_s(self) -> float:
        """How long the oldest of them has waited."""
        return self._loop.time() - self._waiting[0].sent_at_s if self._waiting else 0.0

    def send(self, commands: bytes, *, due: int) -> "asyncio.Future[Any]":
        """A future of `due` replies, or of None if the connection is lost before."""
        future = self._loop.create_future()
        if self._transport is None:
            future.set_result(None)
            return future
        self._waiting.append(_Waiting(due, future, self._loop.time()))
        self._transport.write(commands)
        return future

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()


async def connected(settings: RedisSettings, lost: Callable[[], None], *, within_s: float) -> RedisConnection:
    """A connection that is logged in. Raises OSError (TimeoutError too) or RefusedError."""
    async with asyncio.timeout(within_s):
        loop = asyncio.get_running_loop()

        def made() -> RedisConnection:
            return RedisConnection(lost)

        if settings.socket:
            _, connection = await loop.create_unix_connection(made, settings.socket)
        else:
            _, connection = await loop.create_connection(made, settings.host, settings.port)
        try:
            replies = await connection.send(_login(settings), due=2)
        except BaseException:
            connection.abort()
            raise
    for reply in replies or [OSError("closed during the login")]:
        if isinstance(reply, Exception):
            connection.abort()
            message = f"redis: {settings.address} refused user {settings.user!r}: {reply}"
            raise RefusedError(message)
    return connection


def _login(settings: RedisSettings) -> bytes:
    """Login and a first question, which a Redis that is still loading answers with an error."""
    password = settings.password()
    login: tuple[Any, ...] = ("AUTH", settings.user, password) if password else ("PING",)
    return bytes(hiredis.pack_command(login) + hiredis.pack_command(("PING",)))
