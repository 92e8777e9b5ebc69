"""Sides by hash: whatever else there is, a row stays where it is."""

from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dags.core.recipe import Split
from dags.core.split import side, split_key
from tests.dags.captured import text

names = st.text(min_size=1, max_size=12)
splits = st.builds(
    Split,
    by=st.sampled_from(["conversation", "user"]),
    parts=st.dictionaries(st.sampled_from(["train", "validation", "test", "spare"]), st.integers(1, 99), min_size=1),
    salt=names,
)


@pytest.mark.slow
@given(st.lists(names, min_size=1, unique=True), splits)
def test_a_row_never_changes_sides_when_data_grows(keys: list[str], split: Split) -> None:
    before = {key: side(key, split) for key in keys[: len(keys) // 2]}

    after = {key: side(key, split) for key in reversed(keys)}

    assert before.items() <= after.items()
    assert set(after.values()) <= set(split.parts)


@pytest.mark.slow
@given(names, splits)
def test_the_order_in_which_sides_are_written_makes_no_difference(key: str, split: Split) -> None:
    turned = msgspec.structs.replace(split, parts=dict(reversed(split.parts.items())))

    assert side(key, turned) == side(key, split)


@given(names, names, names, st.integers(0, 99), st.integers(100, 199))
def test_a_conversation_is_on_one_side(conversation: str, user: str, other: str, one: int, two: int) -> None:
    split = Split()
    pair = [text(number, conversation_id=conversation, user_hash=who) for number, who in ((one, user), (two, other))]

    assert split_key(pair[0], split) == split_key(pair[1], split)


def test_a_user_is_on_one_side_however_many_conversations_there_are() -> None:
    split = Split(by="user")

    keys = {split_key(text(number, user_hash="ann"), split) for number in range(20)}

    assert len(keys) == 1


def test_the_same_conversation_id_of_two_tenants_is_two_conversations() -> None:
    keys = {split_key(text(conversation_id="1", tenant_id=tenant), Split()) for tenant in ("acme", "globex")}

    assert len(keys) == 2


@pytest.mark.parametrize(
    ("facts", "stands_in"),
    [
        ({"conversation_id": None, "operation_id": "o"}, "operation"),
        ({"conversation_id": None, "operation_id": None}, "call"),
        ({"conversation_id": "", "operation_id": "o"}, "operation"),
    ],
)
def test_what_has_no_conversation_is_divided_by_operation_or_call(facts: dict[str, Any], stands_in: str) -> None:
    assert split_key(text(**facts), Split()).split("\0")[1] == stands_in


def test_sides_have_their_shares() -> None:
    """Of 10,000 keys the binomial's standard deviation is below 0.3 points; five of them are allowed."""
    sides = Counter(side(str(number), Split()) for number in range(10_000))

    assert abs(sides["train"] - 9_000) < 150
    assert abs(sides["test"] - 500) < 110
    assert abs(sides["validation"] - 500) < 110


def test_a_side_without_weight_gets_nothing() -> None:
    split = Split(parts={"a": 0, "b": 1, "c": 0})

    assert {side(str(number), split) for number in range(500)} == {"b"}
