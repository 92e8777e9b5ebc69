"""Quotas and limits: fair, bounded, and the same whatever order rows come in."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from dags.core.balance import limit, over, quotas
from dags.core.recipe import Balance

counts = st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.integers(0, 40), max_size=8)


@given(counts, st.integers(0, 200))
def test_quotas_take_what_is_asked_or_all_there_is(found: dict[str, int], rows: int) -> None:
    given_out = quotas(found, rows)

    assert sum(given_out.values()) == min(rows, sum(found.values()))
    assert all(0 <= given_out[name] <= found[name] for name in found)


@given(counts, st.integers(0, 200))
def test_a_stratum_gets_less_than_another_only_where_it_has_no_more(found: dict[str, int], rows: int) -> None:
    given_out = quotas(found, rows)

    for name, share in given_out.items():
        if share < found[name]:
            assert share >= max(given_out.values()) - 1


@given(counts, st.integers(1, 30), st.integers(1, 5))
def test_no_group_is_over_any_limit(found: dict[str, int], rows: int, times: int) -> None:
    most = limit(found, Balance(most_rows=rows, most_times_smallest=times))

    present = [count for count in found.values() if count]
    assert most <= rows
    assert most <= times * min(present, default=0)
    assert not present or most in {rows, times * min(present), max(present)}


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 99)), unique=True), st.integers(0, 5))
def test_the_first_rows_of_each_group_stay_and_the_rest_goes(rows: list[tuple[str, int]], most: int) -> None:
    ordered = sorted(rows)

    gone = list(over(ordered, dict.fromkeys("abc", most)))

    stayed = Counter(group for group, row in ordered if (group, row) in ordered) - Counter()
    by_group = {group: [row for name, row in ordered if name == group] for group in stayed}
    assert gone == [row for group in sorted(by_group) for row in by_group[group][most:]]


def test_a_balance_without_limits_keeps_everything() -> None:
    assert limit({"a": 3, "b": 70}, Balance()) == 70
