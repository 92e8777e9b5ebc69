"""A proxy between two programs that makes their connection slow, silent or broken. Its own loop, its own thread."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from infra.local.layout import HOST

if TYPE_CHECKING:
    from concurrent.futures import Future
    from pathlib import Path

_CHUNK_BYTES = 16_384
_ANSWER_WITHIN_S = 10.0
_LINGER_NOT = struct.pack("ii", 1, 0)


@dataclass(slots=True)
class Way:
    """What happens to the bytes of one direction; may be changed while they flow."""

    latency_s: float = 0.0
    """Every piece waits so long."""
    bytes_per_s: float | None = None
    """No more than this passes on each connection; None is no limit."""
    silent: bool = False
    """Nothing passes, and nobody is told: a partition. What was held back passes afterwards, as TCP would resend it."""
    cut_after_bytes: int | None = None
    """The connection is reset once so many more bytes have passed, all connections counted together."""


@dataclass(frozen=True, slots=True)
class Address:
    """A TCP port on this machine, or a unix socket."""

    port: int = 0
    path: Path | None = None

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to it."""
        if self.path is not None:
            return await asyncio.open_unix_connection(self.path)
        return await asyncio.open_connection(HOST, self.port)

    async def serve(self, accept: Callable[..., Any]) -> asyncio.Server:
        """Listen on it."""
        if self.path is not None:
            return await asyncio.start_unix_server(accept, self.path)
        return await asyncio.start_server(accept, HOST, self.port)


@dataclass(slots=True)
class Counts:
    """What went through."""

    connections: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    resets: int = 0


@dataclass(slots=True)
class Proxy:
    """Listens at one address and talks to another."""

    listen: Address
    upstream: Address
    rewrite: tuple[bytes, bytes] | None = None
    """What the server says about itself → what clients are told instead, of the same length."""
    up: Way = field(default_factory=Way)
    """Client → server."""
    down: Way = field(default_factory=Way)
    """Server → client."""
    slow_close_s: float = 0.0
    """The end of a connection is passed on so much later."""
    refusing: bool = False
    """New connections are reset at once."""
    counts: Counts = field(default_factory=Counts)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _open: set[asyncio.StreamWriter] = field(default_factory=set)
    _server: asyncio.Server | None = None

    @contextmanager
    def running(self) -> Iterator[Proxy]:
        """It listens, until the block ends; then every connection through it is reset."""
        thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        thread.start()
        try:
            self._server = self._do(self.listen.serve(self._accept))
            yield self
        finally:
            self._do(self._end())
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join()
            self._loop.close()

    def heal(self) -> None:
        """Everything passes again, as it comes."""
        self.up, self.down, self.slow_close_s, self.refusing = Way(), Way(), 0.0, False

    def reset_all(self) -> int:
        """Reset every connection; how many."""
        ended: int = self._do(self._reset_all())
        return ended

    def _do(self, work: Any) -> Any:
        future: Future[Any] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return future.result(_ANSWER_WITHIN_S)

    async def _reset_all(self) -> int:
        ended = len(self._open)
        for writer in tuple(self._open):
            self._reset(writer)
        return ended // 2

    async def _end(self) -> None:
        if self._server is not None:
            self._server.close()
        await self._reset_all()
        here = asyncio.current_task()
        others = [task for task in asyncio.all_tasks() if task is not here]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _reset(self, writer: asyncio.StreamWriter) -> None:
        taken = writer.get_extra_info("socket")
        if taken is not None and taken.family != socket.AF_UNIX:
            with contextlib.suppress(OSError):
                taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.counts.connections += 1
        if self.refusing:
            self._reset(writer)
            return
        try:
            far_reader, far_writer = await self.upstream.connect()
        except OSError:
            self._reset(writer)
            return
        pair = {writer, far_writer}
        self._open |= pair
        try:
            await asyncio.gather(self._pass(reader, far_writer, up=True), self._pass(far_reader, writer, up=False))
        except OSError:
            self.counts.resets += 1
        except asyncio.CancelledError:
            # The proxy ends, and nobody waits for this.
            return
        finally:
            self._open -= pair
            for one in pair:
                self._reset(one)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, up: bool) -> None:
        held = b""
        while data := await reader.read(_CHUNK_BYTES):
            data, held = (data, b"") if up else self._rewritten(held + data)
            await self._delayed(len(data), up=up)
            writer.write(data)
            await writer.drain()
            self._counted(len(data), up=up)
        await asyncio.sleep(self.slow_close_s)
        writer.write(held)
        if writer.can_write_eof():
            writer.write_eof()

    async def _delayed(self, size_bytes: int, *, up: bool) -> None:
        way = self.up if up else self.down
        await asyncio.sleep(way.latency_s)
        if way.bytes_per_s is not None:
            await asyncio.sleep(size_bytes / way.bytes_per_s)
        # The way may be replaced meanwhile, by another thread: an event would have to be too.
        while (self.up if up else self.down).silent:  # noqa: ASYNC110
            await asyncio.sleep(0.02)

    def _counted(self, size_bytes: int, *, up: bool) -> None:
        if up:
            self.counts.bytes_up += size_bytes
        else:
            self.counts.bytes_down += size_bytes
        way = self.up if up else self.down
        if way.cut_after_bytes is not None:
            way.cut_after_bytes -= size_bytes
            if way.cut_after_bytes <= 0:
                way.cut_after_bytes = None
                message = "cut"
                raise ConnectionResetError(message)

    def _rewritten(self, data: bytes) -> tuple[bytes, bytes]:
        """What may pass on, and the end that may be the beginning of what is to be replaced."""
        if self.rewrite is None:
            return data, b""
        said, told = self.rewrite
        data = data.replace(said, told)
        kept = next((size for size in range(min(len(said) - 1, len(data)), 0, -1) if said.startswith(data[-size:])), 0)
        return data[: len(data) - kept], data[len(data) - kept :]


def before_broker(port: int, *, listen: int) -> Proxy:
    """A proxy whose clients are told to come back to it: the broker's address in its answers is replaced."""

    def at(number: int) -> bytes:
        return HOST.encode() + struct.pack(">i", number)

    return Proxy(Address(port=listen), Address(port=port), rewrite=(at(port), at(listen)))


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server((HOST, 0)) as taken:
        number: int = taken.getsockname()[1]
    return number
