"""The router in the gateway: what it sees of a request, what it decides, and that no answer is lost by its failure."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

from serving.gateway.cascade_configuration import Experiment
from serving.gateway.configuration import ConfigurationError, configuration_of
from serving.gateway.routing import Caller, arm_of
from tests.serving.routes import EASY, HARD, POLICY, ask, config, files
from tests.serving.running import (
    STREAM,
    Running,
    Step,
    Upstream,
    completion,
    reply,
    running,
    streamed,
    upstream,
)

Two = Callable[[Running, Upstream, Upstream], Awaitable[None]]


def with_two(scenario: Two, small: Step, large: Step, *, tmp_path: Path, **settings: Any) -> None:
    """A gateway before a small and a large tier."""
    section = files(tmp_path, policy=settings.pop("policy", POLICY), model=settings.pop("model", True))

    async def all_of_it() -> None:
        async with upstream(small) as one, upstream(large) as two:
            toml = config(section, **settings, small=one.port, large=two.port)
            async with running(toml) as gateway:
                await asyncio.wait_for(scenario(gateway, one, two), 30)
                assert gateway.memory.settled_once()
                await gateway.pools_empty()

    uvloop.run(all_of_it())


GOOD = reply(completion("fine"))


@pytest.mark.slow
def test_an_easy_prompt_goes_to_the_small_tier_and_a_hard_one_to_the_large(tmp_path: Path) -> None:
    async def scenario(gateway: Running, small: Upstream, large: Upstream) -> None:
        easy, hard = await gateway.post(ask(EASY)), await gateway.post(ask(HARD))
        assert (easy.headers["x-tokenledger-tier"], hard.headers["x-tokenledger-tier"]) == ("small", "large")
        assert (len(small.received), len(large.received)) == (1, 1)
        first, second = (intent.decision for intent in gateway.memory.intents)
        assert first is not None
        assert second is not None
        assert (first.tier, first.reason, first.mode) == ("small", "good_enough", "stream-now")
        assert second.tier == "large"
        assert [intent.decision_id for intent in gateway.memory.intents] == [first.decision_id, second.decision_id]
        assert easy.headers["x-tokenledger-decision"] == first.decision_id
        assert first.features["prompt.chars"] == len(EASY)

    with_two(scenario, GOOD, GOOD, tmp_path=tmp_path)


def test_shadow_decides_and_logs_and_leaves_traffic_as_it_was(tmp_path: Path) -> None:
    async def scenario(gateway: Running, small: Upstream, large: Upstream) -> None:
        answered = await gateway.post(ask(HARD))
        assert answered.status == 200
        assert (len(small.received), len(large.received)) == (1, 0)
        [intent] = gateway.memory.intents
        assert intent.decision is not None
        assert (intent.decision.tier, intent.decision.mode, intent.route_tier) == ("large", "shadow", "small")

    with_two(scenario, GOOD, GOOD, tmp_path=tmp_path, cascade='mode = "shadow"')


def test_a_stream_is_routed_and_told_its_tier(tmp_path: Path) -> None:
    async def scenario(gateway: Running, _small: Upstream, large: Upstream) -> None:
        answered = await gateway.post(ask(HARD, stream=True))
        assert answered.headers["x-tokenledger-tier"] == "large"
        assert answered.body.endswith(b"data: [DONE]\n\n")
        assert len(large.received) == 1

    with_two(scenario, GOOD, streamed(*STREAM), tmp_path=tmp_path)


def test_a_fallback_is_never_weaker_than_the_chosen_tier(tmp_path: Path) -> None:
    async def scenario(gateway: Running, small: Upstream, large: Upstream) -> None:
        assert (await gateway.post(ask(HARD))).status == 503
        assert small.received == []
        assert large.received
        easy = await gateway.post(ask(EASY))
        assert easy.status == 200

    with_two(scenario, GOOD, reply({"error": {"message": "busy"}}, status=503), tmp_path=tmp_path)


def test_a_stronger_tier_steps_in_for_one_that_is_down_and_says_so(tmp_path: Path) -> None:
    async def scenario(gateway: Running, _small: Upstream, _large: Upstream) -> None:
        answered = await gateway.post(ask(EASY))
        assert answered.status == 200
        assert answered.headers["x-tokenledger-tier"] == "large"
        roles = [(one.attempt_role, one.attempt_reason) for one in gateway.memory.intents]
        assert roles == [("primary", None), ("retry", "upstream_error"), ("fallback", "upstream_error")]
        assert [one.decision is not None for one in gateway.memory.intents] == [True, False, False]

    with_two(scenario, reply({"error": {"message": "busy"}}, status=503), GOOD, tmp_path=tmp_path)


def test_where_the_policy_allows_it_a_weaker_tier_answers_when_nothing_else_does(tmp_path: Path) -> None:
    async def scenario(gateway: Running, _small: Upstream, _large: Upstream) -> None:
        answered = await gateway.post(ask(HARD))
        assert (answered.status, answered.headers["x-tokenledger-tier"]) == (200, "small")

    cascade = 'mode = "stream-now"\nweaker_fallback = true'
    with_two(scenario, GOOD, reply({"error": {}}, status=503), tmp_path=tmp_path, cascade=cascade)


def test_a_router_that_fails_costs_nobody_an_answer(tmp_path: Path) -> None:
    async def scenario(gateway: Running, small: Upstream, large: Upstream) -> None:
        assert gateway.gateway.router is not None
        gateway.gateway.router._current.model = object()  # type: ignore[assignment]
        answered = await gateway.post(ask(EASY))
        assert answered.status == 200
        assert (len(small.received), len(large.received)) == (0, 1), "the static tier is the strongest"
        assert gateway.memory.intents[0].decision is None

    with_two(scenario, GOOD, GOOD, tmp_path=tmp_path)


def test_without_features_the_static_tier_serves_where_the_policy_asks_for_them(tmp_path: Path) -> None:
    async def scenario(gateway: Running, _small: Upstream, large: Upstream) -> None:
        await gateway.post(ask(EASY))
        assert len(large.received) == 1
        decision = gateway.memory.intents[0].decision
        assert decision is not None
        assert decision.reason == "features_missing"

    policy = POLICY.replace('without_features = "prompt"\n', "")
    with_two(scenario, GOOD, GOOD, tmp_path=tmp_path, policy=policy)


def test_embeddings_of_a_cascaded_route_are_not_routed(tmp_path: Path) -> None:
    async def scenario(gateway: Running, small: Upstream, _large: Upstream) -> None:
        await gateway.post({"model": "m", "input": "x"}, path="/v1/embeddings")
        assert len(small.received) == 1
        assert gateway.memory.intents[0].decision is None

    with_two(scenario, GOOD, GOOD, tmp_path=tmp_path)


def test_a_changed_policy_is_taken_over_and_one_that_does_not_fit_is_not(tmp_path: Path) -> None:
    async def scenario(gateway: Running, _small: Upstream, _large: Upstream) -> None:
        router = gateway.gateway.router
        assert router is not None
        before = router.policy.version
        path = tmp_path / "router.toml"
        path.write_text(POLICY.replace("[routes.chat]", "[routes.other]"))
        router.refresh()
        assert router.policy.version == before
        path.write_text(POLICY + "total_ms = 9\n")
        router.refresh()
        assert router.policy.version != before

    with_two(scenario, GOOD, GOOD, tmp_path=tmp_path)


def test_a_route_that_the_policy_does_not_fit_is_refused_with_what_would_be_right(tmp_path: Path) -> None:
    async def scenario(gateway: Running, _small: Upstream, _large: Upstream) -> None:
        wrong = config(files(tmp_path), small=1)
        with pytest.raises(ConfigurationError, match="no upstream has the tier 'large'"):
            gateway.gateway.adopt(configuration_of(wrong))
        assert "large" in gateway.gateway.configuration.upstreams

    with_two(scenario, GOOD, GOOD, tmp_path=tmp_path)


def test_a_second_opinion_needs_another_upstream_of_the_first_tier(tmp_path: Path) -> None:
    async def scenario(gateway: Running, _small: Upstream, _large: Upstream) -> None:
        wrong = config(files(tmp_path), 'second_opinion = "small"', small=1, large=2)
        with pytest.raises(
            ConfigurationError, match="no upstream beside the second opinion 'small' has the tier 'small'"
        ):
            gateway.gateway.adopt(configuration_of(wrong))

    with_two(scenario, GOOD, GOOD, tmp_path=tmp_path)


def test_a_tier_is_added_with_its_upstream_first_and_then_by_the_policy(tmp_path: Path) -> None:
    async def scenario(gateway: Running, small: Upstream, large: Upstream) -> None:
        router = gateway.gateway.router
        assert router is not None
        path = tmp_path / "router.toml"
        tier = POLICY.partition("[tiers.large]")[0].replace("[tiers.small]", "[tiers.medium]")
        three = (tier + POLICY).replace('["small", "large"]', '["small", "medium", "large"]')
        path.write_text(three)
        router.refresh()
        assert "medium" not in router.policy.tiers, "nobody serves it yet"
        section = f'[router]\npolicy_file = "{path}"\nmodels_dir = "{tmp_path / "models"}"\n'
        path.write_text(POLICY)
        toml = config(section, small=small.port, medium=small.port, large=large.port)
        gateway.gateway.adopt(configuration_of(toml))
        assert (await gateway.post(ask(EASY))).headers["x-tokenledger-tier"] == "small"
        path.write_text(three)
        router.refresh()
        assert "medium" in router.policy.tiers
        assert (await gateway.post(ask(EASY))).headers["x-tokenledger-tier"] == "large", "the model does not know it"

    with_two(scenario, GOOD, GOOD, tmp_path=tmp_path)


def _caller(**more: Any) -> Caller:
    usual = {"operation_id": "o", "tenant_id": "acme", "api_key_id": "key", "feature": "", "session_id": None}
    return Caller(**usual | more)


def test_an_arm_is_the_same_for_a_session_and_dealt_anew_by_another_experiment() -> None:
    one, other = Experiment(name="one", share=0.5), Experiment(name="other", share=0.5)
    sessions = [_caller(session_id=f"s{number}") for number in range(2_000)]
    arms = [arm_of(one, session, user_id=None) for session in sessions]
    assert arms == [arm_of(one, session, user_id="whoever") for session in sessions]
    assert 900 < arms.count("cascade") < 1_100
    both = sum(a == b for a, b in zip(arms, (arm_of(other, s, user_id=None) for s in sessions), strict=True))
    assert 900 < both < 1_100
    assert arm_of(None, sessions[0], user_id=None) is None


def test_the_control_is_served_by_its_tier_and_logged_in_its_arm(tmp_path: Path) -> None:
    async def scenario(gateway: Running, small: Upstream, large: Upstream) -> None:
        await gateway.post(ask(EASY))
        assert (len(small.received), len(large.received)) == (0, 1)
        decision = gateway.memory.intents[0].decision
        assert decision is not None
        assert (decision.experiment, decision.arm, decision.tier) == ("x", "control", "small")

    more = '[routes.m.experiment]\nname = "x"\nshare = 0.0\ncontrol_tier = "large"\n'
    with_two(scenario, GOOD, GOOD, tmp_path=tmp_path, more=more)
