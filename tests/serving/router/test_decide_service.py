"""`Decide` through a real channel: the choice made in-process, in time or static; refusals say what is right."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import msgspec
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from feature_repo.online import Entity, Features, FeatureVector, Status
from serving.router import versions
from serving.router.choice import NOTHING_KNOWN, Online
from serving.router.current import Current
from serving.router.decide import decide
from serving.router.features import Prompt
from serving.router.service import messages
from serving.router.service.knowing import Read
from serving.router.service.server import Service
from tests.serving.router.made import POLICY_TEXT, rules, traffic, trained
from tokenledger.records.choosing import METHOD, PACKAGE, SERVICE, DecideRequest, DecideResponse
from tokenledger.records.decision import RouteDecision
from tokenledger.records.features import SpendFeatures, TrafficFeatures

Decide = Callable[..., Awaitable[DecideResponse]]
EASY = "Tell me the capital about river garden window music letter, case 7?"
BY_PROMPT = 'without_features = "prompt"\nexplore = 0.0\nfamiliarity = 0.0\nquality_floor = 0.8\n'


class Store:
    """A feature store that answers what it is told to, as late as it is told to."""

    def __init__(self, online: Online = NOTHING_KNOWN, *, late_s: float = 0.0, age_us: int = 1_000_000) -> None:
        self._online = online
        self._late_s = late_s
        self._age_us = age_us
        self.asked: list[dict[str, Sequence[Entity]]] = []

    async def read(self, wanted: Mapping[str, Sequence[Entity]]) -> FeatureVector:
        """What is known."""
        self.asked.append(dict(wanted))
        await asyncio.sleep(self._late_s)
        at_us = time.time_ns() // 1_000 - self._age_us
        tiers = {"small-8b": self._online.tiers.get("small"), "gpt-4o": self._online.tiers.get("large")}
        views: dict[str, tuple[Features[Any], ...]] = {}
        for view, entities in wanted.items():
            empty = SpendFeatures() if view == "feature_spend" else TrafficFeatures()
            other = self._online.spend if view == "feature_spend" else self._online.feature
            found = [tiers.get(entity[1]) if view == "model_traffic_5m" else other for entity in entities]
            views[view] = tuple(
                Features(Status.MISSING, empty) if one is None else Features(Status.PRESENT, one, at_us, self._age_us)
                for one in found
            )
        return FeatureVector(views, 0)


@asynccontextmanager
async def serving(folder: Path, policy: str, read: Read | None = None) -> AsyncIterator[tuple[Decide, Any, Service]]:
    """A server with the trained model, and a channel to it."""
    file, models = folder / "router.toml", folder / "models"
    file.write_text(POLICY_TEXT + policy, encoding="utf-8")
    versions.promote(models, versions.save(models, trained(), {}).name)
    service = Service(Current(file, models), read)
    port = await service.start("127.0.0.1:0")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary(
            f"/{PACKAGE}.{SERVICE}/{METHOD}",
            request_serializer=messages.encode,
            response_deserializer=messages.decode_response,
        )

        async def ask(**changes: Any) -> DecideResponse:
            timeout_s = changes.pop("timeout_s", 5.0)
            plain: dict[str, Any] = {"route": "chat", "operation_id": "op-1", "text": EASY}
            answer: DecideResponse = await call(DecideRequest(**(plain | changes)), timeout=timeout_s)
            return answer

        try:
            yield ask, channel, service
        finally:
            await service.stop(1.0)


@pytest.mark.slow
def test_the_answer_is_the_choice_that_the_same_policy_and_model_make_in_process(tmp_path: Path) -> None:
    async def scenario() -> DecideResponse:
        async with serving(tmp_path, BY_PROMPT) as (ask, _, _):
            return await ask(context_chars=400, turns=3)

    answer = asyncio.run(scenario())
    policy = rules(without_features="prompt", explore=0.0, familiarity=0.0, quality_floor=0.8)
    expected = decide(
        Prompt(text=EASY, context_chars=400, turns=3),
        route="chat", policy=policy, model=trained(), online=NOTHING_KNOWN, operation_id="op-1",
    )  # fmt: skip
    logged = msgspec.json.decode(answer.decision, type=RouteDecision)
    assert (logged.losses, logged.risks) == (expected.losses, expected.risks)
    assert (answer.tier, answer.provider, answer.model, answer.reason) == ("small", "vllm", "small-8b", "good_enough")
    assert (answer.confidence, answer.expected_cost_usd_pico) == (expected.confidence, expected.expected_cost_usd_pico)
    assert answer.decision_id == logged.decision_id
    assert "capital" not in answer.decision


def test_what_the_store_knows_is_used_and_only_what_the_policy_looks_at_is_asked(tmp_path: Path) -> None:
    store = Store(Online(tiers={"small": traffic(error_ratio=0.9), "large": traffic()}))

    async def scenario() -> DecideResponse:
        async with serving(tmp_path, "explore = 0.0\nfamiliarity = 0.0\nquality_floor = 0.8\n", store.read) as (
            ask,
            _,
            _,
        ):
            return await ask(tenant_id="acme", feature="search")

    answer = asyncio.run(scenario())
    logged = msgspec.json.decode(answer.decision, type=RouteDecision)
    assert (answer.tier, logged.left_out) == ("large", ("small",))
    assert store.asked == [{"model_traffic_5m": [("vllm", "small-8b"), ("openai", "gpt-4o")]}]
    assert 0 < answer.ttl_us <= 60_000_000
    assert logged.features_age_us is not None
    assert logged.features_age_us >= 1_000_000


def test_a_ceiling_asks_for_the_callers_spending_and_such_an_answer_holds_for_one_request(tmp_path: Path) -> None:
    store = Store(msgspec.structs.replace(NOTHING_KNOWN, spend=SpendFeatures(known_cost_usd_pico_month=500)))

    async def scenario() -> DecideResponse:
        policy = BY_PROMPT + "month_ceiling_usd_pico = 500\n"
        async with serving(tmp_path, policy, store.read) as (ask, _, _):
            return await ask(tenant_id="acme", feature="search")

    answer = asyncio.run(scenario())
    assert (answer.tier, answer.reason, answer.ttl_us) == ("small", "spend_ceiling", 0)
    assert store.asked[0]["feature_spend"] == [("acme", "search")]


def test_a_store_that_hangs_costs_the_judgement_not_the_answer(tmp_path: Path) -> None:
    async def scenario() -> DecideResponse:
        async with serving(tmp_path, BY_PROMPT, Store(late_s=30.0).read) as (ask, _, _):
            return await ask()

    answer = asyncio.run(scenario())
    assert (answer.tier, answer.reason, answer.ttl_us) == ("large", "deadline", 0)
    logged = msgspec.json.decode(answer.decision, type=RouteDecision)
    assert (logged.propensities, logged.confidence) == ({"small": 0.0, "large": 1.0}, None)


@pytest.mark.parametrize(
    ("changes", "code", "says"),
    [
        ({"route": "nowhere"}, grpc.StatusCode.NOT_FOUND, "routes are: chat"),
        ({"operation_id": ""}, grpc.StatusCode.INVALID_ARGUMENT, "operation_id is empty"),
        ({"turns": -1}, grpc.StatusCode.INVALID_ARGUMENT, "0 or more"),
    ],
)
def test_what_cannot_be_decided_is_refused_with_what_would_be_right(
    tmp_path: Path, changes: dict[str, Any], code: grpc.StatusCode, says: str
) -> None:
    async def scenario() -> grpc.aio.AioRpcError:
        async with serving(tmp_path, BY_PROMPT) as (ask, _, _):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await ask(**changes)
            return refused.value

    error = asyncio.run(scenario())
    assert error.code() is code
    assert says in (error.details() or "")


def test_bytes_that_are_no_request_are_refused_and_the_server_goes_on(tmp_path: Path) -> None:
    async def scenario() -> tuple[grpc.StatusCode, str]:
        async with serving(tmp_path, BY_PROMPT) as (ask, channel, _):
            raw = channel.unary_unary(f"/{PACKAGE}.{SERVICE}/{METHOD}")
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await raw(b"\xff\xff\xff")
            return refused.value.code(), (await ask()).tier

    assert asyncio.run(scenario()) == (grpc.StatusCode.INVALID_ARGUMENT, "small")


def test_a_prompt_with_any_text_is_decided(tmp_path: Path) -> None:
    async def scenario() -> list[str]:
        async with serving(tmp_path, BY_PROMPT) as (ask, _, _):
            texts = ("", "\x00", "x" * 1_000_000, "🙂" * 5_000)
            return [(await ask(text=text)).decision_id for text in texts]

    assert len(set(asyncio.run(scenario()))) == 4


def test_health_is_told_before_and_while_it_ends(tmp_path: Path) -> None:
    async def scenario() -> list[int]:
        async with serving(tmp_path, BY_PROMPT) as (_, channel, service):
            stub: Any = health_pb2_grpc.HealthStub(channel)
            found = [
                (await stub.Check(health_pb2.HealthCheckRequest(service=name))).status
                for name in ("", f"{PACKAGE}.{SERVICE}")
            ]
            watching = stub.Watch(health_pb2.HealthCheckRequest(service=""))
            await watching.read()
            ending = asyncio.create_task(service.stop(1.0))
            found.append((await watching.read()).status)
            watching.cancel()
            await ending
            return found

    serving_, not_serving = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
    assert asyncio.run(scenario()) == [serving_, serving_, not_serving]


def test_a_changed_policy_is_taken_over_and_a_broken_one_is_not(tmp_path: Path) -> None:
    async def scenario() -> list[str]:
        async with serving(tmp_path, BY_PROMPT) as (ask, _, service):
            file, found = tmp_path / "router.toml", []
            for text in (BY_PROMPT, 'static_tier = "nobody"\n', BY_PROMPT + 'tiers = ["large"]\n'):
                base = POLICY_TEXT if "tiers" not in text else POLICY_TEXT.replace('tiers = ["small", "large"]\n', "")
                file.write_text(base + text, encoding="utf-8")
                await asyncio.to_thread(service.refresh)
                found.append((await ask()).tier)
            return found

    assert asyncio.run(scenario()) == ["small", "small", "large"]


def test_a_record_survives_the_wire_and_an_absent_confidence_stays_absent() -> None:
    response = DecideResponse(
        decision_id="d", tier="t", provider="p", model="m", reason="no_model", ttl_us=0,
        expected_cost_usd_pico=2**62, confidence=None,
    )  # fmt: skip
    assert messages.decode_response(messages.encode(response)) == response
    sure = msgspec.structs.replace(response, confidence=0.0)
    assert messages.decode_response(messages.encode(sure)) == sure


def test_the_model_that_serves_is_the_promoted_one(tmp_path: Path) -> None:
    async def scenario() -> str | None:
        async with serving(tmp_path, BY_PROMPT) as (ask, _, _):
            return msgspec.json.decode((await ask()).decision, type=RouteDecision).model_version

    assert asyncio.run(scenario()) == trained().version
    assert np.isfinite(trained().card.strong_quality)
