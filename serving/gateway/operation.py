"""The life of one call: admitted, planned, tried until it is answered or nothing is left to try.

Whatever happens, every intent that became durable gets its one outcome, and the caller gets one answer.
"""

import random
import time
from typing import Final, Protocol

from serving.gateway.answer import Answer
from serving.gateway.asking import Asker, is_the_callers
from serving.gateway.attempt import Attempt, now_us
from serving.gateway.breaker import RetryBudget
from serving.gateway.caching import Caching, Seat
from serving.gateway.capturing import Capturing
from serving.gateway.cascade import Live, Verification
from serving.gateway.cascade_configuration import Cascade
from serving.gateway.checked import deliver, served
from serving.gateway.choosing import Choice, Features, Plan, replica
from serving.gateway.configuration import Configuration, Route
from serving.gateway.deadlines import Deadlines, now_s
from serving.gateway.errors import JSON, refused
from serving.gateway.fleet import Fleet, Server
from serving.gateway.incoming import Incoming
from serving.gateway.meaning import Embed
from serving.gateway.records import Accounting, Admission, Admitted, Refusal
from serving.gateway.relay import Failed, relay
from serving.gateway.requests import Asked
from serving.gateway.routing import Caller, Router
from serving.gateway.sending import Errand, Sender, Start, may_retry, reason_of


class Service(Protocol):
    """What a call needs of the process it runs in."""

    accounting: Accounting
    admission: Admission
    caching: Seat | None
    capturing: Capturing | None
    choose: Choice
    deadlines: Deadlines
    embed: Embed | None
    features: Features
    fleet: Fleet
    retries: RetryBudget
    router: Router | None

    @property
    def configuration(self) -> Configuration:
        """The configuration at work."""


class Operation:
    """One call."""

    __slots__ = (
        "_base",
        "_bound",
        "_due_s",
        "_first",
        "_headers",
        "_start",
        "admitted",
        "answer",
        "api",
        "asked",
        "deployments",
        "incoming",
        "kept",
        "plan",
        "policy",
        "sender",
        "service",
    )

    def __init__(self, service: Service, incoming: Incoming, *, answer: Answer, asked: Asked, api: str) -> None:
        self._start = Start(now_us(), time.perf_counter_ns())
        self._headers = 0
        self._base = 0
        self._due_s: float | None = None
        self._first: tuple[str, str | None] = ("primary", None)
        self.service = service
        self.incoming = incoming
        self.answer = answer
        self.asked = asked
        self.api = api
        self.sender = Sender(service, incoming, api=api, route=asked.model)
        self.policy = self.sender.policy
        self.deployments = self.sender.deployments
        self._bound = self.policy.retries.attempts
        self.kept: Caching | None = None
        """The cache this request was looked for in."""
        self.admitted: Admitted
        self.plan: Plan

    async def run(self) -> None:
        """From admission to the last byte."""
        incoming, asked = self.incoming, self.asked
        admitted = self.service.admission.admit(
            authorization=incoming.authorization, api=self.api, model=asked.model, feature=incoming.feature
        )
        if isinstance(admitted, Refusal):
            await self.answer.refuse(admitted)
            return
        self.admitted = self.sender.admitted = admitted
        self.answer.headers += admitted.headers
        route = self.policy.routes.get(asked.model)
        if route is None or self.api not in route.apis:
            await self.answer.refuse(unknown_model(asked.model, self.api))
            return
        if route.cache is not None and self.api == "chat" and await self._is_kept():
            return
        choosing_ns = time.perf_counter_ns()
        self.plan = self.sender.plan = self._planned(route)
        self._start = Start(*self._start[:2], time.perf_counter_ns() - choosing_ns, self._start.cache_ns)
        self.service.retries.requested()
        failed = await self._tried(route)
        if failed is not None and not incoming.peer.gone:
            await self._give_up(failed)

    async def _is_kept(self) -> bool:
        """Whether the cache has answered."""
        seat, router = self.service.caching, self.service.router
        if seat is None:
            return False
        self.kept = Caching(seat, self, accounting=self.service.accounting, start=self._start)
        found = await self.kept.answers(router.policy.version if router is not None else "")
        self._start = self._start._replace(cache_ns=self.kept.cache_ns)
        return found

    async def _tried(self, route: Route) -> Failed | None:
        """None once the caller has an answer, else the last failure."""
        if len(self.plan.rungs) < _TWO or route.cascade is None:
            return await self._try_all(self.plan.upstreams)
        return await self._checked(route.cascade)

    def _planned(self, route: Route) -> Plan:
        service, asked = self.service, self.asked
        if route.cascade is None or service.router is None or self.api != "chat":
            return service.choose(asked, route, features=service.features, deployments=self.deployments)
        caller = Caller(
            operation_id=self.incoming.request_id,
            tenant_id=self.admitted.tenant_id,
            api_key_id=self.admitted.api_key_id,
            feature=self.admitted.feature or "",
            session_id=self.incoming.session_id,
        )
        plan = service.router.plan(asked, route, caller=caller, features=service.features, deployments=self.deployments)
        self.answer.headers += plan.told
        self._headers = len(self.answer.headers)
        return plan

    async def _checked(self, cascade: Cascade) -> Failed | None:
        """The answer of the cheapest tier that passes."""
        service, asked, sender = self.service, self.asked, self.sender
        wants_logprobs = cascade.checks.min_logprob is not None
        asker = Asker(sender, asked, start=self._start, retries=service.retries, min_logprob_wanted=wants_logprobs)
        verification = Verification(
            asker, asked, plan=self.plan, cascade=cascade, start=self._start, embed=service.embed
        )
        found = await served(self, verification)
        if isinstance(found, Live):
            self._begin_again("escalation", found.reason, most=cascade.attempts)
            self._due_s = now_s() + verification.left_s
            found = await self._try_all(found.rung.upstreams)
        if found is None or self.incoming.peer.gone:
            return found
        del self.answer.headers[self._headers :]
        if verification.best is not None:
            await deliver(self, verification.best, costs_usd_pico=verification.costs_usd_pico)
            return None
        weaker = self.plan.upstreams[sum(len(rung.upstreams) for rung in self.plan.rungs) :]
        if not weaker or is_the_callers(found):
            return found
        self._begin_again("fallback", reason_of(found), most=cascade.attempts)
        return await self._try_all(weaker)

    def _begin_again(self, role: str, reason: str, *, most: int) -> None:
        """Attempts from here on are of this role; there may be so many with those before."""
        self._start = Start(now_us(), time.perf_counter_ns())
        self._first = (role, reason)
        self._base = self.sender.attempts
        self._bound = min(most, self._base + self.policy.retries.attempts)

    async def _try_all(self, upstreams: tuple[str, ...]) -> Failed | None:
        """None once the caller has an answer, else the last failure."""
        most = self.policy.retries.attempts_per_upstream
        last: Failed | None = None
        for name in upstreams:
            deployment = self.deployments[name]
            tried: list[Server] = []
            while len(tried) < most and self.sender.attempts < self._bound and not self._is_late:
                server = replica(deployment.servers, tried, now_s=now_s(), draw=random.random)
                if server is None or (last is not None and not await self._may_retry(last, server, tried=tried)):
                    break
                errand = self._errand(last, is_other=name != upstreams[0])
                failed = await self.sender.attempt(deployment, server, errand=errand, take=self._relayed)
                if failed is None or failed.is_final:
                    return failed
                last = failed
                tried.append(server)
        return last or Failed(refusal=refused(503, "no upstream of this model is available", code="unavailable"))

    async def _relayed(self, attempt: Attempt) -> Failed | None:
        if self._headers:
            tell(self.answer, attempt, kept=self._headers)
        return await relay(self, attempt)

    def _errand(self, last: Failed | None, *, is_other: bool) -> Errand:
        role, reason = self._first
        if self.sender.attempts > self._base:
            role = "fallback" if is_other else "retry"
        if last is not None:
            reason = reason_of(last)
        return Errand(role=role, reason=reason, asked=self.asked, start=self._start, due_s=self._due_s)

    @property
    def _is_late(self) -> bool:
        return self._due_s is not None and now_s() >= self._due_s

    async def _may_retry(self, last: Failed, server: Server, *, tried: list[Server]) -> bool:
        if not await may_retry(self.sender, self.service.retries, last=last, server=server, tried=tried):
            return False
        # The next attempt begins here; the last one's time is its own.
        self._start = Start(now_us(), time.perf_counter_ns())
        return True

    async def _give_up(self, failed: Failed) -> None:
        """The last failure as the caller's answer."""
        if failed.refusal is not None:
            await self.answer.refuse(failed.refusal)
        else:
            await self.answer.whole(failed.status, failed.body, headers=(JSON, *failed.headers))


_TWO: Final = 2
"""Tiers that a check needs: nobody checks the strongest."""


def tell(answer: Answer, attempt: Attempt, *, kept: int) -> None:
    """Headers that say which tier serves; those of an earlier attempt go."""
    tier = attempt.intent.route_tier or ""
    answer.headers[kept:] = [
        (b"x-tokenledger-tier", tier.encode()),
        (b"x-tokenledger-attempts", b"%d" % attempt.intent.attempt_no),
    ]


def unknown_model(model: str, api: str) -> Refusal:
    """As OpenAI says it."""
    what = f"The model `{model[:128]}` does not exist or does not serve {api}."
    return refused(404, what, code="model_not_found", param="model")
