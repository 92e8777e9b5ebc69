"""Which requests the cache has nothing to do with, and what a caller may and may not say of it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.cache.asking import asking_of
from serving.cache.configuration import RouteCache
from serving.cache.eligibility import Wish, forbidden, wish_of
from serving.cache.personal import is_personal
from serving.cache.records import Question
from tests.serving.cache.questions import question

RULES = RouteCache()


def why_not(one: Question, rules: RouteCache = RULES) -> str | None:
    """What the rules say."""
    return forbidden(one.members, asking_of(one.members["messages"]), rules=rules)


def _called(**message: Any) -> Question:
    return question(messages=[{"role": "user", "content": "What is 2 + 2?"}, message])


NOT_FOR_THE_CACHE: list[tuple[str, Question]] = [
    ("several_choices", question(n=2)),
    ("several_choices", question(n="2")),
    ("hot", question(temperature=1.5)),
    ("live_tools", question(tools=[{"type": "web_search"}])),
    ("live_tools", question(web_search_options={})),
    ("tool_results", question(messages=[
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
        {"role": "tool", "content": "12 degrees", "tool_call_id": "1"},
        {"role": "user", "content": "And in words?"},
    ])),
    ("media", question(messages=[{"role": "user", "content": [
        {"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
    ]}])),
    ("media", question(modalities=["text", "audio"])),
    ("no_question", _called(role="assistant", content="4")),
    ("no_question", question("")),
    ("no_question", question(messages=[])),
    ("no_question", question(messages="hello")),
    ("too_long", question("word " * 10_000)),
    ("time_words", question("What is the weather today?")),
    ("time_words", question("Who is the current president?")),
    ("personal_data", question("Write to ada@example.org")),
    ("personal_data", question("Call +44 20 7946 0958 for me")),
    ("personal_data", question("Is 4111 1111 1111 1111 a valid card?")),
    ("personal_data", question("Pay to DE89 3704 0044 0532 0130 00")),
    ("personal_data", question("My name is Ada, write a poem")),
    ("personal_data", question("password: hunter22, is it good?")),
    ("personal_data", question("why does sk-abcdefghijklmnop1234 not work")),
    ("personal_data", question(messages=[
        {"role": "user", "content": "I live at 5 Rue X"}, {"role": "assistant", "content": "Noted."},
        {"role": "user", "content": "Where do I live?"},
    ])),
]  # fmt: skip


@pytest.mark.parametrize(("why", "one"), NOT_FOR_THE_CACHE)
def test_some_requests_are_never_answered_from_a_cache(why: str, one: Question) -> None:
    assert why_not(one) == why


@pytest.mark.parametrize(
    "one",
    [
        question(),
        question(stream=True),
        question(n=1),
        question(tools=[{"type": "function", "function": {"name": "search"}}]),
        question(messages=[{"role": "user", "content": [{"type": "text", "text": "What is a quine?"}]}]),
        question(messages=[
            {"role": "system", "content": "Our support answers at help@example.org, +44 20 7946 0958."},
            {"role": "user", "content": "What is a quine?"},
        ]),
        question("What happened between 1914 and 1918?"),
        question("What is 1,000,000 divided by 7?"),
        question("What is the difference between 2024-01-01 and 2024-05-01?"),
    ],
)  # fmt: skip
def test_plain_questions_are_for_the_cache(one: Question) -> None:
    assert why_not(one) is None


def test_the_operator_may_allow_time_words_and_forbid_temperature() -> None:
    assert why_not(question("What is the weather today?"), RouteCache(time_words=True)) is None
    assert why_not(question(temperature=0.5), RouteCache(highest_temperature=0.2)) == "hot"
    members = {name: value for name, value in question().members.items() if name != "temperature"}
    assert forbidden(members, asking_of(members["messages"]), rules=RouteCache(highest_temperature=0.2)) == "hot"


# The caller's wish


def test_a_caller_may_tighten() -> None:
    assert wish_of(b"no-cache") == Wish(look_up=False)
    assert wish_of(b"no-store, exact-only") == Wish(keep=False, semantic=False)
    assert wish_of(b"min-similarity=0.97, max-age=60") == Wish(least_similarity=0.97, longest_age_s=60)
    assert wish_of(b"knowledge=v3") == Wish(knowledge="v3")


@pytest.mark.parametrize(
    "header",
    [b"off", b"on", b"similarity=0.1", b"max-age=-1", b"max-age=x", b"min-similarity=nan", b"\xff", b"force=1"],
)
def test_what_is_not_understood_switches_the_cache_off(header: bytes) -> None:
    assert wish_of(header) == Wish(look_up=False, keep=False)


@given(st.binary(max_size=80))
def test_no_header_breaks_anything(header: bytes) -> None:
    wish = wish_of(header)

    assert 0 <= wish.least_similarity <= 1
    assert wish.longest_age_s is None or wish.longest_age_s >= 0


@given(st.text(max_size=300))
def test_any_text_is_searched_for_personal_data_without_an_error(text: str) -> None:
    assert is_personal(text) in {True, False}
    assert is_personal(f"{text}\nwrite to ada@example.org")
