"""PSI and KL over fixed bins: Evidently's and SciPy's figures on the same bins, the same in a stream as in a batch."""

import math
import warnings
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy

from tokenledger.drift import MISSING, OTHER, Bins, histogram, kl, merge, noise, psi, quantile_bins, word_bins

numbers = st.lists(st.none() | st.floats(-1e6, 1e9) | st.integers(-5, 5).map(float), min_size=1, max_size=60)
edges = st.lists(st.floats(-1e6, 1e6), max_size=12).map(quantile_bins)
counts = st.integers(2, 12).flatmap(
    lambda size: st.tuples(*2 * [st.lists(st.integers(0, 500), min_size=size, max_size=size).filter(any)])
)


@pytest.fixture(scope="module")
def evidently() -> Any:
    """Its two methods, as it registers them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from evidently.legacy.calculations.stattests import kl_div_stat_test, psi_stat_test
    return {"psi": psi_stat_test, "kl": kl_div_stat_test}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("shift", [0.0, 0.15, 1.0])
def test_psi_and_kl_are_evidently_s_when_it_is_given_the_same_bins(evidently: Any, seed: int, shift: float) -> None:
    lot = np.random.default_rng(seed)
    before, now = lot.lognormal(5, 1, 3_000), lot.lognormal(5 + shift, 1, 1_500)
    now[:3] = 1e7
    bins = quantile_bins(np.quantile(before, np.linspace(0.1, 0.9, 9)).tolist())
    counted = [histogram(bins, values.tolist()) for values in (before, now)]
    named = [pd.Series([bins.labels[bins.bin_of(value)] for value in values.tolist()]) for values in (before, now)]

    theirs = {name: test.func(*named, "cat", 0.1)[0] for name, test in evidently.items()}

    assert psi(*counted) == pytest.approx(theirs["psi"], rel=1e-9, abs=1e-12)
    assert kl(*counted) == pytest.approx(theirs["kl"], rel=1e-9, abs=1e-12)


@pytest.mark.slow
def test_empty_bins_count_as_evidently_has_them(evidently: Any) -> None:
    before = pd.Series(["a"] * 50_000 + ["b"] + ["c"] * 50)
    now = pd.Series(["a"] * 500 + ["d"] * 20)
    order = ("a", "b", "c", "d")
    counted = [[int((values == name).sum()) for name in order] for values in (before, now)]

    theirs = {name: test.func(before, now, "cat", 0.1)[0] for name, test in evidently.items()}

    assert psi(*counted) == pytest.approx(theirs["psi"], rel=1e-9)
    assert kl(*counted) == pytest.approx(theirs["kl"], rel=1e-9)


@pytest.mark.slow
@given(counts)
def test_where_no_bin_is_empty_psi_is_both_entropies_and_kl_is_scipy_s(pair: tuple[list[int], list[int]]) -> None:
    before, now = ([count + 1 for count in one] for one in pair)
    p, q = (np.array(one) / sum(one) for one in (before, now))

    assert psi(before, now) == pytest.approx(entropy(p, q) + entropy(q, p), abs=1e-9)
    assert kl(before, now) == pytest.approx(entropy(p, q), abs=1e-9)


@given(counts)
def test_distances_are_never_below_zero_and_psi_is_the_same_both_ways(pair: tuple[list[int], list[int]]) -> None:
    before, now = pair

    assert psi(before, now) >= 0
    assert psi(before, now) == pytest.approx(psi(now, before))
    assert kl(before, now) >= -1e-3
    assert psi(before, before) == 0
    assert psi([10 * count for count in before], before) == pytest.approx(0, abs=1e-12)


def test_a_distribution_without_values_has_no_distance() -> None:
    with pytest.raises(ValueError, match="without values"):
        psi([1, 2], [0, 0])


@given(edges, numbers)
def test_every_value_is_in_one_bin_between_its_edges(bins: Bins, values: list[float | None]) -> None:
    assert bins.edges is not None
    inner = [-math.inf, *bins.edges, math.inf]

    for value in values:
        place = bins.bin_of(value)
        assert bins.labels[place] == MISSING if value is None else inner[place] <= value < inner[place + 1]
    assert sum(histogram(bins, values)) == len(values)
    assert len(histogram(bins, [])) == len(bins.labels)


@given(edges, numbers, st.integers(1, 10))
def test_a_stream_that_counts_by_minutes_comes_to_the_same_as_a_batch(
    bins: Bins, values: list[float | None], minute: int
) -> None:
    stream, total = iter(values), histogram(bins, [])
    while part := list(islice(stream, minute)):
        total = merge(total, histogram(bins, part))

    assert total == histogram(bins, values)
    assert merge(total, histogram(bins, [])) == total


def test_a_value_that_many_share_has_a_bin_of_its_own() -> None:
    bins = quantile_bins([0.0, 0.0, 0.0, 3.0, 7.0])

    assert bins.labels == ("below 0", "0", "above 0 to 3", "3 to 7", "from 7", MISSING)
    assert histogram(bins, [0, 0, 2.9, 3, 100, None, math.nan, -1]) == (1, 2, 1, 1, 1, 2)


@pytest.mark.parametrize("now", [1.0, 5.0])
def test_a_column_that_was_always_the_same_is_seen_to_rise_and_to_fall(now: float) -> None:
    """Turns of a chat were 2, all of them."""
    bins = quantile_bins([2.0] * 9)

    assert bins.labels == ("below 2", "2", "above 2", MISSING)
    assert psi(histogram(bins, [2.0] * 300), histogram(bins, [2.0] * 300)) == 0
    assert psi(histogram(bins, [2.0] * 300), histogram(bins, [now] * 300)) > 1


def test_one_huge_value_moves_one_count_and_no_edge() -> None:
    lot = np.random.default_rng(3)
    before, now = lot.lognormal(5, 1, 5_000).tolist(), lot.lognormal(5, 1, 5_000).tolist()
    bins = quantile_bins(np.quantile(before, np.linspace(0.1, 0.9, 9)).tolist())
    plain = psi(histogram(bins, before), histogram(bins, now))

    assert psi(histogram(bins, before), histogram(bins, [*now[:-1], 1e7])) == pytest.approx(plain, abs=1e-3)


def test_words_the_reference_does_not_know_share_a_bin() -> None:
    bins = word_bins({"small": 70, "large": 30, "rare": 1, "odd": 1}, most=3)

    assert bins.labels == ("large", "odd", "small", OTHER, MISSING)
    assert histogram(bins, ["small", "new", "rare", None, "large"]) == (1, 0, 1, 2, 1)


def test_chance_alone_gives_about_the_noise_that_is_stated() -> None:
    """The mean of 200 draws from one distribution; its standard error is below a tenth of it."""
    lot = np.random.default_rng(5)
    bins = quantile_bins(np.linspace(0.1, 0.9, 9).tolist())
    drawn = [
        psi(histogram(bins, lot.random(2_000).tolist()), histogram(bins, lot.random(500).tolist())) for _ in range(200)
    ]

    assert np.mean(drawn) == pytest.approx(noise(10, reference=2_000, current=500), rel=0.25)
