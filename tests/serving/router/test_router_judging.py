"""What another policy would have been worth: near the truth where tiers were tried by lot, else silent."""

import random

import msgspec
import pytest

from ledger.decisions import Decided
from serving.router.decide import NOTHING_KNOWN, decide
from serving.router.features import Prompt
from serving.router.judging import Judgement, judged
from serving.router.policy import Policy
from tests.serving.router.made import EASY, FILLERS, HARD, rules, trained

COSTS = {"small": 2_000_000_000, "large": 50_000_000_000}
BY_PROMPT: dict[str, object] = {"without_features": "prompt", "familiarity": 0.0, "confidence": 0.0}


def traffic(count: int, policy: Policy, *, seed: int) -> list[Decided]:
    """Operations under a policy: a small answer to a hard question is escalated, and both calls are paid."""
    draw = random.Random(seed)  # noqa: S311  (a workload, not a secret)
    found = []
    for number in range(count):
        hard = draw.random() < 0.5
        words = [draw.choice(HARD if hard else EASY), *draw.sample(FILLERS, 5)]
        made = decide(
            Prompt(text=f"Tell me the {' '.join(words)}?"),
            route="chat",
            policy=policy,
            model=trained(),
            online=NOTHING_KNOWN,
            operation_id=f"{seed}-{number}",
        )
        escalated = hard and made.tier == "small"
        cost = COSTS[made.tier] + (COSTS["large"] if escalated else 0)
        found.append(Decided(made, cost, 0, escalated, 1_500_000 if escalated else 500_000))
    return found


def mean_cost_usd(found: list[Decided]) -> float:
    return sum(one.incurred_cost_usd_pico for one in found) / len(found) / 1e12


@pytest.mark.slow
def test_the_other_policys_cost_is_found_without_serving_it() -> None:
    logged = traffic(6_000, rules(**BY_PROMPT, quality_floor=0.98, explore=0.1), seed=1)
    other = rules(**BY_PROMPT, quality_floor=0.5, explore=0.0)
    truth = mean_cost_usd(traffic(6_000, other, seed=2))

    found = judged(logged, other)

    cost = found.verdicts[0]
    assert cost.would_be is not None
    assert cost.was == pytest.approx(mean_cost_usd(logged))
    assert abs(cost.was - truth) > 0.002, "the two policies must differ, or the test shows nothing"
    assert cost.would_be.low <= truth <= cost.would_be.high
    assert cost.would_be.high - cost.would_be.low < 0.02
    assert found.untried == 0


def test_the_policy_that_was_followed_is_worth_what_it_was() -> None:
    policy = rules(**BY_PROMPT, quality_floor=0.9, explore=0.1)
    found = judged(traffic(500, policy, seed=3), policy)
    for verdict in found.verdicts:
        assert verdict.would_be is not None
        assert verdict.would_be.mean == pytest.approx(verdict.was)
        assert verdict.would_be.effective_calls == pytest.approx(500)
    for was, would_be in found.shares.values():
        assert was == pytest.approx(would_be, abs=0.03)


def test_without_exploration_nothing_is_known_of_the_other_tier_and_that_is_said() -> None:
    always_large = rules(**BY_PROMPT, quality_floor=1.0, explore=0.0)
    logged = [one for one in traffic(300, always_large, seed=4) if one.decision.tier == "large"]
    found = judged(logged, rules(**BY_PROMPT, quality_floor=0.0, explore=0.0))
    assert found.untried == 1
    assert [verdict.would_be for verdict in found.verdicts] == [None, None, None]


def test_an_operation_of_unknown_cost_is_left_out_of_the_cost_alone() -> None:
    policy = rules(**BY_PROMPT, explore=0.1)
    first, *others = traffic(60, policy, seed=5)
    unknown = msgspec.structs.replace(first, incurred_cost_usd_pico=10**15, incomplete_calls=1)
    found: Judgement = judged([unknown, *others], policy)
    assert [verdict.calls for verdict in found.verdicts] == [59, 60, 60]
    assert found.verdicts[0].was < 1
