"""A checked answer on its way to the caller: whole, or as the stream that was asked for, after signs of life."""

import asyncio
from collections.abc import Awaitable
from typing import Protocol

import msgspec

from serving.gateway.answer import Answer, Headers
from serving.gateway.attempt import Attempt
from serving.gateway.cascade import AGREED, PASSED, STRONGEST, Live, Verification, Won
from serving.gateway.configuration import MILLIS_PER_SECOND, Configuration
from serving.gateway.errors import JSON
from serving.gateway.incoming import Incoming
from serving.gateway.relay import TO_CALLER, Failed, Keeps, served_by
from serving.gateway.replaying import replayed
from serving.gateway.requests import Asked
from serving.gateway.said import without_logprobs
from serving.gateway.sending import Sender

_SOUND: frozenset[str] = frozenset({PASSED, AGREED, STRONGEST})
_NO: frozenset[bytes] = frozenset({b"false", b"null"})


class Call(Protocol):
    """What is needed of the call."""

    answer: Answer
    asked: Asked
    incoming: Incoming
    policy: Configuration
    sender: Sender

    @property
    def kept(self) -> Keeps | None:
        """Where its answer may be kept."""


async def served(call: Call, verification: Verification) -> Failed | Live | None:
    """None once the caller has the answer; else the failure, or what is left to do."""
    found = await _with_signs_of_life(call, verification.found(may_go_live=lambda: not call.answer.status))
    if isinstance(found, Won) and not call.incoming.peer.gone:
        await deliver(call, found, costs_usd_pico=verification.costs_usd_pico)
    return None if isinstance(found, Won) else found


async def _with_signs_of_life(call: Call, work: Awaitable[Won | Live | Failed]) -> Won | Live | Failed:
    """A caller who streams gets a comment now and then, so that nobody between closes the connection."""
    beat_s = call.policy.heartbeat_ms / MILLIS_PER_SECOND
    if not call.asked.stream or not beat_s:
        return await work
    task = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait({task}, timeout=beat_s))[0]:
            if not call.incoming.peer.gone and not call.incoming.peer.paused:
                await call.answer.begin()
                call.answer.heartbeat()
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})


async def deliver(call: Call, won: Won, *, costs_usd_pico: list[int | None]) -> None:
    """To the caller."""
    attempt, answer = won.gathered.attempt, call.answer
    hidden = _hides_logprobs(call.asked, won)
    body = without_logprobs(won.gathered.body) if hidden else won.gathered.body
    headers = (*_headers(attempt, won, attempts=call.sender.attempts), *_cost(costs_usd_pico))
    if not call.asked.stream:
        await answer.whole(200, body, headers=(JSON, *headers))
        _keep(call, won, body)
        return
    shown = won.gathered.shown
    events = [shown] if shown and not hidden else replayed(body, usage_wanted=call.asked.usage_wanted)
    await answer.begin(headers)
    for event in events:
        await answer.part(event)
    await answer.end()
    _keep(call, won, body)


def _keep(call: Call, won: Won, body: bytes) -> None:
    """Only an answer that passed may be given again."""
    if call.kept is not None and won.check in _SOUND:
        call.kept.keep(body, won.gathered.attempt)


def _hides_logprobs(asked: Asked, won: Won) -> bool:
    """Whether the answer has log-probabilities that the caller did not ask for."""
    mine = bytes(asked.members.get("logprobs", msgspec.Raw(b"null"))) in _NO
    return mine and won.gathered.said is not None and won.gathered.said.mean_logprob is not None


def _headers(attempt: Attempt, won: Won, *, attempts: int) -> Headers:
    exchange = attempt.exchange
    kept = [header for header in exchange.headers if header[0] in TO_CALLER] if exchange is not None else []
    return (
        *kept,
        *served_by(attempt),
        (b"x-tokenledger-tier", (attempt.intent.route_tier or "").encode()),
        (b"x-tokenledger-attempts", b"%d" % attempts),
        (b"x-tokenledger-check", str(won.check).encode()),
    )


def _cost(costs: list[int | None]) -> Headers:
    """What the whole operation cost, where that is wholly known."""
    known = [cost for cost in costs if cost is not None]
    return ((b"x-tokenledger-cost", b"%d" % sum(known)),) if len(known) == len(costs) else ()
