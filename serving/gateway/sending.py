"""One attempt of an operation, from a place in the pool to its end: reserved, intended, sent, and taken by somebody.

Whatever happens, an intent that became durable gets its one outcome: from whoever takes the reply, else from here.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple, Protocol, TypeVar

import msgspec

from serving.gateway import metrics
from serving.gateway.attempt import Attempt, with_reservation
from serving.gateway.breaker import RetryBudget
from serving.gateway.capturing import Capturing, Kept
from serving.gateway.choosing import Plan
from serving.gateway.configuration import MILLIS_PER_SECOND, Configuration
from serving.gateway.connection import Exchange, Patience, UpstreamError
from serving.gateway.deadlines import Deadlines, now_s
from serving.gateway.errors import refused
from serving.gateway.fleet import Deployment, Fleet, Server
from serving.gateway.ids import new_id
from serving.gateway.incoming import Incoming
from serving.gateway.records import Accounting, Admission, Admitted, Intent, OutboxFullError, Refusal
from serving.gateway.relay import Failed
from serving.gateway.requests import Asked, for_upstream

T = TypeVar("T")
Take = Callable[[Attempt], Awaitable[T]]
"""Takes the reply to an attempt that was sent. Raises UpstreamError."""

_STOPPED: Final = "gateway_stopped"
_BACKOFF_MS: Final = (50, 150)
_TOO_MANY: Final = 429


class Start(NamedTuple):
    """When an attempt began: for the operation's first, when the operation did."""

    us: int
    """µs UTC."""
    ns: int
    """The same on the clock that durations are taken by."""
    route_ns: int = 0
    """How long the choice took."""
    cache_ns: int = 0
    """How long the cache was asked, where it was."""


class Errand(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What an attempt is made for."""

    role: str
    """`primary`, `retry`, …"""
    reason: str | None = None
    """Why, where it is not the first."""
    asked: Asked
    """What is asked."""
    start: Start
    """When it began."""
    due_s: float | None = None
    """By when it must have begun to answer, on the monotonic clock; without it, when the upstream's patience ends."""
    intended: Callable[[Attempt], None] | None = None
    """Told of the attempt as soon as its intent is durable."""


class Service(Protocol):
    """What an attempt needs of the process it is made in."""

    accounting: Accounting
    admission: Admission
    capturing: Capturing | None
    deadlines: Deadlines
    fleet: Fleet

    @property
    def configuration(self) -> Configuration:
        """The configuration at work."""


class Sender:
    """Makes the attempts of one operation, also several at a time."""

    __slots__ = (
        "_exchanges",
        "_is_decided",
        "admitted",
        "api",
        "attempts",
        "deployments",
        "incoming",
        "plan",
        "policy",
        "route",
        "service",
    )

    def __init__(self, service: Service, incoming: Incoming, *, api: str, route: str) -> None:
        self._exchanges: list[Exchange] = []
        self._is_decided = False
        self.attempts = 0
        """How many were intended."""
        self.service = service
        self.incoming = incoming
        # The configuration of the request's beginning holds to its end.
        self.policy = service.configuration
        self.deployments = service.fleet.deployments
        self.api = api
        self.route = route
        self.admitted: Admitted
        self.plan: Plan

    async def attempt(self, deployment: Deployment, server: Server, *, errand: Errand, take: Take[T]) -> T | Failed:
        """What `take` makes of the reply, or why there is none."""
        server.breaker.admit()
        attempt: Attempt | Refusal | None = None
        has_place = False
        try:
            await server.pool.enter()
            has_place = True
            if self.incoming.peer.gone:
                return Failed(is_final=True)
            attempt = await self._intended(deployment, server, errand=errand)
        except UpstreamError as error:
            return Failed(refusal=refused(503, f"upstream {deployment.name} has no room", code=error.kind))
        finally:
            if not isinstance(attempt, Attempt):
                server.breaker.undecided()
                if has_place:
                    server.pool.leave()
        if isinstance(attempt, Refusal):
            return Failed(refusal=attempt, is_final=True)
        is_over = False
        try:
            taken = await self._send(attempt, errand, take=take)
            is_over = True
        finally:
            if not is_over and not attempt.settled:  # the process ends, nobody needs it any more, or we have a defect
                attempt.settle(error=attempt.ended_by or _STOPPED, aborted=attempt.exchange is not None)
                if attempt.exchange is not None:
                    attempt.exchange.fail(_STOPPED)
        return taken

    async def _intended(self, deployment: Deployment, server: Server, *, errand: Errand) -> Attempt | Refusal:
        """The attempt with its reservation made and its intent on disk."""
        intent = self._intent(deployment, server, errand=errand)
        reserved = self.service.admission.reserve(intent)
        if isinstance(reserved, Refusal):
            return reserved
        intent = with_reservation(intent, reserved)
        self.attempts += 1
        self._is_decided = True
        try:
            await self.service.accounting.intend(intent)
        except OutboxFullError:
            self.service.admission.release(intent)
            return refused(503, "the call cannot be accounted for now; try again later", code="outbox_full")
        attempt = Attempt(self.service.accounting, intent, deployment=deployment, server=server)
        capturing = self.service.capturing
        if capturing is not None and intent.tenant_id in capturing.allowed and self.api == "chat":
            attempt.texts = Kept(capturing, errand.asked.members)
        admitted_ns = time.perf_counter_ns() - errand.start.ns
        start = errand.start
        attempt.timings_us["admit"] = (admitted_ns - start.route_ns - start.cache_ns) // 1_000
        if start.cache_ns:
            attempt.timings_us["cache"] = start.cache_ns // 1_000
        attempt.timings_us["route"] = errand.start.route_ns // 1_000
        metrics.admit_seconds(self.route).observe(admitted_ns / 1e9)
        if errand.intended is not None:
            errand.intended(attempt)
        return attempt

    def _intent(self, deployment: Deployment, server: Server, *, errand: Errand) -> Intent:
        asked, admitted, spec = errand.asked, self.admitted, deployment.spec
        trace_id, span_id = self.incoming.trace
        return Intent(
            event_id=new_id(),
            operation_id=self.incoming.request_id,
            attempt_no=self.attempts + 1,
            attempt_role=errand.role,
            tenant_id=admitted.tenant_id,
            api_key_id=admitted.api_key_id,
            project=admitted.project,
            environment=admitted.environment,
            feature=admitted.feature,
            user_id=asked.user_id,
            session_id=self.incoming.session_id,
            trace_id=trace_id,
            span_id=span_id,
            route=self.route,
            route_tier=spec.tier,
            decision_id=self.plan.decision_id,
            decision=None if self._is_decided else self.plan.decision,
            attempt_reason=errand.reason,
            provider=spec.provider,
            api=self.api,
            request_model=deployment.served_model(self.route),
            deployment_id=deployment.name,
            replica_id=server.name,
            engine=spec.engine,
            billing_account=spec.billing_account,
            service_tier=asked.service_tier,
            stream=asked.stream,
            started_at_us=errand.start.us,
            input_tokens_estimate=asked.most_input_tokens(spec.image_tokens_limit),
            output_tokens_limit=asked.most_output_tokens(spec.output_tokens_limit) if self.api == "chat" else 0,
            reserved_usd_pico=0,
        )

    async def _send(self, attempt: Attempt, errand: Errand, *, take: Take[T]) -> T | Failed:
        """The request to the upstream and its reply to whoever takes it."""
        pool = attempt.server.pool
        if self.incoming.peer.gone:
            pool.leave()
            attempt.settle(error="client_disconnected", aborted=True)
            return Failed(is_final=True)
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
        attempt.exchange = exchange = connection.send(
            self._request(attempt, errand.asked),
            patience=_patience(attempt.deployment, errand),
            deadlines=self.service.deadlines,
        )
        self._watch(exchange)
        try:
            return await take(attempt)
        except UpstreamError as error:
            return self._broke(attempt, error, reused=reused)
        finally:
            self._exchanges.remove(exchange)
            if not self._exchanges:
                self.incoming.peer.when_gone = None

    def _request(self, attempt: Attempt, asked: Asked) -> list[bytes]:
        """Head and body for the upstream; only what is listed here reaches it."""
        deployment = attempt.deployment
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

    def _watch(self, exchange: Exchange) -> None:
        """A client that goes leaves calls that may go on for a while, so that their usage is known."""
        self._exchanges.append(exchange)
        peer = self.incoming.peer
        peer.when_gone = self._gone
        if peer.gone:
            self._gone()

    def _gone(self) -> None:
        if self._exchanges:
            metrics.ABANDONED.inc()
        for exchange in list(self._exchanges):
            exchange.abandon(self.policy.drain.abandoned_ms / MILLIS_PER_SECOND)

    def _broke(self, attempt: Attempt, error: UpstreamError, *, reused: bool) -> Failed:
        """An exchange that broke before the caller had anything."""
        kind = error.kind
        attempt.settle(error=kind, aborted=not (kind == "upstream_closed_unanswered" and reused))
        status = 504 if kind.endswith("timeout") else 502
        refusal = refused(status, f"upstream {attempt.deployment.name}: {kind}", code=kind)
        # A server may close a connection it kept at any time; a request that crosses that is never processed.
        is_final = self.incoming.peer.gone or not (reused and kind == "upstream_closed_unanswered")
        return Failed(refusal=refusal, is_final=is_final)


def _patience(deployment: Deployment, errand: Errand) -> Patience:
    patience = deployment.patience
    if errand.due_s is None:
        return patience
    left_s = max(errand.due_s - now_s(), 0.0)
    return Patience(
        first_byte_ms=round(min(patience.first_byte_s, left_s) * MILLIS_PER_SECOND),
        idle_ms=round(patience.idle_s * MILLIS_PER_SECOND),
        total_ms=round(patience.total_s * MILLIS_PER_SECOND),
    )


async def may_retry(sender: Sender, retries: RetryBudget, *, last: Failed, server: Server, tried: list[Server]) -> bool:
    """Whether the retry budget has one more; waits a little where the same replica is asked again."""
    if server in tried:
        longest_ms = sender.policy.retries.longest_wait_ms
        wait_ms = max(last.retry_after_ms or 0, random.uniform(*_BACKOFF_MS))  # noqa: S311 - no secret
        if wait_ms > longest_ms:
            return False
        await asyncio.sleep(wait_ms / MILLIS_PER_SECOND)
    if sender.incoming.peer.gone:
        return False
    if not retries.take():
        metrics.RETRIES_DENIED.inc()
        return False
    return True


def reason_of(failed: Failed) -> str:
    """Why another attempt is made after this one, in one word of a closed set."""
    if failed.refusal is not None:
        return failed.refusal.code or "upstream_error"
    return "rate_limited" if failed.status == _TOO_MANY else "upstream_error"
