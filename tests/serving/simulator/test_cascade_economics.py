"""The benchmark's sums, on four questions counted by hand; the fleet's prices are the catalogue's."""

import tomllib

import numpy as np
import pytest

from benchmarks.cascade import FRONTIER, HERE, MEDIUM, OTHER, SMALL, World, agreed, alone, checked, rates_of
from serving.router.policy import policy
from serving.simulator import config

# Small and its second opinion: agree and right, differ, agree and wrong, small refuses.
MADE = World(
    said=[("4", "4", "4", "4"), ("5", "6", "7", "7"), ("no", "no", "yes", "yes"), ("I'm sorry, no", "8", "8", "8")],
    right=np.array([[1, 1, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1], [0, 1, 1, 1]], dtype=float),
    usd=np.tile([1.0, 2.0, 5.0, 20.0], (4, 1)),
    seconds=np.tile([0.1, 0.3, 0.5, 1.0], (4, 1)),
    prompts=["a", "b", "c", "d"],
)
START = np.full(4, SMALL)
WHOLE = (SMALL, MEDIUM, FRONTIER)


def test_one_tier_alone_costs_its_calls() -> None:
    served = alone(MADE, FRONTIER)
    assert (served.usd.sum(), served.right.mean()) == (80, 1)


def test_without_agreement_only_the_refusal_goes_up_and_both_calls_are_paid() -> None:
    served = checked(MADE, START, rungs=WHOLE)
    assert served.usd.tolist() == [1, 1, 1, 6]
    assert served.right.tolist() == [1, 0, 0, 1]
    assert served.tier.tolist() == [SMALL, SMALL, SMALL, MEDIUM]


def test_disagreement_goes_up_the_second_opinion_is_paid_and_waited_for_in_parallel() -> None:
    served = agreed(MADE, START, rungs=(SMALL, FRONTIER), opinion=OTHER)
    assert served.usd.tolist() == [3, 23, 3, 23]
    assert served.right.tolist() == [1, 1, 0, 1]
    assert served.seconds.tolist() == pytest.approx([0.3, 1.3, 0.3, 1.3])


def test_a_middle_answer_that_agrees_with_none_paid_for_goes_up_once_more() -> None:
    served = agreed(MADE, START, rungs=WHOLE, opinion=OTHER, later=True)
    assert served.tier.tolist() == [SMALL, FRONTIER, SMALL, MEDIUM]
    assert served.usd.tolist() == [3, 28, 3, 8]


def test_the_policy_of_the_fleet_has_the_prices_of_the_catalogue() -> None:
    tiers = policy((HERE / "cascade_router.toml").read_text(encoding="utf-8")).tiers
    for tier in tiers.values():
        assert (tier.input_usd_pico_per_token, tier.output_usd_pico_per_token) == rates_of(tier.model)
    fleet = config.load(HERE / "cascade.toml").tiers
    assert {tier.model for tier in tiers.values()} <= {model for tier in fleet for model in tier.models}
    assert tomllib.loads((HERE / "cascade_router.toml").read_text(encoding="utf-8"))["routes"]["chat"]["explore"] > 0
