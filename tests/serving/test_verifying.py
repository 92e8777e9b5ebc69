"""What speaks against an answer, rule by rule."""

# ruff: noqa: RUF001 - refusals in the letters of their languages

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.gateway.cascade_configuration import Checks
from serving.gateway.refusing import refuses
from serving.gateway.requests import Asked, read
from serving.gateway.said import Called, Said, said, without_logprobs
from serving.gateway.verifying import Reason, check, fits, wanted_of

NAME = {
    "type": "object",
    "properties": {"name": {"type": "string"}},
    "required": ["name"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "function": {"name": "look_up", "parameters": NAME}}


def asked(**more: Any) -> Asked:
    found = read(msgspec.json.encode({"model": "m", "messages": [{"role": "user", "content": "x"}]} | more), "chat")
    assert isinstance(found, Asked)
    return found


def judged(answer: Said, checks: Checks | None = None, **request: Any) -> Reason | None:
    return check(answer, wanted_of(asked(**request)), checks=checks or Checks())


def text(value: str, **more: Any) -> Said:
    return Said(text=value, **{"finish": "stop"} | more)


JSON_OBJECT = {"type": "json_object"}
JSON_SCHEMA = {"type": "json_schema", "json_schema": {"name": "n", "schema": NAME}}


@pytest.mark.parametrize(
    ("answer", "request_", "reason"),
    [
        (text("Paris"), {}, None),
        (text(""), {}, Reason.EMPTY),
        (text(" \n"), {}, Reason.EMPTY),
        (text("Paris", finish="length"), {}, Reason.CUT),
        (text("Paris", finish="length"), {"max_tokens": 3}, None),
        (text("Paris", finish="length"), {"max_tokens": 300}, Reason.CUT),
        (text("Paris", finish="content_filter"), {}, Reason.REFUSAL),
        (text("", refusal="I will not."), {}, Reason.REFUSAL),
        (text('{"name": "Ada"}'), {"response_format": JSON_OBJECT}, None),
        (text("[1]"), {"response_format": JSON_OBJECT}, Reason.FORMAT),
        (text("```json\n{}\n```"), {"response_format": JSON_OBJECT}, Reason.FORMAT),
        (text('{"name": "Ada"'), {"response_format": JSON_OBJECT}, Reason.FORMAT),
        (text('{"name": "Ada"}'), {"response_format": JSON_SCHEMA}, None),
        (text('{"name": 7}'), {"response_format": JSON_SCHEMA}, Reason.SCHEMA),
        (text('{"name": "Ada", "age": 36}'), {"response_format": JSON_SCHEMA}, Reason.SCHEMA),
        (text('{"name": "I\'m sorry, but I can\'t help"}'), {"response_format": JSON_SCHEMA}, None),
        (Said(calls=(Called("look_up", '{"name": "Ada"}'),), finish="tool_calls"), {"tools": [TOOL]}, None),
        (Said(calls=(Called("look_up", '{"nam": "Ada"}'),)), {"tools": [TOOL]}, Reason.TOOL_CALL),
        (Said(calls=(Called("look_up", '{"name": '),)), {"tools": [TOOL]}, Reason.TOOL_CALL),
        (Said(calls=(Called("look_up", "[]"),)), {"tools": [TOOL]}, Reason.TOOL_CALL),
        (Said(calls=(Called("delete_all", "{}"),)), {"tools": [TOOL]}, Reason.TOOL_CALL),
        (text("Ada"), {"tools": [TOOL]}, None),
        (text("Ada"), {"tools": [TOOL], "tool_choice": "required"}, Reason.TOOL_CALL),
        (text("Ada"), {"tools": [TOOL], "tool_choice": "none"}, None),
    ],
)
def test_an_answer_is_judged_by_what_was_asked(answer: Said, request_: dict[str, Any], reason: Reason | None) -> None:
    assert judged(answer, **request_) == reason


def test_what_is_no_completion_has_no_form() -> None:
    assert check(None, wanted_of(asked()), checks=Checks()) is Reason.FORMAT


def test_a_least_length_and_a_least_certainty_are_the_configurations() -> None:
    assert judged(text("Paris"), Checks(least_chars=6)) is Reason.SHORT
    assert judged(text("Paris", mean_logprob=-1.5), Checks(min_logprob=-1.0)) is Reason.LOW_LOGPROB
    assert judged(text("Paris", mean_logprob=-0.5), Checks(min_logprob=-1.0)) is None
    assert judged(text("Paris"), Checks(min_logprob=-1.0)) is None, "an upstream that gives none is not judged by them"


def test_a_check_that_is_off_says_nothing() -> None:
    off = Checks(format=False, refusal=False, cut=False, least_chars=0)
    for answer in (text(""), text("I can't help with that."), text("x", finish="length"), text("", refusal="no")):
        assert judged(answer, off, response_format=JSON_OBJECT) is None


@pytest.mark.parametrize(
    "answer",
    [
        "I'm sorry, but I can't help with that.",
        "I’m sorry, but I can’t assist with that request.",
        "Sorry, I cannot provide medical advice.",
        "I cannot answer that question.",
        "I am unable to access the internet.",
        "As an AI language model, I don't have access to real-time data.",
        "I apologize, but I'm not able to do that.",
        "I apologise for the confusion. I cannot help you with this.",
        "Unfortunately, I can't share that information.",
        "I must respectfully decline to answer.",
        "I don't know the answer to that.",
        "**I'm sorry**, but I can't help.",
        "Es tut mir leid, aber ich kann dir dabei nicht helfen.",
        "Leider kann ich diese Frage nicht beantworten.",
        "Ich kann Ihnen dazu leider keine Auskunft geben, das kann ich nicht.",
        "Je suis désolé, mais je ne peux pas vous aider.",
        "Désolé, je ne suis pas en mesure de répondre.",
        "Lo siento, pero no puedo ayudarte con eso.",
        "Mi dispiace, ma non posso aiutarti.",
        "Desculpe, mas não posso ajudar com isso.",
        "Het spijt me, maar ik kan je daar niet mee helpen.",
        "Przykro mi, ale nie mogę pomóc.",
        "Извините, но я не могу помочь с этим.",
        "抱歉，我无法回答这个问题。",
        "申し訳ありませんが、お答えできません。",
        "죄송하지만 도와드릴 수 없습니다.",
    ],
)
def test_a_refusal_is_known_in_its_language(answer: str) -> None:
    assert refuses(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "Paris",
        "The answer is 42.",
        "Dear Ms Ito, I'm sorry for the delay of your order. We cannot ship before Monday.",
        "I'm sorry to hear that you are unwell. Rest, drink water, and see a doctor if the fever lasts.",
        "You can't divide by zero, so the expression is undefined.",
        "No, a whale is not a fish.",
        "I can help with that: first, open the settings.",
        "He said: I cannot help you.",
        "Unfortunately, the museum is closed on Mondays.",
        "Ich kann das gut erklären: Licht bricht sich im Wasser.",
        "Leider ist das Museum montags geschlossen.",
        "Lo siento por tu pérdida; aquí tienes una carta de pésame.",
        "Non è possibile dividere per zero.",
        "This is long. " * 40 + "I can't help with that.",
    ],
)
def test_an_answer_that_only_sounds_like_one_is_no_refusal(answer: str) -> None:
    assert not refuses(answer)


def test_a_schema_that_is_wrong_or_reaches_out_is_not_checked_by() -> None:
    assert fits(7, b'{"type": "nonsense"}')
    assert fits(7, b"{")
    assert fits(7, b'{"$ref": "http://127.0.0.1:9/schema.json"}')
    assert fits(7, b'{"type": "string", "x": "' + b"y" * 70_000 + b'"}'), "and so is one that is too large"
    assert not fits(7, b'{"type": "string"}')


def test_a_pattern_made_to_run_for_ever_does_not() -> None:
    assert not fits("a" * 5_000 + "!", b'{"type": "string", "pattern": "^(a+)+$"}')


REPLY: dict[str, Any] = {
    "id": "c", "object": "chat.completion", "model": "m", "usage": {"prompt_tokens": 11},
    "choices": [{
        "index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Paris"},
        "logprobs": {"content": [{"token": "Pa", "logprob": -0.5}, {"token": "ris", "logprob": -1.5}]},
    }],
}  # fmt: skip


def test_a_completion_is_read_and_its_log_probabilities_can_be_taken_out() -> None:
    reply = msgspec.json.encode(REPLY)
    found = said(reply)
    assert found == Said(text="Paris", finish="stop", mean_logprob=-1.0, prompt_tokens=11)
    bare = msgspec.json.decode(without_logprobs(reply))
    assert bare == REPLY | {"choices": [{k: v for k, v in REPLY["choices"][0].items() if k != "logprobs"}]}


@pytest.mark.parametrize("reply", [b"", b"[]", b"{}", b'{"choices": []}', b'{"choices": [{"message": 3}]}', b"\xff"])
def test_what_is_no_completion_says_nothing(reply: bytes) -> None:
    assert said(reply) is None


def test_parts_of_a_text_are_one_text() -> None:
    parts = [{"type": "text", "text": "Par"}, {"type": "text", "text": "is"}]
    found = said(msgspec.json.encode({"choices": [{"message": {"content": parts}}]}))
    assert found is not None
    assert found.text == "Paris"


members = st.dictionaries(
    st.sampled_from(["response_format", "tools", "tool_choice", "messages"]),
    st.recursive(
        st.none() | st.booleans() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    ),
)


@pytest.mark.slow
@given(members, st.text(), st.text())
def test_any_request_and_any_answer_get_a_verdict(more: dict[str, Any], answer: str, arguments: str) -> None:
    wanted = wanted_of(asked(**more | {"messages": []}))
    check(text(answer), wanted, checks=Checks(min_logprob=-1.0))
    check(Said(calls=(Called(answer, arguments),)), wanted, checks=Checks())
