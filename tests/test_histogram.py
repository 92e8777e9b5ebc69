"""The histogram against exact quantiles of the same values."""

import math

from hypothesis import given
from hypothesis import strategies as st

from tokenledger.histogram import MAX_US, RELATIVE_ERROR, bucket, bucket_value_us, histogram, merge, quantile_us

_durations = st.one_of(st.integers(1, 300), st.integers(1, MAX_US))
_counts = st.lists(_durations, max_size=60).map(histogram)


def test_the_stated_error_is_below_one_per_cent() -> None:
    assert RELATIVE_ERROR < 0.01


@given(_durations)
def test_a_bucket_stands_for_every_value_in_it_within_the_stated_error(value_us: int) -> None:
    # Whole microseconds cannot be nearer than half of one.
    assert abs(bucket_value_us(bucket(value_us)) - value_us) <= RELATIVE_ERROR * value_us + 0.5


@given(st.lists(_durations, min_size=1, max_size=200), st.sampled_from([0.0, 0.01, 0.5, 0.9, 0.95, 0.99, 1.0]))
def test_a_quantile_is_the_exact_one_within_the_stated_error(values_us: list[int], q: float) -> None:
    exact_us = sorted(values_us)[max(math.ceil(q * len(values_us)), 1) - 1]
    estimate_us = quantile_us(histogram(values_us), q)
    assert estimate_us is not None
    assert abs(estimate_us - exact_us) <= RELATIVE_ERROR * exact_us + 0.5


@given(_counts, _counts, _counts)
def test_merging_in_any_grouping_and_order_gives_the_same_histogram(
    a: dict[int, int], b: dict[int, int], c: dict[int, int]
) -> None:
    assert merge(merge(a, b), c) == merge(a, merge(c, b))
    assert merge(a, {}) == a


@given(st.lists(_durations, max_size=30), st.lists(_durations, max_size=30))
def test_merging_is_the_histogram_of_all_values(a: list[int], b: list[int]) -> None:
    assert merge(histogram(a), histogram(b)) == histogram(a + b)


@given(_counts, _counts)
def test_a_histogram_that_was_added_can_be_taken_back(a: dict[int, int], b: dict[int, int]) -> None:
    assert merge(merge(a, b), {index: -n for index, n in b.items()}) == a


def test_nothing_measured_has_no_quantile() -> None:
    assert quantile_us({}, 0.5) is None


def test_durations_beyond_the_range_fall_into_the_outer_buckets() -> None:
    assert bucket(-5) == bucket(0) == bucket(1) == 0
    assert bucket(10 * MAX_US) == bucket(MAX_US)
