"""The life of one call: admitted, planned, tried until it is answered or nothing is left to try.

Whatever happens, every intent that became durable gets its one outcome, and the caller gets one answer.
"""

import asyncio
import random
import time
from typing import Final, Protocol

from serving.gateway import metrics
from serving.gateway.answer import Answer
from serving.gateway.attempt import Attempt, now_us, with_reservation
from serving.gateway.breaker import RetryBudget
from serving.gateway.choosing import Choice, Features, Plan, replica
from serving.gateway.configuration import MILLIS_PER_SECOND, Configuration
from serving.gateway.connection import UpstreamError
from serving.gateway.deadlines import Deadlines, now_s
from serving.gateway.errors import JSON, refused
from serving.gateway.fleet import Deployment, Fleet, Server
from serving.gateway.ids import new_id
from serving.gateway.incoming import Incoming
from serving.gateway.records import Accounting, Admission, Admitted, Intent, OutboxFullError, Refusal
from serving.gateway.relay import Failed, relay
from serving.gateway.requests import Asked, for_upstream

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

    @property
    def configuration(self) -> Configuration:
        """The configuration at work."""


class Operation:
    """One call."""

    __slots__ = (
        "_attempts",
        "_began_ns",
        "_began_us",
        "_route_ns",
        "admitted",
        "answer",
        "api",
        "asked",
        "deployments",
        "incoming",
        "plan",
        "policy",
        "service",
    )

    def __init__(self, service: Service, incoming: Incoming, *, answer: Answer, asked: Asked, api: str) -> None:
        self._began_us = now_us()
        self._began_ns = time.perf_counter_ns()
        self._attempts = 0
        self._route_ns = 0
        self.service = service
        self.incoming = incoming
        self.answer = answer
        self.asked = asked
        self.api = api
        # The configuration of the request's beginning holds to its end.
        self.policy = service.configuration
        self.deployments = service.fleet.deployments
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
        self.admitted = admitted
        self.answer.headers += admitted.headers
        route = self.policy.routes.get(asked.model)
        if route is None or self.api not in route.apis:
            await self.answer.refuse(unknown_model(asked.model, self.api))
            return
        choosing_ns = time.perf_counter_ns()
        self.plan = self.service.choose(asked, route, features=self.service.features, deployments=self.deployments)
        self._route_ns = time.perf_counter_ns() - choosing_ns
        self.service.retries.requested()
        failed = await self._try_all()
        if failed is not None and not incoming.peer.gone:
            await self._give_up(failed)

    async def _try_all(self) -> Failed | None:
        """None once the caller has an answer, else the last failure."""
        policy = self.policy.retries
        last: Failed | None = None
        for name in self.plan.upstreams:
            deployment = self.deployments[name]
            tried: list[Server] = []
            while len(tried) < policy.attempts_per_upstream and self._attempts < policy.attempts:
                server = replica(deployment.servers, tried, now_s=now_s(), draw=random.random)
                if server is None or (last is not None and not await self._may_retry(last, server, tried=tried)):
                    break
                failed = await self._try(deployment, server, role=self._role(name))
                if failed is None or failed.is_final:
                    return failed
                last = failed
                tried.append(server)
        return last or Failed(refusal=refused(503, "no upstream of this model is available", code="unavailable"))

    def _role(self, name: str) -> str:
        if self._attempts == 0:
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

    async def _try(self, deployment: Deployment, server: Server, *, role: str) -> Failed | None:
        """One attempt, from a place in the pool to an outcome."""
        server.breaker.admit()
        try:
            await server.pool.enter()
        except UpstreamError as error:
            server.breaker.undecided()
            return Failed(refusal=refused(503, f"upstream {deployment.name} has no room", code=error.kind))
        if self.incoming.peer.gone:
            server.pool.leave()
            server.breaker.undecided()
            return Failed(is_final=True)
        attempt = None
        try:
            attempt = await self._intended(deployment, server, role=role)
        finally:
            if not isinstance(attempt, Attempt):
                server.pool.leave()
                server.breaker.undecided()
        if isinstance(attempt, Refusal):
            return Failed(refusal=attempt, is_final=True)
        try:
            return await self._send(attempt)
        finally:
            if not attempt.settled:  # the process ends, or we have a defect
                attempt.settle(error="gateway_stopped", aborted=True)
                if attempt.exchange is not None:
                    attempt.exchange.fail("gateway_stopped")

    async def _intended(self, deployment: Deployment, server: Server, *, role: str) -> Attempt | Refusal:
        """The attempt with its reservation made and its intent on disk."""
        intent = self._intent(deployment, server, role=role)
        reserved = self.service.admission.reserve(intent)
        if isinstance(reserved, Refusal):
            return reserved
        intent = with_reservation(intent, reserved)
        try:
            await self.service.accounting.intend(intent)
        except OutboxFullError:
            self.service.admission.release(intent)
            return refused(503, "the call cannot be accounted for now; try again later", code="outbox_full")
        self._attempts += 1
        attempt = Attempt(self.service.accounting, intent, deployment=deployment, server=server)
        admitted_ns = time.perf_counter_ns() - self._began_ns
        attempt.timings_us["admit"] = (admitted_ns - self._route_ns) // 1_000
        attempt.timings_us["route"] = self._route_ns // 1_000
        metrics.admit_seconds(self.asked.model).observe(admitted_ns / 1e9)
        return attempt

    def _intent(self, deployment: Deployment, server: Server, *, role: str) -> Intent:
        asked, admitted, spec = self.asked, self.admitted, deployment.spec
        trace_id, span_id = self.incoming.trace
        return Intent(
            event_id=new_id(),
            operation_id=self.incoming.request_id,
            attempt_no=self._attempts + 1,
            attempt_role=role,
            tenant_id=admitted.tenant_id,
            api_key_id=admitted.api_key_id,
            project=admitted.project,
            environment=admitted.environment,
            feature=admitted.feature,
            user_id=asked.user_id,
            session_id=self.incoming.session_id,
            trace_id=trace_id,
            span_id=span_id,
            route=asked.model,
            route_tier=spec.tier,
            decision_id=self.plan.decision_id,
            provider=spec.provider,
            api=self.api,
            request_model=deployment.served_model(asked.model),
            deployment_id=deployment.name,
            replica_id=server.name,
            engine=spec.engine,
            billing_account=spec.billing_account,
            service_tier=asked.service_tier,
            stream=asked.stream,
            started_at_us=self._began_us,
            input_tokens_estimate=asked.most_input_tokens(spec.image_tokens_limit),
            output_tokens_limit=asked.most_output_tokens(spec.output_tokens_limit) if self.api == "chat" else 0,
            reserved_usd_pico=0,
        )

    async def _send(self, attempt: Attempt) -> Failed | None:
        """The request to the upstream and its reply to the caller."""
        pool = attempt.server.pool
        if self.incoming.peer.gone:
            pool.leave()
            attempt.settle(error="client_disconnected", aborted=True)
            return None
        connection = pool.idle()
        if connection is None:
            connecting_ns = time.perf_counter_ns()
            try:
                connection = await pool.connect()
            except UpstreamError as error:
                pool.leave()
                attempt.settle(error=error.kind)
                status = 504 if error.kind == "upstream_connect_timeout" else 502
                return Failed(
                    refusal=refused(status, f"upstream {attempt.deployment.name}: no connection", code=error.kind)
                )
            except asyncio.CancelledError:
                pool.leave()
                raise
            attempt.timings_us["connect"] = (time.perf_counter_ns() - connecting_ns) // 1_000
        reused = connection.served > 0
        attempt.sent_at_s = now_s()
        attempt.exchange = connection.send(
            self._request(attempt), patience=attempt.deployment.patience, deadlines=self.service.deadlines
        )
        self._watch(attempt)
        try:
            return await relay(self, attempt)
        except UpstreamError as error:
            return self._broke(attempt, error, reused=reused)
        finally:
            self.incoming.peer.when_gone = None

    def _request(self, attempt: Attempt) -> list[bytes]:
        """Head and body for the upstream; only what is listed here reaches it."""
        deployment, asked = attempt.deployment, self.asked
        body = for_upstream(asked, attempt.intent.request_model, ask_for_usage=deployment.spec.ask_for_usage)
        accept = b"text/event-stream" if asked.stream else b"application/json"
        headers = self.incoming.headers
        passed = [b"%s: %s\r\n" % (name, headers[name]) for name in deployment.forward if name in headers]
        return [
            attempt.server.heads[self.api],
            deployment.key_header,
            *passed,
            b"user-agent: tokenledger\r\ncontent-type: application/json\r\naccept: %s\r\n" % accept,
            b"x-request-id: %s\r\ncontent-length: %d\r\n\r\n" % (self.incoming.request_id.encode(), len(body)),
            body,
        ]

    def _watch(self, attempt: Attempt) -> None:
        """A client that goes leaves a call that may go on for a while, so that its usage is known."""
        exchange, drain = attempt.exchange, self.policy.drain
        assert exchange is not None  # noqa: S101  (it was just sent)

        def gone() -> None:
            metrics.ABANDONED.inc()
            exchange.abandon(drain.abandoned_ms / MILLIS_PER_SECOND)

        self.incoming.peer.when_gone = gone
        if self.incoming.peer.gone:
            gone()

    def _broke(self, attempt: Attempt, error: UpstreamError, *, reused: bool) -> Failed | None:
        """An exchange that broke before the caller had anything."""
        kind = error.kind
        exchange = attempt.exchange
        assert exchange is not None  # noqa: S101  (it was sent)
        attempt.settle(error=kind, aborted=not (kind == "upstream_closed_unanswered" and reused))
        if self.incoming.peer.gone:
            return None
        status = 504 if kind.endswith("timeout") else 502
        refusal = refused(status, f"upstream {attempt.deployment.name}: {kind}", code=kind)
        # A server may close a connection it kept at any time; a request that crosses that is never processed.
        return Failed(refusal=refusal, is_final=not (reused and kind == "upstream_closed_unanswered"))


def unknown_model(model: str, api: str) -> Refusal:
    """As OpenAI says it."""
    what = f"The model `{model[:128]}` does not exist or does not serve {api}."
    return refused(404, what, code="model_not_found", param="model")
