"""One upstream at work: routes, answers at its tier's pace, and whatever goes wrong on the way."""

import asyncio
import time
import uuid
from urllib.parse import unquote

from serving.simulator import answering, asking, wire
from serving.simulator.answering import Answer
from serving.simulator.asking import Chat, Refused
from serving.simulator.config import Fault
from serving.simulator.journal import Entry, Journal
from serving.simulator.server import Header, Reply, Request
from serving.simulator.tier import Overloaded, Pace, RunningTier
from serving.simulator.wire import Counts, Head, Json

_JSON = ("content-type", "application/json")
_EVENTS = (("content-type", "text/event-stream; charset=utf-8"), ("cache-control", "no-cache"))
_FOREVER_S = 3600.0
_RETRY_AFTER = (("retry-after", "1"), ("retry-after-ms", "200"))


class Upstream:
    """The HTTP surface of one tier."""

    def __init__(self, running: RunningTier, journal: Journal) -> None:
        self._running = running
        self._journal = journal

    async def __call__(self, request: Request, reply: Reply) -> None:
        """Answer one request; a line of the journal for each that reaches a model."""
        path = request.path.partition("?")[0].removesuffix("/")
        key = self._running.tier.api_key
        if key and request.headers.get("authorization") != f"Bearer {key}":
            _send(reply, wire.error("Incorrect API key.", "invalid_request_error", code="invalid_api_key"), status=401)
        elif path in {"/v1/chat/completions", "/v1/embeddings"}:
            await self._post(request, reply, path=path)
        elif path == "/v1/models" and request.method == "GET":
            _send(reply, wire.models(list(self._running.tier.models)), status=200)
        elif path.startswith("/v1/models/") and request.method == "GET":
            self._model(unquote(path.removeprefix("/v1/models/")), reply)
        elif path == "/health":
            reply.send(200, b"")
        else:
            _send(reply, wire.error(f"Unknown URL {request.method} {path}", "invalid_request_error"), status=404)

    async def _post(self, request: Request, reply: Reply, *, path: str) -> None:
        if request.method != "POST":
            message = f"{path} takes POST, not {request.method}"
            return _send(reply, wire.error(message, "invalid_request_error"), status=405)
        kind = "chatcmpl" if path.endswith("completions") else "embd"
        entry = Entry(
            id=f"{kind}-{uuid.uuid4().hex}",
            tier=self._running.tier.name,
            request_id=request.headers.get("x-request-id"),
            arrived_at_us=_now_us(),
        )
        exchange = Exchange(self._running, reply, entry=entry, demanded=request.headers.get("x-simulate"))
        try:
            await (exchange.chat if kind == "chatcmpl" else exchange.embed)(request.body)
        finally:
            entry.ended_at_us = _now_us()
            self._journal.write(entry)

    def _model(self, name: str, reply: Reply) -> None:
        if name in self._running.tier.models:
            _send(reply, wire.model(name), status=200)
        else:
            _send(reply, _no_model(name), status=404)


class Exchange:
    """One request that reached a model, and its answer."""

    def __init__(self, running: RunningTier, reply: Reply, *, entry: Entry, demanded: str | None) -> None:
        self._running = running
        self._reply = reply
        self._entry = entry
        self._demanded = demanded
        self._fault: Fault | None = None

    async def chat(self, body: bytes) -> None:
        """Answer a chat completion."""
        try:
            chat = asking.read_chat(body)
        except Refused as refused:
            return self._refuse(400, wire.error(refused.message, "invalid_request_error", param=refused.param))
        self._entry.stream = bool(chat.stream)
        if not self._known(chat) or await self._failed_at_once():
            return None
        try:
            async with self._running.slot():
                await self._complete(chat)
        except Overloaded:
            message = f"all slots are taken and {self._running.waiting} requests wait; try again"
            self._entry.outcome = "overloaded"
            self._send(503, wire.error(message, "server_error", code="overloaded"), headers=_RETRY_AFTER)

    async def embed(self, body: bytes) -> None:
        """Answer an embeddings request."""
        try:
            asked = asking.read_embedding(body)
        except Refused as refused:
            return self._refuse(400, wire.error(refused.message, "invalid_request_error", param=refused.param))
        if not self._known(asked) or await self._failed_at_once():
            return None
        counts = Counts(prompt_tokens=sum(map(asking.tokens_of_text, asked.inputs)))
        await self._running.pace(counts).until(0)
        dimensions = asked.dimensions or self._running.tier.dimensions
        answer = wire.embeddings(
            asked.model,
            [answering.vector(text, dimensions) for text in asked.inputs],
            prompt_tokens=counts.prompt_tokens,
            as_base64=asked.encoding_format == "base64",
        )
        if self._fault is Fault.USAGE_MISSING:
            del answer["usage"]
        self._entry.usage = answer.get("usage")
        self._entry.prompt_tokens = counts.prompt_tokens
        return await self._whole(answer)

    def _known(self, asked: Chat | asking.Embedding) -> bool:
        """Whether there is such a model here; the journal and the failure to come are told of the request."""
        self._entry.model, self._entry.user = asked.model, asked.user
        self._fault = self._running.fault((asked.metadata or {}).get("simulate", self._demanded))
        if asked.model in self._running.tier.models:
            return True
        self._refuse(404, _no_model(asked.model))
        return False

    async def _failed_at_once(self) -> bool:
        """Whether the request failed before any model worked on it."""
        if self._fault is Fault.SLOW_HEADERS:
            await asyncio.sleep(self._running.tier.stall_us / 1e6)
        elif self._fault is Fault.CLOSED_EARLY:
            self._failed()
            self._reply.close()
        elif self._fault is Fault.NOT_JSON:
            self._failed()
            self._entry.http_status = 502
            page = b"<html><h1>502 Bad Gateway</h1></html>"
            self._reply.send(502, page, headers=(("content-type", "text/html"),))
        elif self._fault in _REFUSALS:
            self._failed()
            status, body = _REFUSALS[self._fault]
            self._send(status, body, headers=_RETRY_AFTER if status in {429, 503} else ())
        elif self._fault is Fault.ERROR_IN_200 and not self._entry.stream:
            self._failed()
            self._send(200, _SERVER_ERROR)
        return self._reply.over

    async def _complete(self, chat: Chat) -> None:
        running, entry = self._running, self._entry
        given = answering.answers(chat, running.tier, labels=running.labels)
        seen_before = running.remembers(answering.cache_key(chat))
        counts = answering.counts(chat, running.tier, given=given, seen_before=seen_before)
        entry.prompt_tokens, entry.completion_tokens = counts.prompt_tokens, counts.completion_tokens
        entry.correct = given[0].correct
        head = Head(id=entry.id, created_s=int(time.time()), model=chat.model, service_tier=chat.service_tier)
        pace = running.pace(counts)
        if chat.stream:
            await self._stream(chat, head, given=given, counts=counts, pace=pace)
        else:
            await pace.until(max(len(answer.tokens) for answer in given))
            stated = self._stated(counts)
            entry.usage = stated
            choices = [_choice(head, answer, index=index) for index, answer in enumerate(given)]
            await self._whole(wire.completion(head, choices, usage_object=stated))

    async def _whole(self, answer: Json) -> None:
        """An answer in one piece, unless it breaks in the middle."""
        body = wire.encode(answer)
        if self._fault not in {Fault.HANG, Fault.CLOSED_MID_BODY}:
            if self._fault is not None and self._fault in _SEEN_IN_WHOLE:
                self._failed()
            else:
                self._entry.outcome = "complete"
            return self._send(200, answer)
        self._failed()
        self._entry.usage = None
        self._begin((_JSON, ("content-length", str(len(body)))))
        await self._reply.piece(body[: len(body) // 2])
        await self._break_off()
        return None

    async def _stream(self, chat: Chat, head: Head, *, given: list[Answer], counts: Counts, pace: Pace) -> None:
        asked = chat.usage_asked
        await pace.until(0)
        self._begin(_EVENTS)
        for index, answer in enumerate(given):
            delta = _first_delta(head, answer, index=index)
            await self._reply.piece(wire.chunk(head, index, delta=delta, finish_reason=None, usage_asked=asked))
        for place in range(max(len(answer.tokens) for answer in given)):
            await pace.until(place)
            for index, answer in enumerate(given):
                if place < len(answer.tokens):
                    delta = _delta(answer, place)
                    await self._reply.piece(wire.chunk(head, index, delta=delta, finish_reason=None, usage_asked=asked))
                    self._entry.pieces_sent += 1
            if await self._broken(place, given):
                return
        for index, answer in enumerate(given):
            reason = answer.finish_reason
            await self._reply.piece(wire.chunk(head, index, delta={}, finish_reason=reason, usage_asked=asked))
        if asked:
            await self._say_usage(head, counts)
        await self._reply.piece(wire.DONE)
        self._reply.end()
        self._entry.outcome = "complete" if self._fault not in _USAGE_FAULTS or not asked else self._fault.value

    async def _say_usage(self, head: Head, counts: Counts) -> None:
        stated = self._stated(counts)
        if stated is None:
            return
        self._entry.usage = stated
        for _ in range(2 if self._fault is Fault.USAGE_DOUBLED else 1):
            await self._reply.piece(wire.usage_chunk(head, stated))

    async def _broken(self, place: int, given: list[Answer]) -> bool:
        """Whether the stream broke after this token."""
        middle = max(len(answer.tokens) for answer in given) // 2
        if self._fault is Fault.ERROR_IN_200:
            self._failed()
            await self._reply.piece(wire.event(_SERVER_ERROR))
            self._reply.end()
        elif self._fault is Fault.HANG or (self._fault is Fault.CLOSED_MID_BODY and place >= middle):
            self._failed()
            await self._break_off()
        elif self._fault is Fault.TRUNCATED and place >= middle:
            self._failed()
            self._reply.end()
        return self._reply.over

    async def _break_off(self) -> None:
        """Nothing more comes: the connection stays open and silent, or ends."""
        if self._fault is Fault.HANG:
            await asyncio.sleep(_FOREVER_S)
        self._reply.close()

    def _stated(self, counts: Counts) -> Json | None:
        """The usage that is reported."""
        stated = wire.usage(counts)
        if self._fault is Fault.USAGE_MISSING:
            return None
        if self._fault is Fault.USAGE_NEGATIVE:
            stated["prompt_tokens_details"]["cached_tokens"] = counts.prompt_tokens + 7
            stated["completion_tokens"] = -counts.completion_tokens
        if self._fault is Fault.USAGE_DOUBLED and not self._entry.stream:
            stated["total_tokens"] *= 2
        return stated

    def _begin(self, headers: tuple[Header, ...]) -> None:
        self._entry.http_status = 200
        self._reply.begin(200, (*headers, ("x-request-id", self._entry.id)))

    def _send(self, status: int, body: Json, *, headers: tuple[Header, ...] = ()) -> None:
        self._entry.http_status = status
        _send(self._reply, body, status=status, headers=(*headers, ("x-request-id", self._entry.id)))

    def _refuse(self, status: int, body: Json) -> None:
        self._entry.outcome = "refused"
        self._send(status, body)

    def _failed(self) -> None:
        assert self._fault is not None  # noqa: S101 - only who has a fault fails
        self._entry.outcome = self._fault.value


_SERVER_ERROR = wire.error("The server had an error while processing your request.", "server_error")
_REFUSALS: dict[Fault, tuple[int, Json]] = {
    Fault.RATE_LIMITED: (429, wire.error("Rate limit reached.", "rate_limit_error", code="rate_limit_exceeded")),
    Fault.OUT_OF_QUOTA: (429, wire.error("Quota exceeded.", "insufficient_quota", code="insufficient_quota")),
    Fault.SERVER_ERROR: (500, _SERVER_ERROR),
    Fault.UNAVAILABLE: (503, wire.error("The engine is overloaded.", "server_error", code="overloaded")),
}
_USAGE_FAULTS = (Fault.USAGE_MISSING, Fault.USAGE_DOUBLED, Fault.USAGE_NEGATIVE)
_SEEN_IN_WHOLE = (*_USAGE_FAULTS, Fault.SLOW_HEADERS)


def _now_us() -> int:
    return time.time_ns() // 1000


def _send(reply: Reply, body: Json, *, status: int, headers: tuple[Header, ...] = ()) -> None:
    reply.send(status, wire.encode(body), headers=(_JSON, *headers))


def _no_model(name: str) -> Json:
    message = f"The model {name!r} does not exist here."
    return wire.error(message, "invalid_request_error", code="model_not_found", param="model")


def _call_id(head: Head, index: int) -> str:
    return f"call_{head.id[-20:]}{index}"


def _choice(head: Head, answer: Answer, *, index: int) -> Json:
    calls: list[Json] = []
    if answer.tool_name is not None:
        function = {"name": answer.tool_name, "arguments": answer.text}
        calls = [{"id": _call_id(head, index), "type": "function", "function": function}]
    return wire.choice(index, answer.text, finish_reason=answer.finish_reason, tool_calls=calls)


def _first_delta(head: Head, answer: Answer, *, index: int) -> Json:
    """Who speaks, and which function is called: what stands before the first token."""
    if answer.tool_name is None:
        return {"role": "assistant", "content": "", "refusal": None}
    function = {"name": answer.tool_name, "arguments": ""}
    call = {"index": 0, "id": _call_id(head, index), "type": "function", "function": function}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def _delta(answer: Answer, place: int) -> Json:
    piece = answer.tokens[place]
    if answer.tool_name is None:
        return {"content": piece}
    return {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}
