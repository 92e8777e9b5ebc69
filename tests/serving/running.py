"""A gateway on a real socket with accounting and admission in memory, upstreams that follow a script, plain clients."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
import uvloop

from serving.gateway.__main__ import server_of
from serving.gateway.configuration import configuration_of
from serving.gateway.records import Admitted, Intent, OutboxFullError, Outcome, Refusal
from serving.gateway.service import Gateway

CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}


class Memory:
    """Accounting and admission that remember everything."""

    def __init__(self) -> None:
        self.intents: list[Intent] = []
        self.outcomes: list[Outcome] = []
        self.released: list[Intent] = []
        self.full = False
        self.cost_usd_pico: int | None = 1_234
        self.no_budget_for: set[str] = set()
        self.keys = {b"Bearer good": "tenant"}

    async def intend(self, intent: Intent) -> None:
        """Durable as far as memory is."""
        await asyncio.sleep(0)
        if self.full:
            raise OutboxFullError
        self.intents.append(intent)

    def settle(self, intent: Intent, outcome: Outcome) -> int | None:
        """Remembers the outcome."""
        assert intent in self.intents, "an outcome without an intent"
        self.outcomes.append(outcome)
        return self.cost_usd_pico

    def record(self, intent: Intent, outcome: Outcome) -> None:
        """Remembers both."""
        if self.full:
            raise OutboxFullError
        self.intents.append(intent)
        self.outcomes.append(outcome)

    def admit(self, *, authorization: bytes | None, api: str, model: str, feature: str | None) -> Admitted | Refusal:
        """By the keys it knows."""
        assert api
        if authorization not in self.keys or model == "forbidden":
            return Refusal(
                http_status=401, message="Incorrect API key", type="invalid_request_error", code="invalid_api_key"
            )
        limits = ((b"x-ratelimit-limit-requests", b"60"), (b"x-ratelimit-remaining-requests", b"59"))
        return Admitted(
            tenant_id=self.keys[authorization], api_key_id="key_1", feature=feature or "chat", headers=limits
        )

    def reserve(self, intent: Intent) -> int | Refusal:
        """A thousand, unless a test says there is nothing left."""
        if intent.deployment_id in self.no_budget_for:
            return Refusal(
                http_status=429, message="budget used up", type="insufficient_quota", code="insufficient_quota"
            )
        return 1_000

    def release(self, intent: Intent) -> None:
        """Remembers what was given back."""
        self.released.append(intent)

    def settled_once(self) -> bool:
        """Whether every intent has exactly one outcome."""
        return sorted(i.event_id for i in self.intents) == sorted(o.event_id for o in self.outcomes)


@dataclass
class Request:
    """What an upstream received."""

    head: bytes
    body: bytes

    @property
    def headers(self) -> dict[bytes, bytes]:
        """Headers by lower-case name."""
        lines = self.head.split(b"\r\n")[1:]
        return {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines if line)}

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return msgspec.json.decode(self.body)


Write = Callable[[bytes], Awaitable[None]]
Step = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Upstream:
    """A server that answers each request with the next step of its script, the last one again and again."""

    script: list[Step]
    port: int = 0
    received: list[Request] = field(default_factory=list)
    connections: int = 0
    lost: int = 0
    """Connections that ended before their step did."""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                request = Request(head.rstrip(), b"")
                request.body = await reader.readexactly(int(request.headers.get(b"content-length", b"0")))
                self.received.append(request)
                step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
                await step(request, writer)
                await writer.drain()
                if writer.is_closing():
                    return
        except (asyncio.IncompleteReadError, ConnectionError, RuntimeError):  # uvloop's word for a closed transport
            self.lost += 1
        finally:
            writer.close()


@asynccontextmanager
async def upstream(*script: Step) -> AsyncIterator[Upstream]:
    """A scripted upstream on a free port."""
    made = Upstream(list(script))
    server = await asyncio.start_server(made.answer, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()


def reply(body: Any, status: int = 200, headers: str = "") -> Step:
    """A JSON reply."""
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{headers}content-length: {len(raw)}\r\n\r\n"

    async def step(_request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(head.encode() + raw)

    return step


def raw(*pieces: bytes, pause_s: float = 0.0, close: bool = False) -> Step:
    """Bytes as they are, one write each."""

    async def step(_request: Request, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause_s)
        if close:
            writer.close()

    return step


def hang() -> Step:
    """Nothing, for long."""

    async def step(_request: Request, writer: asyncio.StreamWriter) -> None:
        while not writer.is_closing():
            await asyncio.sleep(0.02)
            if writer.transport.is_closing():
                return

    return step


def completion(text: str = "hi", **more: Any) -> dict[str, Any]:
    """A chat completion."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return {"id": "chatcmpl-1", "object": "chat.completion", "created": 1_700_000_000, "model": "m-1",
            "choices": [choice], "usage": USAGE} | more  # fmt: skip


def event(delta: Any = None, *, finish: str | None = None, **more: Any) -> bytes:
    """One chunk of a stream."""
    choices = [] if delta is None and finish is None else [{"index": 0, "delta": delta or {}, "finish_reason": finish}]
    chunk = {"id": "chatcmpl-2", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "m-1",
             "choices": choices} | more  # fmt: skip
    return b"data: " + msgspec.json.encode(chunk) + b"\n\n"


STREAM = (
    event({"role": "assistant", "content": ""}, usage=None),
    event({"content": "he"}, usage=None),
    event({"content": "llo"}, usage=None),
    event({}, finish="stop", usage=None),
    event(usage=USAGE),
    b"data: [DONE]\n\n",
)
"""A whole stream whose usage was asked for."""
EVENT_STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"


def chunked(data: bytes) -> bytes:
    """One piece of a body in chunks."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def streamed(*events: bytes, pause_s: float = 0.0, end: bool = True) -> Step:
    """Events in chunks, one write each."""
    head = EVENT_STREAM + b"transfer-encoding: chunked\r\n\r\n"
    return raw(head, *map(chunked, events), *([b"0\r\n\r\n"] if end else []), pause_s=pause_s, close=not end)


def config(**upstreams: int) -> str:
    """A configuration with one route `m` over these upstreams, by port."""
    tables = "".join(
        f'[upstreams.{name}]\nprovider = "vllm"\nreplicas = [{{ url = "http://127.0.0.1:{port}/v1" }}]\n'
        for name, port in upstreams.items()
    )
    names = ", ".join(f'"{name}"' for name in upstreams)
    return f'allowed_hosts = ["127.0.0.1"]\n{tables}[routes.m]\nupstreams = [{names}]\napis = ["chat", "embeddings"]\n'


@dataclass
class Running:
    """A gateway that answers."""

    port: int
    gateway: Gateway
    memory: Memory

    async def send(self, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection on which this was sent."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(data)
        return reader, writer

    async def raw(self, data: bytes) -> bytes:
        """All that comes back until the connection closes."""
        reader, writer = await self.send(data)
        try:
            return await asyncio.wait_for(reader.read(), 20)
        finally:
            writer.close()

    async def post(self, body: Any, path: str = "/v1/chat/completions", headers: str = "") -> "Reply":
        """One request on a connection of its own."""
        return Reply.of(await self.raw(request(body, path=path, headers=f"connection: close\r\n{headers}")))

    async def get(self, path: str, method: str = "GET", headers: str = "authorization: Bearer good\r\n") -> "Reply":
        """One request without a body."""
        return Reply.of(
            await self.raw(f"{method} {path} HTTP/1.1\r\nhost: g\r\n{headers}connection: close\r\n\r\n".encode())
        )

    async def pools_empty(self) -> None:
        """Every place in every pool is given back: an exchange may end a little after its answer."""
        servers = [server for one in self.gateway.fleet.deployments.values() for server in one.servers]
        for _ in range(200):
            if not any(server.pool.busy for server in servers):
                return
            await asyncio.sleep(0.02)
        raise AssertionError(f"places lost: {[(server.name, server.pool.busy) for server in servers]}")

    async def settled(self, outcomes: int = 1) -> Outcome:
        """The last outcome, once there are so many."""
        for _ in range(500):
            if len(self.memory.outcomes) >= outcomes:
                return self.memory.outcomes[-1]
            await asyncio.sleep(0.02)
        raise AssertionError(f"waited 10 s for {outcomes} outcomes, have {self.memory.outcomes}")


def request(body: Any, *, path: str = "/v1/chat/completions", headers: str = "") -> bytes:
    """A POST as bytes."""
    raw_body = body if isinstance(body, bytes) else msgspec.json.encode(body)
    authorization = "" if "authorization" in headers.lower() else "authorization: Bearer good\r\n"
    head = f"POST {path} HTTP/1.1\r\nhost: g\r\n{authorization}{headers}content-length: {len(raw_body)}\r\n\r\n"
    return head.encode() + raw_body


@dataclass
class Reply:
    """An answer, taken apart."""

    status: int
    headers: dict[str, str]
    body: bytes

    @classmethod
    def of(cls, data: bytes) -> "Reply":
        """An answer from its bytes."""
        head, _, body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if headers.get("transfer-encoding") == "chunked":
            body = joined(body)
        return cls(int(first.split()[1]), headers, body)

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return msgspec.json.decode(self.body)

    @property
    def error(self) -> Any:
        """The error object, which must have exactly OpenAI's four fields."""
        found = self.json["error"]
        assert found.keys() == {"message", "type", "param", "code"}
        assert self.headers["x-request-id"]
        return found

    @property
    def events(self) -> list[Any]:
        """Decoded data of every event but [DONE]."""
        parts = [part for part in self.body.split(b"\n\n") if part.startswith(b"data: {")]
        return [msgspec.json.decode(part[6:]) for part in parts]


def joined(body: bytes) -> bytes:
    """A chunked body put together, as far as it goes."""
    parts = []
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        parts.append(rest[:length])
        body = rest[length + 2 :]
    return b"".join(parts)


def free_port() -> int:
    """A port nobody has at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def running(toml: str, memory: Memory | None = None) -> AsyncIterator[Running]:
    """A gateway in this event loop."""
    memory = memory or Memory()
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    gateway = Gateway(configuration_of(toml), accounting=memory, admission=memory, ready=lambda: not memory.full)
    server = server_of(gateway)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.005)
    try:
        yield Running(listener.getsockname()[1], gateway, memory)
    finally:
        server.should_exit = True
        await serving
        gateway.fleet.close()
        listener.close()


Scenario = Callable[[Running, Upstream], Awaitable[None]]


def with_upstream(scenario: Scenario, *script: Step, more: str = "", after: str = "", provider: str = "vllm") -> None:
    """Run a scenario with a gateway before one scripted upstream."""

    def toml(port: int) -> str:
        return more + config(up=port).replace('"vllm"', f'"{provider}"') + after

    async def all_of_it() -> None:
        async with upstream(*script) as server, running(toml(server.port)) as gateway:
            await asyncio.wait_for(scenario(gateway, server), 30)
            assert gateway.memory.settled_once()
            await gateway.pools_empty()

    uvloop.run(all_of_it())


def tuned(scenario: Scenario, *script: Step, settings: str, more: str = "") -> None:
    """As `with_upstream`, with settings of the upstream's own."""

    async def all_of_it() -> None:
        async with upstream(*script) as server:
            toml = config(up=server.port).replace("[upstreams.up]\n", f"[upstreams.up]\n{settings}")
            async with running(more + toml) as gateway:
                await asyncio.wait_for(scenario(gateway, server), 30)
                assert gateway.memory.settled_once()
                await gateway.pools_empty()

    uvloop.run(all_of_it())
