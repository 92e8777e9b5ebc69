"""The cache in the life of a call: asked before anything is chosen, given what a model said, checked behind the caller.

A hit is a call like any other in the ledger: an intent and an outcome that say what answered, what it used when it was
made, and that nothing was spent. It is told before the caller has its answer, and waits for no disk.
"""

import asyncio
import hashlib
import random
import time
from collections.abc import Callable, Mapping
from copy import copy
from typing import Final, Protocol

import msgspec

from serving.cache.configuration import RouteCache
from serving.cache.records import Cache, Hit, Miss, Question
from serving.gateway.answer import Answer
from serving.gateway.attempt import Attempt, now_us
from serving.gateway.choosing import Plan, replica
from serving.gateway.configuration import Configuration
from serving.gateway.deadlines import now_s
from serving.gateway.errors import JSON, refused
from serving.gateway.gathering import Gathered, gather
from serving.gateway.ids import new_id
from serving.gateway.incoming import Incoming
from serving.gateway.records import Accounting, Admitted, Intent, OutboxFullError, Outcome
from serving.gateway.relay import Failed
from serving.gateway.replaying import replayed
from serving.gateway.replies import facts_of
from serving.gateway.requests import Asked
from serving.gateway.sending import Errand, Sender, Start

CHECK_REASON: Final = "cache_hit"
"""`attempt_reason` of a model call that checks a hit: what it cost is the cache's cost."""
_DEPLOYMENT: Final = "cache"
_WISH: Final = b"x-tokenledger-cache"
_MOST_CHECKS: Final = 64
_US: Final = 1_000_000
_encode: Final = msgspec.json.Encoder().encode


class Adopts(Cache, Protocol):
    """A cache whose rules may change."""

    def adopt(self, routes: Mapping[str, RouteCache]) -> None:
        """From now on, routes follow these rules."""


class Seat:
    """The cache's place in one process."""

    def __init__(self, cache: Adopts) -> None:
        self.cache = cache
        self._policies: dict[tuple[str, str], tuple[Configuration, str]] = {}
        self._checks: set[asyncio.Task[None]] = set()

    def adopt(self, configuration: Configuration) -> None:
        """From now on, these routes."""
        self._policies.clear()
        self.cache.adopt(rules_of(configuration))

    def policy_of(self, configuration: Configuration, route: str, *, version: str) -> str:
        """What chooses the model behind a route, as a hash: another choice may give another answer."""
        known = self._policies.get((route, version))
        if known is not None and known[0] is configuration:
            return known[1]
        spec = configuration.routes[route]
        models = [(name, configuration.upstreams[name].provider, configuration.upstreams[name].model)
                  for name in spec.upstreams]  # fmt: skip
        made = hashlib.blake2b(_encode((models, spec.cascade, spec.experiment, version)), digest_size=8).hexdigest()
        self._policies[route, version] = configuration, made
        return made

    def check(self, checking: "Checking") -> None:
        """Ask a model as well, behind the caller's back; no more than so many at a time."""
        if len(self._checks) < _MOST_CHECKS:
            task = asyncio.create_task(checking.run(), name="check a cache hit")
            self._checks.add(task)
            task.add_done_callback(self._checks.discard)

    async def close(self) -> None:
        """Checks under way are ended; each has its outcome to tell."""
        for task in self._checks:
            task.cancel()
        await asyncio.gather(*self._checks, return_exceptions=True)


def rules_of(configuration: Configuration) -> dict[str, RouteCache]:
    """The rules of each route that has a cache."""
    return {name: route.cache for name, route in configuration.routes.items() if route.cache is not None}


class Asker(Protocol):
    """The call that asks."""

    admitted: Admitted
    answer: Answer
    asked: Asked
    incoming: Incoming
    policy: Configuration
    sender: Sender


class Caching:
    """One request and the cache."""

    __slots__ = ("_accounting", "_call", "_miss", "_seat", "_start", "cache_ns")

    def __init__(self, seat: Seat, call: Asker, *, accounting: Accounting, start: Start) -> None:
        self._seat = seat
        self._call = call
        self._accounting = accounting
        self._start = start
        self._miss: Miss | None = None
        self.cache_ns = 0
        """How long the cache was asked."""

    async def answers(self, version: str) -> bool:
        """Whether the caller has its answer, or its refusal."""
        call = self._call
        asked_ns = time.perf_counter_ns()
        question = self._question(version)
        found = await self._seat.cache.look_up(question)
        self.cache_ns = time.perf_counter_ns() - asked_ns
        if isinstance(found, Miss):
            self._miss = found
            call.answer.headers.append((_WISH, b"miss; reason=%b" % found.reason.encode()))
            return False
        await self._serve(found)
        if found.verify:
            self._seat.check(Checking(self._seat.cache, question, hit=found, call=call))
        return True

    def _question(self, version: str) -> Question:
        call, admitted = self._call, self._call.admitted
        return Question(
            tenant_id=admitted.tenant_id,
            app=app_of(admitted.project, admitted.feature),
            route=call.asked.model,
            model_policy=self._seat.policy_of(call.policy, call.asked.model, version=version),
            operation_id=call.incoming.request_id,
            members=call.asked.members,
            at_us=self._start.us,
            wish=call.incoming.headers.get(_WISH),
        )

    async def _serve(self, hit: Hit) -> None:
        call, answer = self._call, self._call.answer
        intent = self._intent(hit)
        try:
            self._accounting.record(intent, self._outcome(intent, hit))
        except OutboxFullError:
            await answer.refuse(
                refused(503, "the call cannot be accounted for now; try again later", code="outbox_full")
            )
            return
        headers = (
            (_WISH, _told(hit, at_us=self._start.us)),
            (b"x-route", _DEPLOYMENT.encode()),
            (b"x-tokenledger-event", intent.event_id.encode()),
        )
        if not call.asked.stream:
            await answer.whole(200, hit.reply, headers=(JSON, *headers, (b"x-tokenledger-cost", b"0")))
            return
        await answer.begin(headers)
        await answer.part(b"".join(replayed(hit.reply, usage_wanted=call.asked.usage_wanted)))
        await answer.end()

    def _outcome(self, intent: Intent, hit: Hit) -> Outcome:
        facts = facts_of(hit.reply)
        total_us = (time.perf_counter_ns() - self._start.ns) // 1_000
        cache_us = min(self.cache_ns // 1_000, total_us)
        return Outcome(
            event_id=intent.event_id,
            http_status=200,
            reply=facts.encoded() if facts is not None else None,
            ended_at_us=self._start.us + total_us,
            timings_us={"admit": total_us - cache_us, "cache": cache_us, "total": total_us},
        )

    def _intent(self, hit: Hit) -> Intent:
        call, admitted = self._call, self._call.admitted
        trace_id, span_id = call.incoming.trace
        return Intent(
            event_id=new_id(),
            operation_id=call.incoming.request_id,
            attempt_no=1,
            attempt_role="primary",
            tenant_id=admitted.tenant_id,
            api_key_id=admitted.api_key_id,
            project=admitted.project,
            environment=admitted.environment,
            feature=admitted.feature,
            user_id=call.asked.user_id,
            session_id=call.incoming.session_id,
            trace_id=trace_id,
            span_id=span_id,
            route=call.asked.model,
            provider=hit.provider,
            api="chat",
            request_model=hit.model,
            deployment_id=_DEPLOYMENT,
            replica_id=hit.kind,
            stream=call.asked.stream,
            started_at_us=self._start.us,
            input_tokens_estimate=0,
            output_tokens_limit=0,
            reserved_usd_pico=0,
            cache_hit=True,
        )

    @property
    def wanted(self) -> bool:
        """Whether the answer that will be found may be kept."""
        return self._miss is not None and self._miss.ticket is not None

    def keep(self, body: bytes, attempt: Attempt) -> None:
        """A whole, successful answer of a model."""
        if self._miss is not None:
            intent = attempt.intent
            self._seat.cache.offer(self._miss, body, provider=intent.provider, model=intent.request_model)


class Checking:
    """A hit that was served, and what a model says to the same question."""

    def __init__(self, cache: Cache, question: Question, *, hit: Hit, call: Asker) -> None:
        self._cache = cache
        self._question = question
        self._hit = hit
        self._asked = call.asked
        incoming = copy(call.incoming)
        incoming.peer = Nobody()
        upstreams = call.policy.routes[call.asked.model].upstreams
        self._sender = Sender(call.sender.service, incoming, api=call.sender.api, route=call.sender.route)
        self._sender.admitted = call.admitted
        self._sender.plan = Plan(upstreams=upstreams)
        self._sender.attempts = 1  # the hit was the first

    async def run(self) -> None:
        """Ask the route's first upstream that can be asked; what fails teaches nothing."""
        sender = self._sender
        for name in sender.plan.upstreams:
            deployment = sender.deployments[name]
            server = replica(deployment.servers, [], now_s=now_s(), draw=random.random)
            if server is None:
                continue
            start = Start(now_us(), time.perf_counter_ns())
            errand = Errand(role="verify", reason=CHECK_REASON, asked=self._asked, start=start)
            found = await sender.attempt(deployment, server, errand=errand, take=self._taken)
            if isinstance(found, Gathered):
                found.settle(served=False)
                self._cache.verified(self._question, self._hit, reply=found.body)
            return

    async def _taken(self, attempt: Attempt) -> Gathered | Failed:
        return await gather(attempt, self._sender.policy, usage_wanted=False)


class Nobody:
    """A client that waits for nothing and never goes."""

    def __init__(self) -> None:
        self.gone = False
        self.paused = False
        self.when_gone: Callable[[], None] | None = None
        self.when_writable: Callable[[], None] | None = None

    @property
    def address(self) -> str | None:
        """None."""
        return None

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """None."""
        return []

    def write(self, data: bytes) -> None:
        """Nobody reads it."""

    async def writable(self) -> None:
        """At once."""


def app_of(project: str | None, feature: str | None) -> str:
    """`project/feature`, of which the first `/` is always the one between: no two pairs are one app."""
    return f"{(project or '').replace('%', '%25').replace('/', '%2F')}/{feature or ''}"


def _told(hit: Hit, *, at_us: int) -> bytes:
    """What the caller is told of a hit."""
    parts = ["hit", f"kind={hit.kind}", f"entry={hit.entry_id}"]
    if hit.stored_at_us:
        parts.append(f"age={max(at_us - hit.stored_at_us, 0) // _US}")
    if hit.similarity is not None:
        parts.append(f"similarity={hit.similarity:.4f}")
    return "; ".join(parts).encode("ascii", "replace")
