"""A rule that was planted is found, noise is not taken for one, and the same pairs give the same model."""

import msgspec
import numpy as np
import pytest

from serving.router.evaluation import Report, Terms, evaluate, transfer
from serving.router.features import Prompt, features
from serving.router.model import estimate
from serving.router.pairs import Pair, qualities
from serving.router.training import Plan, cross_fit, fit, train
from tests.serving.router.made import EASY, HARD, PLAN, TIERS, pairs, trained

TERMS = Terms(tiers=TIERS, plan=PLAN, folds=3, draws=200)


def area(report: Report, name: str = "router") -> tuple[float, tuple[float, float]]:
    line = next(line for line in report.lines if line.name == name)
    return line.curve.apgr, line.intervals["apgr"]


@pytest.mark.slow
def test_a_planted_signal_is_found_and_beats_what_needs_no_learning() -> None:
    """Half of the prompts hold 95 % of the gap: an order that knows them has an area of about 0.74."""
    report = evaluate(pairs(500, seed=3, signal=0.9), TERMS)
    value, (low, _) = area(report)
    assert value > 0.68
    assert low > 0.6
    longest = next(line for line in report.lines if line.name == "longest prompt")
    assert longest.ahead > 0.95
    assert report.stable["case"] == report.stable["blanks"] == 1


@pytest.mark.slow
def test_on_noise_the_interval_of_the_area_holds_one_half() -> None:
    report = evaluate(pairs(500, seed=4, signal=0.0), TERMS)
    _, (low, high) = area(report)
    assert low < 0.5 < high
    _, (low, high) = area(report, "random")
    assert low < 0.5 < high


@pytest.mark.slow
def test_a_floor_that_rises_sends_more_to_the_strongest_tier() -> None:
    shares = [one.strong_share for one in evaluate(pairs(300, seed=5, signal=0.9), TERMS).settings]
    assert shares == sorted(shares)


@pytest.mark.slow
def test_group_means_are_a_baseline_where_groups_are_named() -> None:
    made = [
        msgspec.structs.replace(pair, group="hard" if any(word in pair.prompt.text for word in HARD) else "easy")
        for pair in pairs(500, seed=3, signal=0.9)
    ]
    report = evaluate(made, TERMS)
    assert area(report, "group mean")[0] > 0.68
    assert [line.name for line in report.lines] == ["router", "random", "longest prompt", "group mean"]


@pytest.mark.slow
def test_the_same_pairs_give_the_same_version_and_others_another() -> None:
    again = pairs(400, seed=1, signal=0.9)
    told = train([features(pair.prompt) for pair in again], qualities(again), tiers=TIERS, plan=PLAN)
    assert told.version == trained(1).version != trained(2).version


def test_calibrated_gains_are_the_rates_that_were_planted() -> None:
    """The small tier fails 95 % of hard prompts and 5 % of easy ones."""
    rest = "window music letter bridge market, case 3?"
    for words, rate in ((EASY, 0.05), (HARD, 0.95)):
        told = [estimate(trained(), features(Prompt(text=f"Tell me the {word} garden {rest}"))) for word in words]
        assert np.mean([one.gains[0] for one in told]) == pytest.approx(rate, abs=0.1)
        assert np.mean([one.worse[0] for one in told]) == pytest.approx(rate, abs=0.1)


def test_prompts_like_the_training_ones_are_familiar_and_others_are_not() -> None:
    fresh = [estimate(trained(), features(pair.prompt)).familiarity for pair in pairs(100, seed=9, signal=0.9)]
    assert np.mean(np.array(fresh) >= 0.02) > 0.85
    other = Prompt(text="Die Straße nach Zürich ist gesperrt; fahren Sie über Baden!")
    assert estimate(trained(), features(other)).familiarity == 0


@pytest.mark.slow
def test_the_ridge_solution_is_that_of_the_normal_equations() -> None:
    """Against numpy's own solver, on what the fitted weights predict."""
    found = pairs(60, seed=6, signal=0.9)
    texts, gains = [features(pair.prompt) for pair in found], 1 - qualities(found)[:, :1]
    arrays = fit(texts, gains, ridge=5.0)
    from serving.router.training import _design, _prepared, corpus  # the design is no part of the interface

    design, kept = _design(corpus(texts), _prepared(corpus(texts), heads=1))
    width = len(kept) + design.dense.shape[1]
    whole = np.stack([design.times(column) for column in np.eye(width)], axis=1)
    target = gains[:, 0] - gains.mean()
    wanted = whole @ np.linalg.solve(whole.T @ whole + 5.0 * np.eye(width), whole.T @ target)
    fitted = np.concatenate((arrays.weights[kept, 0], arrays.cosine_weights[:, 0]))
    assert whole @ fitted == pytest.approx(wanted, abs=2e-3)


def test_three_tiers_have_a_head_each_but_the_strongest() -> None:
    """The middle tier is right on everything; only the small one has something to gain."""
    made = [
        msgspec.structs.replace(pair, qualities=(pair.qualities[0], 1.0, 1.0))
        for pair in pairs(200, seed=7, signal=0.9)
    ]
    tiers = ("small", "middle", "large")
    model = train([features(pair.prompt) for pair in made], qualities(made), tiers=tiers, plan=PLAN)
    said = estimate(model, features(Prompt(text=f"Tell me the {HARD[0]} river story, case 2?")))
    assert said.gains[0] > 0.5
    assert said.gains[1] == pytest.approx(0, abs=1e-6)


def test_no_prompt_is_scored_by_a_model_that_saw_it() -> None:
    """Were it not so, labels drawn by lot would be predicted."""
    found = pairs(200, seed=8, signal=0.0)
    gains = 1 - qualities(found)[:, :1]
    scores, _ = cross_fit([features(pair.prompt) for pair in found], gains, plan=Plan(folds=4, ridge=0.1))
    assert abs(np.corrcoef(scores[:, 0], gains[:, 0])[0, 1]) < 0.25


@pytest.mark.slow
def test_a_model_is_judged_on_other_prompts_as_a_whole() -> None:
    report = transfer(trained(), pairs(200, seed=10, signal=0.9), terms=TERMS)
    assert area(report)[0] > 0.68
    assert report.far_share < 0.15


@pytest.mark.slow
def test_too_few_pairs_and_a_gap_that_is_none_are_refused() -> None:
    few = pairs(20, seed=1, signal=0.9)
    with pytest.raises(ValueError, match="20 labelled pairs are too few; give at least 50"):
        train([features(pair.prompt) for pair in few], qualities(few), tiers=TIERS, plan=PLAN)
    turned = [
        Pair(prompt=one.prompt, qualities=one.qualities[::-1], group="") for one in pairs(100, seed=1, signal=0.5)
    ]
    with pytest.raises(ValueError, match="name the strongest tier last"):
        evaluate(turned, TERMS)
