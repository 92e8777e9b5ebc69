"""The error budget is kept against simulated truth, where who is right is known."""

import math
import random

import numpy as np
import pytest
from scipy.stats import beta, binom

from serving.cache.bounds import at_most, least_trials, upper_bound
from serving.cache.budget import Budget
from serving.cache.learning import FEATURES, Checked, Own, gate_of
from serving.cache.pairing import Candidate


@pytest.mark.parametrize(("hits", "trials"), [(0, 1), (0, 300), (1, 20), (7, 100), (39, 40), (500, 4_000), (5, 5)])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.997])
def test_the_bound_is_the_one_of_clopper_and_pearson(hits: int, trials: int, confidence: float) -> None:
    expected = 1.0 if hits == trials else float(beta.ppf(confidence, hits + 1, trials - hits))

    assert upper_bound(hits, trials, confidence=confidence) == pytest.approx(expected, abs=1e-9)
    assert at_most(hits, trials, share=0.03) == pytest.approx(float(binom.cdf(hits, trials, 0.03)), abs=1e-9)


def test_so_many_faultless_trials_show_a_share() -> None:
    for share, confidence in ((0.01, 0.95), (0.02, 0.997), (0.5, 0.5)):
        trials = least_trials(share, confidence)
        assert (
            upper_bound(0, trials, confidence=confidence) <= share < upper_bound(0, trials - 1, confidence=confidence)
            if trials > 1
            else True
        )


def test_an_answer_that_was_wrong_is_trusted_less_and_one_that_was_right_more() -> None:
    unknown, right, wrong = Own(), Own(), Own()
    for _ in range(6):
        right.add(1.0, correct=True)
        wrong.add(1.0, correct=False)

    assert wrong.offset < unknown.offset < right.offset


def test_no_checked_pairs_no_hits() -> None:
    assert gate_of(np.array([]), np.array([], dtype=bool), budget=0.02, confidence=0.95) == math.inf
    few = np.arange(20.0)
    assert gate_of(few, np.zeros(20, dtype=bool), budget=0.02, confidence=0.95) == math.inf


def test_the_gate_stands_where_the_wrong_ones_begin() -> None:
    scores = np.linspace(1, 0, 2_000)
    wrong = scores < 0.5

    gate = gate_of(scores, wrong, budget=0.05, confidence=0.95)

    assert 0.45 <= gate <= 0.55
    assert wrong[scores >= gate].mean() <= 0.05


# Against simulated truth

_ANSWERS = 40


def candidate(draw: random.Random, *, trap_share: float = 0.0) -> tuple[Candidate, bool]:
    """A pair whose chance of being right rises with its similarity, differs by answer, and is nil for a trap."""
    number = draw.randrange(_ANSWERS)
    answer = f"answer {number}"
    hardness = (number % 7) - 3
    similarity = draw.uniform(0.8, 1)
    chance = 1 / (1 + math.exp(-(70 * (similarity - 0.88) + hardness)))
    if draw.random() < trap_share:
        similarity, chance = draw.uniform(0.95, 1), 0.0
    features = dict.fromkeys(FEATURES, 0.0) | {"one": 1.0, "similarity": (similarity - 0.85) * 10}
    return Candidate(answer, similarity, tuple(features.values())), draw.random() < chance


def served_and_wrong(
    *, seed: int, budget: float, questions: int = 4_000, trap_share: float = 0.0, verified: float = 0.07
) -> tuple[int, int]:
    """Hits of one simulated route, and the wrong ones among them."""
    draw = random.Random(seed)  # noqa: S311 - a simulation
    learner = Budget()
    served = wrong = 0
    for _ in range(questions):
        one, right = candidate(draw, trap_share=trap_share)
        offset = learner.offset(one.answer_id)
        is_hit = learner.is_sure(one)
        served += is_hit
        wrong += is_hit and not right
        if not is_hit or draw.random() < verified:
            learner.learn(one.answer_id, Checked(one.features, offset, right), drawn=is_hit, budget=budget,
                          confidence=0.95)  # fmt: skip
    return served, wrong


@pytest.mark.slow
@pytest.mark.parametrize("budget", [0.01, 0.02, 0.05])
def test_the_share_of_wrong_hits_stays_within_the_budget(budget: float) -> None:
    runs = [served_and_wrong(seed=seed, budget=budget) for seed in range(3)]
    served, wrong = map(sum, zip(*runs, strict=True))

    assert served > 300, "nothing was learned"
    assert wrong <= budget * served


@pytest.mark.slow
def test_traps_that_no_feature_shows_keep_the_cache_shut() -> None:
    """A tenth of the most similar pairs are wrong: no gate keeps a budget of 2 %, so nothing is served for long."""
    runs = [served_and_wrong(seed=seed, budget=0.02, trap_share=0.2, questions=4_000) for seed in range(2)]

    assert sum(served for served, _ in runs) <= 0.01 * 8_000


@pytest.mark.slow
def test_when_the_world_changes_the_cache_shuts_by_itself() -> None:
    """From one moment on, every second hit is wrong; what is checked of them says so."""
    draw = random.Random(3)  # noqa: S311 - a simulation
    learner = Budget()

    def ask(*, broken: bool) -> tuple[bool, bool]:
        one, right = candidate(draw)
        right = right and not (broken and draw.random() < 0.5)
        offset, is_hit = learner.offset(one.answer_id), learner.is_sure(one)
        if not is_hit or draw.random() < 0.07:
            learner.learn(one.answer_id, Checked(one.features, offset, right), drawn=is_hit, budget=0.02,
                          confidence=0.95)  # fmt: skip
        return is_hit, right

    before = [ask(broken=False) for _ in range(4_000)]
    during = [ask(broken=True) for _ in range(4_000)]

    assert sum(hit for hit, _ in before[-1_000:]) > 100
    assert sum(hit for hit, _ in during[-2_000:]) == 0
    assert not learner.rate().serving


def test_checked_hits_that_are_wrong_more_often_than_chance_allows_halve_the_budget() -> None:
    """At 2 %, 105 checks have five wrong ones or more in 6 % of cases, 106 have six or more in 2 %."""
    learner, features = Budget(), candidate(random.Random(1))[0].features  # noqa: S311 - a simulation

    def check(*, correct: bool) -> int:
        learner.learn("a", Checked(features, 0.0, correct), drawn=True, budget=0.02, confidence=0.95)
        return learner.rate().strictness

    assert {check(correct=True) for _ in range(100)} == {0}
    assert [check(correct=False) for _ in range(6)] == [0, 0, 0, 0, 0, 1]


def test_the_rate_says_what_was_checked() -> None:
    learner = Budget()
    one, _ = candidate(random.Random(1))  # noqa: S311 - a simulation
    for number in range(50):
        learner.learn(one.answer_id, Checked(one.features, 0.0, number != 7), drawn=True, budget=0.5, confidence=0.95)

    rate = learner.rate()

    assert (rate.checked, rate.wrong) == (50, 1)
    assert rate.bound == pytest.approx(float(beta.ppf(0.95, 2, 49)))
