"""An answer that is checked before it is served: the cheapest tier first, a stronger one where the check fails.

Every attempt has its own intent and outcome. There is exactly one answer: one that passed, else the strongest tier's,
else the best there is.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from serving.gateway import cascade_metrics as metrics
from serving.gateway.agreeing import Agreement, agree
from serving.gateway.asking import Ask, Asker, is_the_callers
from serving.gateway.attempt import NOT_NEEDED, TOO_LATE
from serving.gateway.cascade_configuration import Cascade
from serving.gateway.choosing import Plan, Rung
from serving.gateway.configuration import MILLIS_PER_SECOND
from serving.gateway.errors import refused
from serving.gateway.gathering import Gathered
from serving.gateway.meaning import Embed, mean_the_same
from serving.gateway.relay import Failed
from serving.gateway.requests import Asked
from serving.gateway.said import Said
from serving.gateway.sending import Start
from serving.gateway.trial import Trial
from serving.gateway.verifying import Reason, check, wanted_of

PASSED: Final = "passed"
"""The answer passed the checks of itself."""
AGREED: Final = "agreed"
"""Another answer says the same."""
STRONGEST: Final = "strongest"
"""It is the strongest tier's, which nobody checks."""

_WORDS_DIFFER: Final = frozenset({Reason.DISAGREEMENT, Reason.NO_SECOND_OPINION, Reason.LOW_LOGPROB})
"""Reasons that leave an answer better than one with a defect of form."""


class Live(msgspec.Struct, frozen=True, gc=False):
    """What is left is the strongest tier, for a caller who streams: its answer need not be held back."""

    rung: Rung
    """The tier."""
    reason: str
    """Why it is asked."""


class Won(msgspec.Struct, frozen=True, gc=False):
    """The answer that serves."""

    gathered: Gathered
    """It."""
    check: str
    """`passed`, `agreed`, `strongest`, or what is wrong with it where there is nothing better."""


class Verification:
    """One operation's climb from the chosen tier upwards."""

    def __init__(
        self, asker: Asker, asked: Asked, *, plan: Plan, cascade: Cascade, start: Start, embed: Embed | None
    ) -> None:
        self._asker = asker
        self._asked = asked
        self._plan = plan
        self._cascade = cascade
        self._start = start
        self._embed = embed
        self._wanted = wanted_of(asked)
        self._route = asker.sender.route
        self._trials: list[Trial] = []
        self._second: Trial | None = None
        self._ahead: Trial | None = None
        self._waiting: Gathered | None = None
        """An answer that passed for itself and waits for its second opinion."""
        self.best: Won | None = None
        """The best of the answers that are not good enough."""
        self._sound: list[Said] = []
        """Answers that a stronger tier's is compared with."""
        self._prompt_tokens: int | None = None

    async def found(self, *, may_go_live: Callable[[], bool]) -> Won | Live | Failed:
        """The answer, or how to get it, within the operation's time."""
        why = "gateway_stopped"
        try:
            try:
                async with asyncio.timeout(self.left_s):
                    found = await self._climbed(may_go_live=may_go_live)
                why = "client_disconnected" if self._is_left else NOT_NEEDED
            except TimeoutError:
                why = TOO_LATE
                found = self._when_late()
            if isinstance(found, Won):
                self._settle(found.gathered, served=True)
                tier = found.gathered.attempt.intent.route_tier or ""
                metrics.answers(self._route, tier, check=found.check).inc()
        finally:
            await self._end_all(why)
        return found

    @property
    def left_s(self) -> float:
        """How long the operation may still take."""
        return max(self._cascade.deadline_ms / MILLIS_PER_SECOND - (time.perf_counter_ns() - self._start.ns) / 1e9, 0.0)

    @property
    def costs_usd_pico(self) -> list[int | None]:
        """What each attempt cost, 10⁻¹² USD; None where that is not wholly known."""
        return [attempt.cost_usd_pico for trial in self._trials for attempt in trial.attempts]

    @property
    def _is_left(self) -> bool:
        return self._asker.sender.incoming.peer.gone

    # The climb

    async def _climbed(self, *, may_go_live: Callable[[], bool]) -> Won | Live | Failed:
        first, *above = self._plan.rungs
        found = await self._first(first, above=above)
        last = Failed(is_final=True)
        for place, rung in enumerate(above, 1):
            if not isinstance(found, Reason) or self._is_left:
                break
            metrics.escalations(self._route, found).inc()
            is_last = place == len(above)
            if is_last and self._ahead is None and self._asked.stream and may_go_live():
                return Live(rung, found)
            answer = await self._stronger(rung, found, is_last=is_last)
            if isinstance(answer, Failed):
                found, last = Reason.UPSTREAM_ERROR, answer
                if is_the_callers(answer):
                    break
            else:
                found = Won(answer, STRONGEST) if is_last else await self._judged(answer)
        return self._at_the_end(last) if isinstance(found, Reason) else found

    async def _first(self, rung: Rung, *, above: Sequence[Rung]) -> Won | Failed | Reason:
        """The chosen tier's answer beside its second opinion: one that serves, or why to escalate."""
        answer = await self._begun(rung, above=above).result()
        if isinstance(answer, Failed):
            if is_the_callers(answer) or self._is_left:
                return answer
            instead = await self._second_instead(rung)
            if instead is None:
                return Reason.UPSTREAM_ERROR
            answer = instead
        self._prompt_tokens = answer.said.prompt_tokens if answer.said is not None else None
        wrong = check(answer.said, self._wanted, checks=self._cascade.checks)
        if wrong is not None or answer.said is None:
            return self._rejected(answer, wrong or Reason.FORMAT)
        self._sound.append(answer.said)
        if self._cascade.second_opinion is None:
            return Won(answer, PASSED)
        self._waiting = answer
        judged = await self._with_second(answer)
        self._waiting = None
        return judged

    def _begun(self, rung: Rung, *, above: Sequence[Rung]) -> Trial:
        """The first tier is asked, and what goes on beside it: its second opinion, the next tier where it is likely."""
        cascade, second = self._cascade, self._cascade.second_opinion
        others = tuple(name for name in rung.upstreams if name != second)
        first = self._trial(others or rung.upstreams, role="primary")
        if second is not None and others:
            self._second = self._trial((second,), role="verify", reason="second_opinion", most=1, streamed=False)
        if above and cascade.speculate is not None and self._plan.escalation >= cascade.speculate:
            ahead = above[0].upstreams[:1]
            self._ahead = self._trial(ahead, role="hedge", reason=Reason.SPECULATION, most=1, streamed=True)
        return first

    def _trial(
        self,
        upstreams: tuple[str, ...],
        *,
        role: str,
        reason: str | None = None,
        most: int | None = None,
        streamed: bool | None = None,
        spares: int = 1,
    ) -> Trial:
        """Upstreams are asked from now on. `spares` attempts are left for stronger tiers."""
        ask = Ask(
            upstreams=upstreams,
            role=role,
            reason=reason,
            streamed=self._asked.stream if streamed is None else streamed,
            most=most or self._asker.sender.policy.retries.attempts,
            bound=self._cascade.attempts - (0 if role == "hedge" else spares),
        )
        trial = Trial(lambda trial: self._asker.answer(ask, trial))
        self._trials.append(trial)
        return trial

    async def _second_instead(self, rung: Rung) -> Gathered | None:
        """The second opinion as the answer, where the tier's other upstreams have none and it is of the tier."""
        second, self._second = self._second, None
        if second is None or self._cascade.second_opinion not in rung.upstreams:
            return None
        answer = await second.result()
        return answer if isinstance(answer, Gathered) else None

    async def _with_second(self, answer: Gathered) -> Won | Reason:
        """An answer that passed for itself, beside its second opinion."""
        opinion = await self._second.result() if self._second is not None else None
        if not isinstance(opinion, Gathered) or opinion.said is None or answer.said is None:
            metrics.opinions(self._route, "missing").inc()
            if self._cascade.without_second_opinion == "accept":
                return Won(answer, PASSED)
            return self._rejected(answer, Reason.NO_SECOND_OPINION)
        if await self._say_the_same(answer.said, opinion.said):
            metrics.opinions(self._route, "agreed").inc()
            return Won(answer, AGREED)
        metrics.opinions(self._route, "disagreed").inc()
        self._sound.append(opinion.said)
        return self._rejected(answer, Reason.DISAGREEMENT)

    async def _stronger(self, rung: Rung, reason: Reason, *, is_last: bool) -> Gathered | Failed:
        """The next tier's answer: the one asked ahead, if it was."""
        ahead, self._ahead = self._ahead, None
        upstreams = rung.upstreams
        if ahead is not None:
            answer = await ahead.result()
            metrics.speculations(self._route, "failed" if isinstance(answer, Failed) else "used").inc()
            if isinstance(answer, Gathered) or is_the_callers(answer):
                return answer
            upstreams = (*upstreams[1:], upstreams[0])
        return await self._trial(upstreams, role="escalation", reason=reason, spares=0 if is_last else 1).result()

    async def _judged(self, answer: Gathered) -> Won | Reason:
        """An answer of a tier between: it needs to pass, and to agree with one of those before it."""
        wrong = check(answer.said, self._wanted, checks=self._cascade.checks)
        if wrong is not None or answer.said is None:
            return self._rejected(answer, wrong or Reason.FORMAT)
        if not self._sound:
            return Won(answer, PASSED)
        for earlier in self._sound:
            if await self._say_the_same(answer.said, earlier):
                return Won(answer, AGREED)
        self._sound.append(answer.said)
        return self._rejected(answer, Reason.DISAGREEMENT)

    async def _say_the_same(self, first: Said, second: Said) -> bool:
        cascade = self._cascade
        found = agree(first, second, how=cascade.agreement, is_json=bool(self._wanted.format))
        if found is Agreement.UNDECIDED:
            return await mean_the_same(first.text, second.text, embed=self._embed, least_similarity=cascade.similarity)
        return found is Agreement.SAME

    # The end

    def _rejected(self, answer: Gathered, reason: Reason) -> Reason:
        """It is not served, unless there is nothing better; either way it is on the house."""
        self._settle(answer, served=False)
        if self.best is None or reason in _WORDS_DIFFER:
            self.best = Won(answer, reason)
        return reason

    def _at_the_end(self, last: Failed) -> Won | Failed:
        """Nothing is left to try."""
        if self.best is not None:
            return self.best
        if last.refusal is None and not last.status:
            return Failed(refusal=refused(503, "no upstream of this model is available", code="unavailable"))
        return last

    def _when_late(self) -> Won | Failed:
        if self._waiting is not None:
            return Won(self._waiting, Reason.NO_SECOND_OPINION)
        message = f"no answer within {self._cascade.deadline_ms} ms"
        return self._at_the_end(Failed(refusal=refused(504, message, code=TOO_LATE), is_final=True))

    def _settle(self, answer: Gathered, *, served: bool | None) -> None:
        if not answer.attempt.settled:
            answer.settle(served=served)

    async def _end_all(self, why: str) -> None:
        """Whatever still goes on ends, and whatever came and is not told yet is told."""
        if self._ahead is not None:
            metrics.speculations(self._route, "cancelled").inc()
        for trial in self._trials:
            trial.end(why, input_tokens_seen=self._prompt_tokens)
        if self._trials:
            await asyncio.wait({trial.task for trial in self._trials})
        for trial in self._trials:
            if isinstance(found := trial.found(), Gathered):
                self._settle(found, served=None if self._is_left else False)
