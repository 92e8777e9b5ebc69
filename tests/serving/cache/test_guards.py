"""Questions that look alike to an encoder and have different answers, by what sets them apart."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.cache.guards import guard
from serving.cache.marks import marks_of

APART = {
    "guard_negation": [
        ("Can I take ibuprofen with coffee?", "Can't I take ibuprofen with coffee?"),
        ("Which countries are in the EU?", "Which countries are not in the EU?"),
        ("how do i turn it into a list", "how do i never turn it into a list"),
        ("Is it possible without a passport?", "Is it possible?"),
    ],
    "guard_numbers": [
        ("What is 17 * 23?", "What is 17 * 24?"),
        ("Convert 1500 grams", "Convert 150 grams"),
        ("What are the top three risks?", "What are the top five risks?"),
        ("Summarise chapter 12", "Summarise chapter 21"),
        ("A loan of 1,000 over 5 years", "A loan of 1,000.50 over 5 years"),
    ],
    "guard_units": [
        ("How far is 5 km?", "How far is 5 miles?"),
        ("What is 20 celsius", "What is 20 fahrenheit"),
        ("price in dollars", "price in euros"),
    ],
    "guard_dates": [
        ("Opening hours on Monday", "Opening hours on Tuesday"),
        ("sales in march", "sales in april"),
        ("events next week", "events last week"),
    ],
    "guard_names": [
        ("What is the capital of Australia?", "What is the capital of Austria?"),
        ("flights to paris", "flights to london"),
        ("Who is Ada Lovelace?", "Who is Grace Hopper?"),
        ("what does `foo_bar` do", "what does `foo_baz` do"),
        ("How do I sort a list in Python?", "How do I sort a list in Ruby?"),
    ],
    "guard_language": [
        ("Wie ist das Wetter und was ist das?", "What is the weather and what is it?"),
        ("что такое квайн", "what is a quine"),
    ],
    "guard_order": [
        ("convert usd to eur", "convert eur to usd"),
        ("Can a lion beat a tiger?", "Can a tiger beat a lion?"),
        ("How do I get from Rome to Berlin?", "How do I get from Berlin to Rome?"),
        ("does the dog chase the cat", "does the cat chase the dog"),
    ],
    "guard_words": [
        ("How do I enable dark mode?", "How do I disable dark mode?"),
        ("cheapest plan", "most expensive plan"),
        ("who invented it", "when was it invented"),
        ("how many people live there", "how long do people live there"),
    ],
}


@pytest.mark.parametrize(("why", "pair"), [(why, pair) for why, pairs in APART.items() for pair in pairs])
def test_questions_that_differ_in_what_matters_are_told_apart(why: str, pair: tuple[str, str]) -> None:
    first, second = map(marks_of, pair)

    assert guard(first, second) is not None
    assert guard(second, first) is not None
    # 5 km and 5 miles differ in more than one way; the cheapest guard speaks first.
    assert guard(first, second) == why


@pytest.mark.parametrize(
    "pair",
    [
        ("How do I reset my password?", "how can i change my password"),
        ("Show me 2 examples", "Show me two examples"),
        ("What is 205 plus 1000", "what's two hundred and five plus 1,000"),
        ("What is the capital of France?", "capital of france"),
        ("My card hasn't arrived", "My card has not arrived"),
        ("Open on Mondays?", "are you open on monday"),
        ("What does a quine do?", "What is the purpose of a quine?"),
    ],
)
def test_the_same_in_other_words_passes(pair: tuple[str, str]) -> None:
    first, second = map(marks_of, pair)

    assert guard(first, second) is None
    assert guard(second, first) is None


@given(st.text(max_size=200))
def test_any_text_is_like_itself(text: str) -> None:
    assert guard(marks_of(text), marks_of(text)) is None


@given(st.text(max_size=100), st.text(max_size=100))
def test_a_guard_speaks_whichever_question_came_first(one: str, other: str) -> None:
    first, second = marks_of(one), marks_of(other)

    assert (guard(first, second) is None) is (guard(second, first) is None)


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_two_numbers_are_never_one(one: int, other: int) -> None:
    first, second = (marks_of(f"What is the square of {number}?") for number in (one, other))

    assert (guard(first, second) is None) is (one == other)
