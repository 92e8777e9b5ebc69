"""Which replies are kept, how they are given again, and which two answers say the same."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.cache.judging import same_words
from serving.cache.replies import answer_of, given_again, kept_form, text_of, written
from serving.cache.written import BadAnswersError, book_of, found_in
from tests.serving.cache.questions import reply

NEVER_KEPT = {
    "cut at its limit": reply(finish="length"),
    "filtered": reply(finish="content_filter"),
    "a tool call": reply("", finish="tool_calls", tool_calls=[{"id": "1", "type": "function"}]),
    "a tool call beside text": reply(tool_calls=[{"id": "1", "type": "function"}]),
    "a refusal": reply(refusal="I cannot"),
    "citations of a search": reply(annotations=[{"type": "url_citation"}]),
    "empty": reply("  "),
    "personal data": reply("Ask ada@example.org"),
    "an error": json.dumps({"error": {"message": "no"}}).encode(),
    "an error beside choices": reply()[:-1] + b', "error": {"message": "no"}}',
    "a chunk of a stream": reply().replace(b"chat.completion", b"chat.completion.chunk"),
    "half a reply": reply()[:-20],
    "no reply": b"",
    "two choices": json.dumps({"object": "chat.completion", "choices": [
        {"message": {"content": "a"}, "finish_reason": "stop"}, {"message": {"content": "b"}, "finish_reason": "stop"},
    ]}).encode(),
    "no finish": json.dumps({"object": "chat.completion", "choices": [{"message": {"content": "a"}}]}).encode(),
}  # fmt: skip


@pytest.mark.parametrize("name", NEVER_KEPT)
def test_only_a_whole_plain_answer_is_kept(name: str) -> None:
    assert answer_of(NEVER_KEPT[name]) is None


def test_an_answer_is_given_again_with_its_usage_and_an_id_of_its_own() -> None:
    """Two records of one response id would be one call in the ledger."""
    kept = kept_form(reply("Hello."))

    first, second = (msgspec.json.decode(given_again(kept, hit_id=one, at_us=7_000_000)) for one in ("a", "b"))

    original = msgspec.json.decode(reply("Hello."))
    assert answer_of(reply("Hello.")) == text_of(kept) == "Hello."
    assert first["id"] != second["id"] != original["id"]
    assert first["created"] == 7
    assert {k: v for k, v in first.items() if k not in {"id", "created"}} == {
        k: v for k, v in original.items() if k not in {"id", "created"}
    }


def test_a_written_answer_has_no_usage() -> None:
    made = msgspec.json.decode(given_again(written("From 9 to 5.", "chat"), hit_id="a", at_us=0))

    assert made["choices"][0]["message"]["content"] == "From 9 to 5."
    assert "usage" not in made


# Written answers

FAQ = """
[[answers]]
id = "hours"
routes = ["chat"]
questions = ["When are you open?", "Opening hours"]
answer = "From 9 to 5."

[[answers]]
id = "hours-shop"
routes = ["chat"]
apps = ["shop/web"]
questions = ["when are you open"]
answer = "Always."
"""


def test_a_written_answer_is_found_by_any_of_its_questions() -> None:
    book = book_of(FAQ)

    for question in ("When are you open?", "  when are YOU open ", "opening hours."):
        found = found_in(book, question, route="chat", app="support/bot")
        assert found is not None
        assert found.answer == "From 9 to 5."
    shop = found_in(book, "When are you open?", route="chat", app="shop/web")
    assert shop is not None
    assert shop.answer == "Always."
    assert found_in(book, "When are you not open?", route="chat", app="support/bot") is None
    assert found_in(book, "When are you open?", route="other", app="support/bot") is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("answers = 3", "answers"),
        ("[[answers]]\nid = 'a'", "missing required field"),
        (FAQ + FAQ, "both answer"),
        (FAQ.replace('"Opening hours"', '"?"'), "empty question"),
        (FAQ.replace("hours-shop", "hours shop\\n"), "id"),
        (FAQ + "colour = 'red'\n", "colour"),
        ("[[", "Invalid"),
    ],
)
def test_a_wrong_file_of_answers_is_refused_as_a_whole(text: str, says: str) -> None:
    with pytest.raises(BadAnswersError, match=says):
        book_of(text)


# The same answer


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Paris", "paris.", True),
        ("**Yes**", "Yes.", True),
        ("Paris", "London", False),
        ("42", "43", False),
        ("Yes, it is.", "No, it is not.", False),
        ("The total for this order comes to 42 euros including tax and delivery to your door.",
         "The total for this order comes to 43 euros including tax and delivery to your door.", False),
        ("You can take this medicine together with coffee without any problem at all, say doctors.",
         "You can not take this medicine together with coffee without any problem at all, say doctors.", False),
        ("A quine is a program that prints its own source code when it is run by the machine.",
         "Quines are programs whose output, when they are run, is the source they are made of.", None),
    ],
)  # fmt: skip
def test_short_answers_are_compared_as_they_are_long_ones_by_what_matters(
    one: str, other: str, *, same: bool | None
) -> None:
    assert same_words(one, other) is same
    assert same_words(other, one) is same


@given(st.text(min_size=1))
def test_any_answer_is_the_same_as_itself(answer: str) -> None:
    assert same_words(answer, answer) is True
