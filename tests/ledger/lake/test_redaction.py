"""Personal data and secrets leave a conversation before it is written; what is left is what it was."""

import json
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.lake.redaction import Finding, Redactor
from ledger.lake.redaction.finding import joined
from tests.ledger.lake.labelled import NOT_COVERED, Labelled, labelled, scores
from tokenledger.texts import Conversation, Message

pytestmark = pytest.mark.slow  # Presidio takes seconds to import

REDACTOR = Redactor()
TEXTS = labelled()


def said(*texts: str) -> Conversation:
    return Conversation(messages=[{"role": "user", "content": text} for text in texts])


def redacted(*texts: str) -> list[str]:
    messages = REDACTOR.redact(said(*texts)).conversation.messages
    return [message["content"] for message in messages]


@pytest.mark.parametrize("one", TEXTS, ids=[str(n) for n in range(len(TEXTS))])
def test_what_is_labelled_is_hidden_and_nothing_else_is(one: Labelled) -> None:
    found = REDACTOR.findings(one.text)
    missed = [
        entity
        for entity in one.entities
        if entity.entity not in NOT_COVERED and not any(f.start <= entity.start and entity.end <= f.end for f in found)
    ]
    invented = [f for f in found if not any(f.start < e.end and e.start < f.end for e in one.entities)]
    assert (missed, invented) == ([], [])


def test_names_and_addresses_are_not_found_and_that_is_said() -> None:
    found = scores(REDACTOR, TEXTS)
    assert {entity: found[entity].hidden for entity in NOT_COVERED} == dict.fromkeys(NOT_COVERED, 0)


def test_the_same_thing_has_the_same_placeholder_all_through_a_conversation() -> None:
    assert redacted("a@example.com and b@example.com", "A@Example.com again, card 4111 1111 1111 1111",
                    "4111-1111-1111-1111 of b@example.com") == [
        "<EMAIL_ADDRESS_1> and <EMAIL_ADDRESS_2>",
        "<EMAIL_ADDRESS_1> again, card <CREDIT_CARD_1>",
        "<CREDIT_CARD_1> of <EMAIL_ADDRESS_2>",
    ]  # fmt: skip


def test_a_second_redaction_changes_nothing() -> None:
    for one in TEXTS:
        [once] = redacted(one.text)
        assert redacted(once) == [once]


def test_a_tools_arguments_stay_json_and_numbers_are_looked_at_beside_their_names() -> None:
    arguments = json.dumps(
        {"ssn": 219099998, "to": ["x@example.com"], "count": 12, "note": 'say "hi"', "id": 219099998}
    )
    call = {"id": "call_1", "type": "function", "function": {"name": "pay", "arguments": arguments}}
    message: Message = {"role": "assistant", "content": None, "tool_calls": [call]}
    done = REDACTOR.redact(Conversation(messages=[message]))
    [out] = done.conversation.messages
    assert json.loads(out["tool_calls"][0]["function"]["arguments"]) == {
        "ssn": "<US_SSN_1>",
        "to": ["<EMAIL_ADDRESS_1>"],
        "count": 12,
        "note": 'say "hi"',
        "id": 219099998,
    }
    assert done.counts == {"EMAIL_ADDRESS": 1, "US_SSN": 1}


def test_tools_and_answers_are_redacted_too() -> None:
    tool = {"type": "function", "function": {"name": "f", "description": "mail bob@example.com"}}
    answer: Message = {"role": "assistant", "content": "I wrote to bob@example.com"}
    done = REDACTOR.redact(Conversation(messages=[], tools=[tool], answer=answer)).conversation
    assert "bob" not in json.dumps([done.tools, done.answer])


def test_a_given_recogniser_is_asked_beside_the_others() -> None:
    def names(text: str) -> Iterator[Finding]:
        at = text.find("Marie Dubois")
        if at >= 0:
            yield Finding(at, at + len("Marie Dubois"), "PERSON", 0.9)

    done = Redactor([names]).redact(said("Marie Dubois, marie@example.fr")).conversation
    assert done.messages[0]["content"] == "<PERSON_1>, <EMAIL_ADDRESS_1>"


def test_something_on_the_edge_of_two_pieces_is_found() -> None:
    for before in range(3_700, 4_200, 7):
        text = "x " * (before // 2) + "mail jo@example.com now " + "y " * 3_000
        assert "jo@example.com" not in redacted(text)[0]


@pytest.mark.parametrize(
    "text",
    ["a" * 200_000 + "@", "1" * 200_000, "1 " * 100_000, "@" * 50_000, "a@" * 50_000, "eyJ" * 50_000, "key=" * 20_000,
     "://" * 50_000, ":" * 100_000, "-----BEGIN PRIVATE KEY-----" * 2_000, "a=b;" * 20_000 + "password=x"],
    ids=range(11),
)  # fmt: skip
def test_no_text_takes_long(text: str) -> None:
    """A pattern that takes its time gives up after a minute with a warning, which fails this test; ours are linear."""
    REDACTOR.findings(text)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 10), st.sampled_from("AB"), st.floats(0, 1))))
def test_joined_findings_cover_what_they_were_made_of_and_never_overlap(
    rows: list[tuple[int, int, str, float]],
) -> None:
    findings = [Finding(start, start + length, entity, score) for start, length, entity, score in rows]
    result = joined(findings)
    covered = {place for one in findings for place in range(one.start, one.end)}
    assert {place for one in result for place in range(one.start, one.end)} == covered
    assert all(one.end <= other.start for one, other in pairwise(result))
