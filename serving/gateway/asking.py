"""A tier's upstreams asked one after another until one answers; the answer is held back, not shown."""

import random
import time
from typing import Final

import msgspec

from serving.gateway.attempt import Attempt, now_us
from serving.gateway.breaker import RetryBudget
from serving.gateway.choosing import replica
from serving.gateway.deadlines import now_s
from serving.gateway.errors import refused
from serving.gateway.fleet import Deployment, Server
from serving.gateway.gathering import Gathered, gather
from serving.gateway.relay import Failed
from serving.gateway.requests import Asked, varied
from serving.gateway.sending import Errand, Sender, Start, may_retry, reason_of
from serving.gateway.trial import Trial

_FIRST_CALLERS_STATUS: Final = 400
_FIRST_SERVER_STATUS: Final = 500
_NOT_THE_CALLERS: Final = frozenset({408, 429})
_TOO_LONG_FOR_IT: Final = b"context_length_exceeded"
_OF_OURS: Final = frozenset({"outbox_full"})


class Ask(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is asked of whom, and how often at most."""

    upstreams: tuple[str, ...]
    """Upstreams in the order they are tried."""
    role: str
    """Role of the first attempt; those after it are retries and fallbacks."""
    reason: str | None = None
    """Why it is made."""
    streamed: bool
    """Whether the answer is asked for as a stream."""
    most: int
    """Most attempts."""
    bound: int
    """Most attempts of the operation with these."""


class Asker:
    """Makes the attempts of one operation whose answers are held back."""

    __slots__ = ("_asked", "_retries", "_start", "min_logprob_wanted", "sender", "taken")

    def __init__(
        self, sender: Sender, asked: Asked, *, start: Start, retries: RetryBudget, min_logprob_wanted: bool
    ) -> None:
        self._asked = asked
        self._start: Start | None = start
        self._retries = retries
        self.min_logprob_wanted = min_logprob_wanted
        self.sender = sender
        self.taken = 0
        """Attempts that were begun."""

    async def answer(self, ask: Ask, trial: Trial) -> Gathered | Failed:
        """The first answer, or the last failure."""
        sender, policy = self.sender, self.sender.policy.retries
        last: Failed | None = None
        made = 0
        for name in ask.upstreams:
            deployment = sender.deployments[name]
            tried: list[Server] = []
            while made < ask.most and len(tried) < policy.attempts_per_upstream and self.taken < ask.bound:
                server = replica(deployment.servers, tried, now_s=now_s(), draw=random.random)
                if server is None or (last is not None and not await self._may_retry(last, server, tried=tried)):
                    break
                self.taken += 1
                made += 1
                found = await self._attempt(deployment, server, ask=ask, last=last, trial=trial)
                if not isinstance(found, Failed) or is_the_callers(found) or self._is_unwanted(trial):
                    return found
                last = found
                tried.append(server)
                if found.is_final:
                    break
        return last or Failed(refusal=refused(503, "no upstream of this tier is available", code="unavailable"))

    def _is_unwanted(self, trial: Trial) -> bool:
        """Whether nobody waits for an answer: none may be paid for."""
        return trial.is_ended or self.sender.incoming.peer.gone

    async def _may_retry(self, last: Failed, server: Server, *, tried: list[Server]) -> bool:
        return await may_retry(self.sender, self._retries, last=last, server=server, tried=tried)

    async def _attempt(
        self, deployment: Deployment, server: Server, *, ask: Ask, last: Failed | None, trial: Trial
    ) -> Gathered | Failed:
        start, self._start = self._start or Start(now_us(), time.perf_counter_ns()), None
        wants_logprobs = self.min_logprob_wanted and deployment.spec.logprobs
        errand = Errand(
            role=ask.role if last is None else "retry" if deployment.name == ask.upstreams[0] else "fallback",
            reason=ask.reason if last is None else reason_of(last),
            asked=varied(self._asked, stream=ask.streamed, logprobs=wants_logprobs),
            start=start,
            intended=trial.intended,
        )
        usage_wanted = self._asked.usage_wanted or not deployment.spec.ask_for_usage

        async def take(attempt: Attempt) -> Gathered | Failed:
            return await gather(attempt, self.sender.policy, usage_wanted=usage_wanted)

        return await self.sender.attempt(deployment, server, errand=errand, take=take)


def is_the_callers(failed: Failed) -> bool:
    """Whether another upstream would say the same: the request is wrong, or it may not be made.

    A prompt too long for one model may fit a stronger one.
    """
    if failed.refusal is not None:
        status = failed.refusal.http_status
        return status < _FIRST_SERVER_STATUS or failed.refusal.code in _OF_OURS
    if _TOO_LONG_FOR_IT in failed.body:
        return False
    return _FIRST_CALLERS_STATUS <= failed.status < _FIRST_SERVER_STATUS and failed.status not in _NOT_THE_CALLERS
