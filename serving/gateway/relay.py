"""An upstream's reply on its way to the caller: whole or as a stream, and what the ledger learns from it."""

from time import time_ns
from typing import Final, Protocol

import msgspec

from serving.gateway.answer import Answer, Headers
from serving.gateway.attempt import Attempt, now_us
from serving.gateway.configuration import MILLIS_PER_SECOND, Configuration
from serving.gateway.connection import Exchange, UpstreamError
from serving.gateway.deadlines import NEVER, now_s
from serving.gateway.errors import RETRY, from_upstream, refused
from serving.gateway.folding import folded
from serving.gateway.incoming import Incoming
from serving.gateway.records import Refusal
from serving.gateway.replies import Facts, facts_of
from serving.gateway.requests import Asked
from serving.gateway.sse import Stream

FIRST_ERROR_STATUS: Final = 400
_LARGEST_EVENT_BYTES: Final = 4_194_304
_LARGEST_KEPT_BYTES: Final = 1_048_576
"""Longer streams are not put together for the cache."""
_AFTER_DONE_S: Final = 1.0
_MOST_DIGITS: Final = 9
TO_CALLER: Final = frozenset({b"openai-processing-ms", b"openai-version"})
_WITH_ERROR: Final = frozenset({b"retry-after", b"retry-after-ms", b"x-should-retry", *TO_CALLER})


class Keeps(Protocol):
    """Takes answers that may be given again."""

    @property
    def wanted(self) -> bool:
        """Whether this request's answer is."""

    def keep(self, body: bytes, attempt: Attempt) -> None:
        """A whole, successful answer. Does not wait."""


class Call(Protocol):
    """What a relay needs of its call."""

    answer: Answer
    asked: Asked
    incoming: Incoming
    policy: Configuration

    @property
    def kept(self) -> Keeps | None:
        """Where its answer may be kept."""


class Failed(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An attempt the caller has seen nothing of."""

    refusal: Refusal | None = None
    """The gateway's own words for it; None where the upstream's are passed on."""
    status: int = 0
    """Status of the upstream's reply, as the caller may see it."""
    body: bytes = b""
    """The reply."""
    headers: Headers = ()
    """Headers that go with it."""
    retry_after_ms: int | None = None
    """When the upstream wants to be asked again."""
    is_final: bool = False
    """Whether trying again is out of the question."""


async def relay(call: Call, attempt: Attempt) -> Failed | None:
    """The reply to the caller; a failure that may be tried again instead. Raises UpstreamError."""
    exchange = attempt.exchange
    assert exchange is not None  # noqa: S101  (it was sent)
    if call.asked.stream:
        await exchange.head()
        if exchange.status < FIRST_ERROR_STATUS and is_stream(exchange):
            await _stream(call, attempt, exchange=exchange)
            return None
    return await _whole(call, attempt, exchange=exchange)


def is_stream(exchange: Exchange) -> bool:
    """Whether the reply is a stream of events."""
    return any(name == b"content-type" and b"text/event-stream" in value for name, value in exchange.headers)


async def _whole(call: Call, attempt: Attempt, *, exchange: Exchange) -> Failed | None:
    body = await exchange.whole(call.policy.limits.reply_bytes)
    facts = facts_of(body)
    if exchange.status >= FIRST_ERROR_STATUS or facts is None or facts.error is not None:
        return unusable(attempt, body, facts=facts, retried=call.policy.retries.statuses)
    if attempt.texts is not None:
        attempt.texts.whole(body)
    cost_usd_pico = attempt.settle(facts)
    await answered(call, attempt, body=body, cost_usd_pico=cost_usd_pico)
    if call.kept is not None:
        call.kept.keep(body, attempt)
    return None


def unusable(attempt: Attempt, body: bytes, *, facts: Facts | None, retried: tuple[int, ...]) -> Failed:
    """A reply that is no answer: its outcome is told, and what the caller may see of it."""
    exchange = attempt.exchange
    assert exchange is not None  # noqa: S101  (it was sent)
    name = attempt.deployment.name
    if exchange.status >= FIRST_ERROR_STATUS:
        attempt.settle(facts)
        status, shown = from_upstream(exchange.status, body, upstream=name)
        headers = tuple(header for header in exchange.headers if header[0] in _WITH_ERROR)
        return Failed(
            status=status,
            body=shown,
            headers=headers,
            retry_after_ms=_retry_after_ms(headers),
            is_final=exchange.status not in retried,
        )
    if facts is None:
        attempt.settle(error="upstream_invalid_reply", aborted=True)
        refusal = refused(502, f"upstream {name}: the reply is no JSON object", code="upstream_invalid_reply")
        return Failed(refusal=refusal, is_final=True)
    attempt.settle(facts, error="upstream_error_reply")
    _, shown = from_upstream(502, body, upstream=name)
    return Failed(status=502, body=shown, headers=(RETRY,), is_final=True)


async def answered(call: Call, attempt: Attempt, *, body: bytes, cost_usd_pico: int | None) -> None:
    """The upstream's bytes, with our headers."""
    exchange = attempt.exchange
    assert exchange is not None  # noqa: S101  (it was sent)
    kept = [header for header in exchange.headers if header[0] in TO_CALLER or header[0] == b"content-type"]
    cost = [] if cost_usd_pico is None else [(b"x-tokenledger-cost", b"%d" % cost_usd_pico)]
    await call.answer.whole(exchange.status, body, headers=(*kept, *served_by(attempt), *cost))


def served_by(attempt: Attempt) -> Headers:
    """Who served a call, and its id in the ledger."""
    return (
        (b"x-route", attempt.deployment.name.encode()),
        (b"x-tokenledger-event", attempt.intent.event_id.encode()),
    )


async def _stream(call: Call, attempt: Attempt, *, exchange: Exchange) -> None:
    """Events as they come. The outcome is told before the caller's last byte is sent."""
    stream = Stream(usage_wanted=call.asked.usage_wanted or not attempt.deployment.spec.ask_for_usage)
    kept = tuple(header for header in exchange.headers if header[0] in TO_CALLER)
    await call.answer.begin((*served_by(attempt), *kept))
    pump = Pump(call, exchange, stream=stream, is_kept=attempt.texts is not None)
    error = await pump.run()
    facts = stream.facts
    ended_well = stream.done or (bool(facts.finishes) and all(facts.finishes.values()))
    if error is None and facts.error is not None:
        error = "upstream_error_event"
    elif error is None and not ended_well:
        error = "upstream_closed"
    if error is None and attempt.texts is not None:
        attempt.texts.streamed(pump.raw)
    attempt.settle(facts, error=error, stream=stream, aborted=error is not None and not facts.has_usage)
    if error is None or facts.error is not None:
        await call.answer.end(last=pump.last)
        if error is None and call.kept is not None and call.kept.wanted and pump.raw is not None:
            _keep_stream(call.kept, attempt, pump.raw)
    else:
        refusal = refused(502, f"upstream {attempt.deployment.name}: {error}", code=error)
        await call.answer.end(refusal, last=pump.last)


def _keep_stream(kept: Keeps, attempt: Attempt, raw: list[bytes]) -> None:
    """What was streamed, as one reply."""
    body = folded(b"".join(raw))
    if body is not None:
        kept.keep(body, attempt)


class Pump:
    """A stream's events on their way: each goes on in the turn of the loop that brought it, no task is woken for it."""

    __slots__ = (
        "_abandoned_bytes",
        "_answer",
        "_chunks",
        "_exchange",
        "_gone_at_bytes",
        "_heartbeat_s",
        "_peer",
        "due_s",
        "full",
        "last",
        "raw",
        "stream",
    )

    def __init__(self, call: Call, exchange: Exchange, *, stream: Stream, is_kept: bool) -> None:
        self._answer = call.answer
        self._peer = call.incoming.peer
        self._chunks = call.incoming.chunks
        self._exchange = exchange
        self._abandoned_bytes = call.policy.drain.abandoned_bytes
        self._gone_at_bytes: int | None = None
        self._heartbeat_s = call.policy.heartbeat_ms / MILLIS_PER_SECOND
        self.due_s = now_s() + self._heartbeat_s if self._heartbeat_s else NEVER
        self.stream = stream
        self.full = False
        """Whether the stream said that it is over."""
        self.last = b""
        """Events that wait for the outcome to be told."""
        self.raw: list[bytes] | None = [] if is_kept or (call.kept is not None and call.kept.wanted) else None
        """The stream as it came, where it may be kept."""

    async def run(self) -> str | None:
        """Until the stream's end; what went wrong."""
        try:
            await self._exchange.pass_to(self)
        except UpstreamError as broken:
            return broken.kind
        finally:
            self._peer.when_writable = None
        if not self.full:
            self.last = self.stream.close(now_us())
        elif not self._exchange.ended:
            # It said that it is over; what is left is the end of its framing.
            self._exchange.release()
            self._exchange.abandon(_AFTER_DONE_S)
        return None

    def take(self, data: bytes, at_s: float) -> None:
        """Some of it has come."""
        stream, peer = self.stream, self._peer
        if self.full:
            return
        if self._heartbeat_s:
            self.due_s = at_s + self._heartbeat_s
        if self.raw is not None:
            self.raw.append(data)
            if self._exchange.received_bytes > _LARGEST_KEPT_BYTES:
                self.raw = None
        shown = stream.feed(data, time_ns() // 1_000)
        if stream.done:
            self.full, self.last = True, shown
        elif stream.held_bytes > _LARGEST_EVENT_BYTES:
            self._exchange.fail("upstream_reply_too_large")
        elif peer.gone:
            self._drained()
        elif shown:
            peer.write(b"%x\r\n%b\r\n" % (len(shown), shown) if self._chunks else shown)
            if peer.paused:
                self._exchange.hold()
                peer.when_writable = self._exchange.release

    def _drained(self) -> None:
        """Nobody is there any more: what still comes is read for its usage, up to a bound."""
        received_bytes = self._exchange.received_bytes
        if self._gone_at_bytes is None:
            self._gone_at_bytes = received_bytes
        if received_bytes - self._gone_at_bytes > self._abandoned_bytes:
            self._exchange.fail("client_disconnected")

    def expire(self) -> None:
        """A silence as long as a heartbeat."""
        self.due_s = now_s() + self._heartbeat_s
        if not self._peer.paused:
            self._answer.heartbeat()


def _retry_after_ms(headers: Headers) -> int | None:
    for name, value in headers:
        if name == b"retry-after-ms" and value.isdigit():
            return _count(value)
        if name == b"retry-after" and value.isdigit():
            return _count(value) * MILLIS_PER_SECOND
    return None


def _count(digits: bytes) -> int:
    """What the digits say; Python reads no more than some thousand of them, and a billion is too long to wait for."""
    return int(digits) if len(digits) <= _MOST_DIGITS else 10**_MOST_DIGITS
