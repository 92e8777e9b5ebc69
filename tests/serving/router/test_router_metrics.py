"""The figures a router is judged by, against ones worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.router.calibration import isotonic
from serving.router.metrics import apgr, calibration_error, call_share, curve, recovered


def test_two_gains_found_first_recover_all_after_a_fifth_of_the_calls() -> None:
    """Heights at 0, 0.1, … 1 are 0, ½, 1, 1, …: trapezoids of width 0.1 sum to 0.1 · (½ + 8 · 1 + ½ · 1)."""
    gains = np.array([1.0, 0, 0, 0, 0, 0, 0, 0, 0, 1.0])
    scores = np.array([9.0, 1, 2, 3, 4, 5, 6, 7, 7.5, 8.0])
    assert recovered(scores, gains).tolist() == [0, 0.5, *[1] * 9]
    assert apgr(scores, gains) == pytest.approx(0.9)
    assert call_share(scores, gains, recover=0.5) == 0.1
    assert call_share(scores, gains, recover=0.8) == 0.2


def test_an_order_that_leaves_the_strong_models_mistakes_for_last_passes_the_whole_gap() -> None:
    """Gains 1, 1, 0 …, −1: recovered 1, 2, 2, … 2, 1. The area is 0.1 · (1 + 8 · 2 + ½ · 1) = 1.75."""
    gains = np.array([1.0, 1, 0, 0, 0, 0, 0, 0, 0, -1])
    scores = -np.arange(10.0)
    assert apgr(scores, gains) == pytest.approx(1.75)
    assert call_share(scores, gains, recover=0.8) == 0.1


def test_saved_cost_pays_one_call_a_prompt() -> None:
    """10 prompts, weak 8 right, strong 10: 95 % and 99 % both need 10 right, which takes the 2 strong calls."""
    weak, strong = np.array([0.0, 0, *[1] * 8]), np.ones(10)
    told = curve(-np.arange(10.0), weak, strong, cost_ratio=0.25)
    assert told.saved_at_95 == pytest.approx(0.8 * 0.75)
    assert told.saved_at_100 == pytest.approx(0.8 * 0.75)
    assert curve(np.arange(10.0), weak, strong, cost_ratio=0.25).saved_at_100 == 0


def test_tiers_that_are_close_save_much_at_95_percent_without_any_skill() -> None:
    """19 of 20 right is 95 % of 20 right: no strong call is needed, whatever the order."""
    weak, strong = np.array([0.0, *[1] * 19]), np.ones(20)
    assert curve(np.arange(20.0), weak, strong, cost_ratio=0).saved_at_95 == 1


@pytest.mark.slow
@given(st.permutations(range(20)), st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=20, max_size=20))
def test_an_order_and_its_reverse_have_areas_that_sum_to_one(order: list[int], gains: list[float]) -> None:
    drawn = np.array(gains)
    if drawn.sum() <= 0:
        drawn = drawn + 1.5
    scores = np.array(order, dtype=float)
    assert apgr(scores, drawn) + apgr(-scores, drawn) == pytest.approx(1)


@given(st.permutations(range(20)), st.floats(0.1, 1), st.floats(0.1, 1))
def test_more_of_the_gap_never_takes_fewer_calls(order: list[int], one: float, other: float) -> None:
    gains = np.array([1.0, 1, 1, -1, 0] * 4)
    shares = [call_share(np.array(order, float), gains, recover=recover) for recover in sorted((one, other))]
    assert shares[0] <= shares[1]


def test_the_calibration_error_is_the_mean_distance_of_expected_and_seen() -> None:
    """Two bins of two: expected 0.2 and 0.8 on average, seen 0.5 and 1: distances 0.3 and 0.2."""
    expected, seen = np.array([0.1, 0.3, 0.7, 0.9]), np.array([0.0, 1, 1, 1])
    assert calibration_error(expected, seen, bins=2) == pytest.approx(0.25)


def test_isotonic_regression_pools_what_falls() -> None:
    """1, 3, 2, 4: the middle two are pooled to 2.5."""
    fitted = isotonic(np.arange(4.0), np.array([1.0, 3, 2, 4]), rising=True, smallest_block=1)
    assert fitted.values == (1, 2.5, 4)
    assert fitted.scores == (0, 1.5, 3)
    assert fitted(-5) == 1
    assert fitted(0.75) == pytest.approx(1.75)
    assert fitted(99) == 4


@pytest.mark.slow
@given(st.lists(st.floats(0, 1), min_size=5, max_size=60))
def test_isotonic_regression_never_falls_and_keeps_the_mean(observed: list[float]) -> None:
    scores, seen = np.arange(float(len(observed))), np.array(observed)
    fitted = isotonic(scores, seen, rising=True, smallest_block=1)
    assert list(fitted.values) == sorted(fitted.values)
    nearest = np.array([min(range(len(fitted.scores)), key=lambda k: abs(fitted.scores[k] - x)) for x in scores])
    assert len(set(nearest.tolist())) == len(fitted.scores)
    assert seen.min() - 1e-9 <= fitted.values[0] <= fitted.values[-1] <= seen.max() + 1e-9
