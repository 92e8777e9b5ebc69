"""What the gateway is measured against: the least a proxy can do, on bare ASGI and on aiohttp. They account nothing.

`python -m benchmarks.proxies asgi|aiohttp PORT UPSTREAM_PORT`
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, cast

import aiohttp
import httptools
import uvicorn
import uvloop
from aiohttp import web

Message = MutableMapping[str, Any]

_PATH = "/v1/chat/completions"


class _Upstream(asyncio.Protocol):
    """One connection to the upstream: a request at a time, its body in pieces as they come."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self.pieces: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.kind = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Bytes of the reply."""
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Only the type is passed on."""
        if name.lower() == b"content-type":
            self.kind = value

    def on_body(self, body: bytes) -> None:
        """A piece."""
        self.pieces.put_nowait(body)

    def on_message_complete(self) -> None:
        """No more of this reply."""
        self.pieces.put_nowait(None)

    def send(self, body: bytes) -> None:
        """The next request."""
        self._parser = httptools.HttpResponseParser(self)
        assert self._transport is not None
        head = f"POST {_PATH} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)


class Bare:
    """An ASGI application that hands bytes on."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[_Upstream] = []

    async def __call__(
        self, _scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        """One request."""
        message = await receive()
        body: bytes = message["body"]
        while message.get("more_body"):
            message = await receive()
            body += message["body"]
        upstream = self._idle.pop() if self._idle else await self._connected()
        upstream.send(body)
        piece = await upstream.pieces.get()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", upstream.kind)]})
        while piece is not None:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            piece = await upstream.pieces.get()
        await send({"type": "http.response.body", "body": b""})
        self._idle.append(upstream)

    async def _connected(self) -> _Upstream:
        _, protocol = await asyncio.get_running_loop().create_connection(_Upstream, "127.0.0.1", self._port)
        return protocol


def _serve_bare(port: int, upstream_port: int) -> None:
    uvicorn.run(
        Bare(upstream_port), port=port, http="httptools", loop="uvloop", lifespan="off", ws="none", log_level="error",
        access_log=False,
    )  # fmt: skip


def _serve_aiohttp(port: int, upstream_port: int) -> None:
    async def session(application: web.Application) -> Any:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as opened:
            application["session"] = opened
            yield

    async def proxy(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        url = f"http://127.0.0.1:{upstream_port}{_PATH}"
        async with request.app["session"].post(url, data=body) as reply:
            response = web.StreamResponse(headers={"content-type": reply.headers["content-type"]})
            await response.prepare(request)
            async for piece in reply.content.iter_any():
                await response.write(piece)
            await response.write_eof()
            return response

    application = web.Application()
    application.cleanup_ctx.append(session)
    application.router.add_post(_PATH, proxy)
    uvloop.install()
    web.run_app(application, host="127.0.0.1", port=port, access_log=None, print=None)


if __name__ == "__main__":
    {"asgi": _serve_bare, "aiohttp": _serve_aiohttp}[sys.argv[1]](int(sys.argv[2]), int(sys.argv[3]))
