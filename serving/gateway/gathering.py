"""A reply that is held back until somebody has judged it: whole as it came, or a stream put together.

Its outcome is told by whoever judges it; what is no answer tells its own.
"""

from typing import Final

import msgspec

from serving.gateway.attempt import NOT_NEEDED, TOO_LATE, Attempt, now_us
from serving.gateway.configuration import Configuration
from serving.gateway.connection import Exchange, UpstreamError
from serving.gateway.deadlines import NEVER
from serving.gateway.errors import refused
from serving.gateway.folding import folded
from serving.gateway.relay import FIRST_ERROR_STATUS, Failed, is_stream, unusable
from serving.gateway.replies import Facts, facts_of
from serving.gateway.said import Said, said
from serving.gateway.sse import Stream

_AFTER_DONE_S: Final = 1.0
_OURS: Final = frozenset({NOT_NEEDED, TOO_LATE})


class Gathered(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An answer nobody has seen yet."""

    attempt: Attempt
    """The attempt that brought it."""
    body: bytes
    """A whole chat completion."""
    facts: Facts
    """What the ledger learns from it."""
    said: Said | None
    """What it says; None where it is no completion."""
    stream: Stream | None = None
    """The stream it came as."""
    shown: bytes = b""
    """The events of that stream, as the caller shall see them."""

    def settle(self, *, served: bool | None) -> int | None:
        """Tell what came of it, and whether it is the answer; its cost, 10⁻¹² USD, where that is known."""
        if self.attempt.texts is not None:
            self.attempt.texts.whole(self.body)
        return self.attempt.settle(self.facts, stream=self.stream, served=served)


class _Bucket:
    """Takes a stream's events and keeps them."""

    def __init__(self, exchange: Exchange, stream: Stream, *, limit_bytes: int) -> None:
        self._exchange = exchange
        self._limit_bytes = limit_bytes
        self.due_s = NEVER
        self.full = False
        self.stream = stream
        self.raw: list[bytes] = []
        self.shown: list[bytes] = []

    def take(self, data: bytes, _at_s: float) -> None:
        """Some of it has come."""
        if self.full:
            return
        self.raw.append(data)
        self.shown.append(self.stream.feed(data, now_us()))
        if self.stream.done:
            self.full = True
        elif self._exchange.received_bytes > self._limit_bytes:
            self._exchange.fail("upstream_reply_too_large")

    def expire(self) -> None:
        """Nobody waits for a sign of life here."""

    async def filled(self) -> str | None:
        """Until the stream's end; what went wrong."""
        exchange = self._exchange
        try:
            await exchange.pass_to(self)
        except UpstreamError as broken:
            return broken.kind
        if not self.full:
            self.shown.append(self.stream.close(now_us()))
        elif not exchange.ended:
            # It said that it is over; what is left is the end of its framing.
            exchange.release()
            exchange.abandon(_AFTER_DONE_S)
        return _wrong(self.stream)


def _wrong(stream: Stream) -> str | None:
    facts = stream.facts
    if facts.error is not None:
        return "upstream_error_event"
    ended_well = stream.done or (bool(facts.finishes) and all(facts.finishes.values()))
    return None if ended_well else "upstream_closed"


async def gather(attempt: Attempt, policy: Configuration, *, usage_wanted: bool) -> Gathered | Failed:
    """The whole reply, or why it is no answer. Raises UpstreamError."""
    exchange = attempt.exchange
    assert exchange is not None  # noqa: S101  (it was sent)
    stream = Stream(usage_wanted=usage_wanted)
    try:
        if attempt.intent.stream:
            await exchange.head()
            if exchange.status < FIRST_ERROR_STATUS and is_stream(exchange):
                return await _streamed(attempt, exchange, stream=stream, limit_bytes=policy.limits.reply_bytes)
        body = await exchange.whole(policy.limits.reply_bytes)
    except UpstreamError as error:
        if error.kind not in _OURS:
            raise
        attempt.settle(error=error.kind, stream=stream, aborted=True)
        return Failed(is_final=True)
    facts = facts_of(body)
    if exchange.status >= FIRST_ERROR_STATUS or facts is None or facts.error is not None:
        return unusable(attempt, body, facts=facts, retried=policy.retries.statuses)
    attempt.ended_at_us = now_us()
    return Gathered(attempt=attempt, body=body, facts=facts, said=said(body))


async def _streamed(attempt: Attempt, exchange: Exchange, *, stream: Stream, limit_bytes: int) -> Gathered | Failed:
    bucket = _Bucket(exchange, stream, limit_bytes=limit_bytes)
    error = await bucket.filled()
    facts = stream.facts
    body = folded(b"".join(bucket.raw)) if error is None else None
    if body is None:
        error = error or "upstream_invalid_reply"
        attempt.settle(facts, error=error, stream=stream, aborted=not facts.has_usage)
        name = attempt.deployment.name
        return Failed(refusal=refused(502, f"upstream {name}: {error}", code=error), is_final=error in _OURS)
    attempt.ended_at_us = now_us()
    return Gathered(
        attempt=attempt, body=body, facts=facts, said=said(body), stream=stream, shown=b"".join(bucket.shown)
    )
