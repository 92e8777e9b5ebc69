"""The life of one call: admitted, planned, tried until it is answered or nothing is left to try.

Whatever happens, every intent that became durable gets its one outcome, and the caller gets one answer.
"""

import asyncio
import random
import time
from typing import Final, Protocol

from serving.gateway import metrics
from serving.gateway.answer import Answer
from serving.gateway.attempt import Attempt, now_us
from serving.gateway.breaker import RetryBudget
from serving.gateway.choosing import Choice, Features, Plan, replica
from serving.gateway.configuration import MILLIS_PER_SECOND, Configuration, Route
from serving.gateway.deadlines import Deadlines, now_s
from serving.gateway.errors import JSON, refused
from serving.gateway.fleet import Fleet, Server
from serving.gateway.incoming import Incoming
from serving.gateway.records import Accounting, Admission, Admitted, Refusal
from serving.gateway.relay import Failed, relay
from serving.gateway.requests import Asked
from serving.gateway.routing import Caller, Router
from serving.gateway.sending import Errand, Sender

_BACKOFF_MS: Final = (50, 150)


class Service(Protocol):
    """What a call needs of the process it runs in."""

    accounting: Accounting
    admission: Admission
    choose: Choice
    deadlines: Deadlines
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
        "_began_ns",
        "_began_us",
        "_headers",
        "_route_ns",
        "admitted",
        "answer",
        "api",
        "asked",
        "deployments",
        "incoming",
        "plan",
        "policy",
        "sender",
        "service",
    )

    def __init__(self, service: Service, incoming: Incoming, *, answer: Answer, asked: Asked, api: str) -> None:
        self._began_us = now_us()
        self._began_ns = time.perf_counter_ns()
        self._route_ns = 0
        self._headers = 0
        self.service = service
        self.incoming = incoming
        self.answer = answer
        self.asked = asked
        self.api = api
        # The configuration of the request's beginning holds to its end.
        self.policy = service.configuration
        self.deployments = service.fleet.deployments
        self.sender = Sender(service, incoming, policy=self.policy, api=api, route=asked.model)
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
        choosing_ns = time.perf_counter_ns()
        self.plan = self.sender.plan = self._planned(route)
        self._route_ns = time.perf_counter_ns() - choosing_ns
        self.service.retries.requested()
        failed = await self._try_all()
        if failed is not None and not incoming.peer.gone:
            await self._give_up(failed)

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

    async def _try_all(self) -> Failed | None:
        """None once the caller has an answer, else the last failure."""
        policy = self.policy.retries
        last: Failed | None = None
        for name in self.plan.upstreams:
            deployment = self.deployments[name]
            tried: list[Server] = []
            while len(tried) < policy.attempts_per_upstream and self.sender.attempts < policy.attempts:
                server = replica(deployment.servers, tried, now_s=now_s(), draw=random.random)
                if server is None or (last is not None and not await self._may_retry(last, server, tried=tried)):
                    break
                failed = await self.sender.attempt(
                    deployment, server, errand=self._errand(name, last), take=self._relayed
                )
                if failed is None or failed.is_final:
                    return failed
                last = failed
                tried.append(server)
        return last or Failed(refusal=refused(503, "no upstream of this model is available", code="unavailable"))

    async def _relayed(self, attempt: Attempt) -> Failed | None:
        if self._headers:
            tell(self.answer, attempt, kept=self._headers)
        return await relay(self, attempt)

    def _errand(self, name: str, last: Failed | None) -> Errand:
        return Errand(
            role=self._role(name),
            reason=None if last is None else reason_of(last),
            asked=self.asked,
            began_us=self._began_us,
            began_ns=self._began_ns,
            route_ns=self._route_ns,
        )

    def _role(self, name: str) -> str:
        if self.sender.attempts == 0:
            return "primary"
        return "retry" if name == self.plan.upstreams[0] else "fallback"

    async def _may_retry(self, last: Failed, server: Server, *, tried: list[Server]) -> bool:
        """Whether the retry budget has one more; waits a little where the same replica is asked again."""
        if server in tried:
            longest_ms = self.policy.retries.longest_wait_ms
            wait_ms = max(last.retry_after_ms or 0, random.uniform(*_BACKOFF_MS))  # noqa: S311 - no secret
            if wait_ms > longest_ms:
                return False
            await asyncio.sleep(wait_ms / MILLIS_PER_SECOND)
        if self.incoming.peer.gone:
            return False
        if not self.service.retries.take():
            metrics.RETRIES_DENIED.inc()
            return False
        # The next attempt begins here; the last one's time is its own.
        self._began_us, self._began_ns, self._route_ns = now_us(), time.perf_counter_ns(), 0
        return True

    async def _give_up(self, failed: Failed) -> None:
        """The last failure as the caller's answer."""
        if failed.refusal is not None:
            await self.answer.refuse(failed.refusal)
        else:
            await self.answer.whole(failed.status, failed.body, headers=(JSON, *failed.headers))


def tell(answer: Answer, attempt: Attempt, *, kept: int) -> None:
    """Headers that say which tier serves; those of an earlier attempt go."""
    tier = attempt.intent.route_tier or ""
    answer.headers[kept:] = [
        (b"x-tokenledger-tier", tier.encode()),
        (b"x-tokenledger-attempts", b"%d" % attempt.intent.attempt_no),
    ]


def reason_of(failed: Failed) -> str:
    """Why another attempt is made after this one, in one word of a closed set."""
    if failed.refusal is not None:
        return failed.refusal.code or "upstream_error"
    return "rate_limited" if failed.status == _TOO_MANY else "upstream_error"


_TOO_MANY: Final = 429


def unknown_model(model: str, api: str) -> Refusal:
    """As OpenAI says it."""
    what = f"The model `{model[:128]}` does not exist or does not serve {api}."
    return refused(404, what, code="model_not_found", param="model")
