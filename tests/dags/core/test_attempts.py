"""Which answer was served, which was refused, and that nothing captured can break the reader."""

import json
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dags.core.attempts import Attempt, Unreadable, read, refused, served
from tests.dags.captured import attempt, text

anything = st.one_of(st.text(), st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))


@pytest.mark.slow
@given(anything, st.none() | anything, st.none() | anything)
def test_any_captured_text_is_an_attempt_or_says_why_not(messages: str, answer: str | None, tools: str | None) -> None:
    found = read(text(messages=messages, answer=answer, tools=tools))

    assert isinstance(found, Attempt) or found.why


def test_what_is_too_deep_to_be_read_is_unreadable() -> None:
    assert isinstance(read(text(messages="[" * 100_000)), Unreadable)


def test_a_lone_surrogate_is_read_or_unreadable_and_no_more() -> None:
    found = read(text(messages='[{"role":"user","content":"\\ud800"}]'))

    assert isinstance(found, Attempt | Unreadable)


def _operation() -> list[Attempt]:
    return [
        attempt(1, attempt_no=1, attempt_role="primary", said="cheap"),
        attempt(2, attempt_no=2, attempt_role="retry", said="cheap again"),
        attempt(3, attempt_no=3, attempt_role="verify", said="second opinion", route_tier="other"),
        attempt(4, attempt_no=4, attempt_role="escalation", said="strong", route_tier="large", model="large-1"),
    ]


def test_an_escalation_was_served_and_the_last_cheap_answer_before_it_refused_in_any_order() -> None:
    for order in permutations(_operation()):
        strong, cheap = served(order), refused(order)
        assert strong is not None
        assert cheap is not None
        assert (strong.text.event_key, cheap.text.event_key) == ("app#4", "app#2")


def test_without_an_escalation_the_last_own_answer_was_served_and_none_refused() -> None:
    operation = _operation()[:3]

    best = served(operation)

    assert best is not None
    assert best.text.event_key == "app#2"
    assert refused(operation) is None


def test_an_escalation_without_an_answer_was_not_served() -> None:
    operation = [*_operation()[:2], attempt(4, attempt_no=4, attempt_role="escalation", said=None, route_tier="large")]

    best = served(operation)

    assert best is not None
    assert best.text.event_key == "app#2"
    assert refused(operation) is None


def test_an_answer_of_the_same_tier_and_model_was_repeated_not_refused() -> None:
    operation = [
        attempt(1, attempt_no=1, attempt_role="primary", route_tier="large", model="large-1"),
        attempt(2, attempt_no=2, attempt_role="escalation", route_tier="large", model="large-1"),
    ]

    assert refused(operation) is None


def test_an_operation_without_any_answer_served_nothing() -> None:
    assert served([attempt(1, said=None)]) is None
