"""Exact and near duplicates: which rows are one, and that the earliest stays."""

from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dags.core import words
from dags.core.duplicates import buckets, fingerprint, heads, signature, similarity

texts = st.text(max_size=200)
members = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 30)), unique_by=lambda member: member[1])


@given(members)
def test_of_every_bucket_one_row_stays_and_it_is_the_first(found: list[tuple[int, int]]) -> None:
    ordered = sorted(found)

    dropped = {other for _, other in heads(ordered)}

    stayed = [row for _, row in ordered if row not in dropped]
    assert stayed == [min(row for _, row in rows) for _, rows in groupby(ordered, key=lambda member: member[0])]


@pytest.mark.slow
@given(st.lists(texts, max_size=20))
def test_exact_duplicates_are_texts_that_differ_in_case_and_blanks_only(said: list[str]) -> None:
    marks = [fingerprint(words.normal(one)) for one in said]

    alike = {(a, b) for a in range(len(said)) for b in range(len(said)) if marks[a] == marks[b]}

    expected = {
        (a, b) for a in range(len(said)) for b in range(len(said)) if words.normal(said[a]) == words.normal(said[b])
    }
    assert alike == expected


@given(texts)
def test_a_normal_text_is_normal(said: str) -> None:
    assert words.normal(words.normal(said)) == words.normal(said)
    assert words.normal(f"  {said}\n\t") == words.normal(said)


@given(texts)
def test_any_text_has_shingles_and_is_like_itself(said: str) -> None:
    own = signature(words.shingles(said), 64)

    assert similarity(own, signature(words.shingles(said), 64)) == 1
    assert buckets(own, 0.8) == buckets(own, 0.8)


@pytest.mark.parametrize("shared", [0, 20, 50, 80, 95])
def test_a_signature_estimates_the_true_jaccard_similarity(shared: int) -> None:
    """With 512 permutations the standard error is at most 0.0221; four of them are allowed."""
    one = [f"word{number}" for number in range(400)]
    two = [*one[: 4 * shared], *(f"other{number}" for number in range(400 - 4 * shared))]
    sets = [{tuple(said[at : at + 3]) for at in range(len(said) - 2)} for said in (one, two)]
    true = len(sets[0] & sets[1]) / len(sets[0] | sets[1])

    signatures = [signature(words.shingles(" ".join(said)), 512) for said in (one, two)]

    assert abs(similarity(*signatures) - true) < 0.09


def test_near_duplicates_share_a_bucket_and_strangers_do_not() -> None:
    one = " ".join(f"word{number}" for number in range(120))
    near = one.replace("word60", "changed")
    far = " ".join(f"else{number}" for number in range(120))

    found = {name: set(buckets(signature(words.shingles(said), 128), 0.85)) for name, said in
             (("one", one), ("near", near), ("far", far))}  # fmt: skip

    assert found["one"] & found["near"]
    assert not found["one"] & found["far"]


def test_texts_without_blanks_between_words_are_compared_by_their_characters() -> None:
    said = "機械学習は人工知能の一分野であり、データから規則を学ぶ。"

    assert similarity(*(signature(words.shingles(one), 128) for one in (said, said[:-1]))) > 0.8
    assert similarity(*(signature(words.shingles(one), 128) for one in (said, said[::-1]))) < 0.4
