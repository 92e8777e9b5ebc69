"""When two answers say the same: closed ones by what they state, open ones by their words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.gateway.agreeing import Agreement, agree, closed, normal
from serving.gateway.said import Called, Said


def same(first: str, second: str, how: str = "normalised", *, is_json: bool = False) -> Agreement:
    return agree(Said(text=first), Said(text=second), how=how, is_json=is_json)


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        ("B", "B"),
        ("b)", "B"),
        ("(C)", "C"),
        ("**D**", "D"),
        ("The answer is (B).", "B"),
        ("Let me think. 2 + 2 = 4.\nAnswer: B) four", "B"),
        ("42", "42"),
        ("42.0", "42"),
        ("$1,200.50", "1200.5"),
        ("The answer is 42.", "42"),
        ("Answer: -7 apples", "-7"),
        ("So he has 3 + 4 = 7.\n#### 7", "7"),
        (r"Therefore \boxed{12}", "12"),
        ("0.0", "0"),
        ("Yes", "yes"),
        ("Yes, it is.", "yes"),
        ("No.", "no"),
        ("Nein", "no"),
        ("Answer: true", "yes"),
        ("Antwort: ja", "yes"),
        ("Paris", None),
        ("No whale is a fish.", None),
        ("The capital of France is Paris.", None),
        ("There are 7 days in a week and 24 hours in a day.", None),
        ("", None),
    ],
)
def test_a_closed_answer_is_taken_out_of_its_sentence(text: str, stated: str | None) -> None:
    assert closed(text) == stated


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        ("42", "The answer is 42.", Agreement.SAME),
        ("42", "He has 42 apples.", Agreement.SAME),
        ("42", "43", Agreement.OTHER),
        ("42", "He has 43 apples, not 42 or 41.", Agreement.OTHER),
        ("1,000", "1000.00", Agreement.SAME),
        ("B", "Answer: B) four", Agreement.SAME),
        ("B", "B. four", Agreement.SAME),
        ("B", "C", Agreement.OTHER),
        ("Yes", "Yes, it is.", Agreement.SAME),
        ("Yes", "No", Agreement.OTHER),
        ("Yes", "Perhaps", Agreement.OTHER),
        ("Answer: Paris. Many words follow.", "Answer: Paris. Other words follow.", Agreement.SAME),
        ("Answer: Paris. Many words follow.", "Answer: London. Many words follow.", Agreement.OTHER),
        ("The capital is Paris!", "the capital is  paris", Agreement.SAME),
        ("The capital is Paris", "It is Paris", Agreement.OTHER),
    ],
)
def test_two_answers_are_compared_by_what_they_state(first: str, second: str, found: Agreement) -> None:
    assert same(first, second) is found
    assert same(second, first) is found


def test_exactly_means_to_the_letter_but_for_closed_answers() -> None:
    assert same("It is Paris", "it is paris", "exact") is Agreement.OTHER
    assert same("It is Paris", " It is Paris\n", "exact") is Agreement.SAME
    assert same("42", "42.0", "exact") is Agreement.SAME


def test_meaning_is_asked_for_only_where_words_differ_and_numbers_do_not() -> None:
    assert same("The capital is Paris", "It is Paris", "semantic") is Agreement.UNDECIDED
    assert same("It takes 3 days at most", "At most it takes 4 days", "semantic") is Agreement.OTHER
    assert same("It is Paris", "it is Paris.", "semantic") is Agreement.SAME


def test_json_is_compared_by_its_values() -> None:
    assert same('{"a": 1, "b": [2]}', '{"b":[2.0],"a":1}', is_json=True) is Agreement.SAME
    assert same('{"a": 1}', '{"a": 2}', is_json=True) is Agreement.OTHER
    assert same('{"a": 1}', "{", is_json=True) is Agreement.OTHER


def test_tool_calls_are_compared_by_name_and_values_in_any_order() -> None:
    one = Said(calls=(Called("a", '{"x": 1, "y": 2}'), Called("b", "{}")))
    other = Said(calls=(Called("b", "{}"), Called("a", '{"y":2,"x":1}')))
    assert agree(one, other, how="exact") is Agreement.SAME
    assert agree(one, Said(calls=(Called("a", '{"x": 1, "y": 2}'),)), how="exact") is Agreement.OTHER
    assert agree(one, Said(text="a"), how="normalised") is Agreement.OTHER


HOW = st.sampled_from(["exact", "normalised", "semantic"])


@given(st.text(), st.text(), HOW)
def test_agreement_is_the_same_from_both_sides(first: str, second: str, how: str) -> None:
    assert same(first, second, how) is same(second, first, how)


@given(st.text(), HOW)
def test_everything_agrees_with_itself(text: str, how: str) -> None:
    assert same(text, text, how) is Agreement.SAME


@given(st.text(), st.text())
def test_what_is_exactly_the_same_is_the_same_in_its_words(first: str, second: str) -> None:
    if first.strip() == second.strip():
        assert normal(first) == normal(second)
