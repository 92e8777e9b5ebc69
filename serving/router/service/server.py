"""`Decide` as a gRPC server: at most 10 ms, the policy's static tier where that is not enough, health beside it."""

import asyncio
import math
from typing import Any, Final

import grpc
import msgspec
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health
from prometheus_client import Counter, Histogram

from ledger.observing import logger
from serving.router.choice import NOTHING_KNOWN, Online, Reason
from serving.router.current import Current
from serving.router.decide import decide, static
from serving.router.features import Prompt
from serving.router.policy import Policy
from serving.router.service import messages
from serving.router.service.knowing import Read, known
from tokenledger.records.choosing import METHOD, PACKAGE, SERVICE, DecideRequest, DecideResponse
from tokenledger.records.decision import RouteDecision

log = logger("serving.router.service")

LIMIT_S: Final = 0.010
"""What an answer may take, whatever the caller allows."""
_JUDGING_S: Final = 0.002
"""What judging a long prompt takes, kept free of waiting."""
_LONGEST_TTL_US: Final = 60_000_000
_LONGEST_REQUEST_BYTES: Final = 4 * 1024 * 1024
_MOST_AT_ONCE: Final = 256
_REFRESH_S: Final = 1.0
_WITHOUT_TTL: Final = frozenset(
    reason.value
    for reason in (
        Reason.EXPLORED,
        Reason.DEADLINE,
        Reason.FEATURES_MISSING,
        Reason.FEATURES_OLD,
        Reason.COST_CEILING,
        Reason.SPEND_CEILING,
    )
)
"""Reasons of this request or of this instant: another one must ask again."""

REQUESTS: Final = Counter(
    "tokenledger_decide_requests_total", "Decisions served over gRPC, by route and why", ["route", "reason"]
)
SECONDS: Final = Histogram(
    "tokenledger_decide_seconds",
    "Time from a request's arrival to its decision",
    buckets=(0.00025, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.05),
)
LATE: Final = Counter(
    "tokenledger_decide_late_total", "Decisions for which no time was left: the static tier served", ["route"]
)
REFUSED: Final = Counter(
    "tokenledger_decide_refused_total", "Requests that could not be read or named no route", ["code"]
)


class Decider:
    """Answers one request after the other."""

    def __init__(self, current: Current, read: Read | None) -> None:
        self._current = current
        self._read = read

    async def decide(self, data: bytes, context: Any) -> bytes:
        """One answer; refuses what cannot be read."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        left_s = context.time_remaining()
        end_s = began_s + min(LIMIT_S, math.inf if left_s is None else left_s)
        policy = self._current.policy
        try:
            asked = messages.decode_request(data)
        except DecodeError as error:
            return await _refuse(context, grpc.StatusCode.INVALID_ARGUMENT, f"the request cannot be read: {error}")
        if complaint := _complaint(asked, policy):
            return await _refuse(context, *complaint)
        decision = await self._decision(asked, policy, end_s=end_s)
        REQUESTS.labels(asked.route, decision.reason).inc()
        SECONDS.observe(loop.time() - began_s)
        return messages.encode(_response(decision, policy))

    async def _decision(self, asked: DecideRequest, policy: Policy, *, end_s: float) -> RouteDecision:
        prompt = Prompt(
            text=asked.text,
            context_chars=asked.context_chars,
            tools=asked.tools,
            turns=asked.turns or 1,
            format=asked.format,
        )
        loop = asyncio.get_running_loop()
        online = await self._online(asked, policy, until_s=end_s - _JUDGING_S)
        if loop.time() > end_s - _JUDGING_S:
            LATE.labels(asked.route).inc()
            return static(prompt, route=asked.route, policy=policy, operation_id=asked.operation_id)
        return decide(
            prompt,
            route=asked.route,
            policy=policy,
            model=self._current.model,
            online=online,
            operation_id=asked.operation_id,
        )

    async def _online(self, asked: DecideRequest, policy: Policy, *, until_s: float) -> Online:
        if self._read is None:
            return NOTHING_KNOWN
        try:
            async with asyncio.timeout_at(until_s):
                return await known(self._read, policy, asked)
        except TimeoutError:
            return NOTHING_KNOWN


def _complaint(asked: DecideRequest, policy: Policy) -> tuple[grpc.StatusCode, str] | None:
    if asked.route not in policy.routes:
        known_routes = ", ".join(policy.routes)
        return grpc.StatusCode.NOT_FOUND, f"route {asked.route[:64]!r} is not in the policy; routes are: {known_routes}"
    if not asked.operation_id:
        return grpc.StatusCode.INVALID_ARGUMENT, "operation_id is empty; give each operation an id of its own"
    if min(asked.context_chars, asked.tools, asked.turns) < 0:
        return grpc.StatusCode.INVALID_ARGUMENT, "context_chars, tools and turns are counts: 0 or more"
    return None


async def _refuse(context: Any, code: grpc.StatusCode, message: str) -> bytes:
    REFUSED.labels(code.name.lower()).inc()
    await context.abort(code, message)
    return b""  # never reached: abort raises


def _response(decision: RouteDecision, policy: Policy) -> DecideResponse:
    tier = policy.tiers[decision.tier]
    return DecideResponse(
        decision_id=decision.decision_id,
        tier=decision.tier,
        provider=tier.provider,
        model=tier.model,
        reason=decision.reason,
        ttl_us=_ttl_us(decision, policy),
        expected_cost_usd_pico=decision.expected_cost_usd_pico,
        confidence=decision.confidence,
        decision=msgspec.json.encode(decision).decode(),
    )


def _ttl_us(decision: RouteDecision, policy: Policy) -> int:
    """Until the features it stands on are too old, a minute at most."""
    if decision.reason in _WITHOUT_TTL:
        return 0
    limit_us = policy.routes[decision.route].features_age_ms * 1_000
    return max(0, min(_LONGEST_TTL_US, limit_us - (decision.features_age_us or 0)))


class Service:
    """The server, its health and the files it follows."""

    def __init__(self, current: Current, read: Read | None) -> None:
        self._current = current
        self._decider = Decider(current, read)
        self._health = health.HealthServicer()
        self._server = grpc.aio.server(
            maximum_concurrent_rpcs=_MOST_AT_ONCE,
            options=(("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", _LONGEST_REQUEST_BYTES)),
        )
        self._told: list[str] = []

    async def start(self, address: str) -> int:
        """Listen; the port. The model is loaded first, so that nobody is served without it."""
        await asyncio.to_thread(self.refresh)
        method: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(self._decider.decide)
        name = f"{PACKAGE}.{SERVICE}"
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, {METHOD: method}),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        port = self._server.add_insecure_port(address)
        await self._server.start()
        for service in ("", name):
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        return int(port)

    def refresh(self) -> None:
        """Take over changed files; what cannot be taken is told once."""
        told = self._current.refresh()
        for line in told:
            if line not in self._told:
                log.warning(line)
        self._told = told

    async def follow(self) -> None:
        """Take over changed files now and then, off the loop: loading a model takes some 100 ms."""
        while True:
            await asyncio.sleep(_REFRESH_S)
            await asyncio.to_thread(self.refresh)

    async def stop(self, within_s: float) -> None:
        """Say so, let what is being answered end, then leave."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(within_s)
