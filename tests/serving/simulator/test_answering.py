"""Answers by hash: the stated accuracy, the same answer each time, wrong ones that differ by tier, shapes that fit."""

import json
import math
import re

import pytest

from serving.simulator import answering, asking
from serving.simulator.answering import Label
from serving.simulator.config import Tier

CHEAP = Tier(name="cheap", models=("m",), accuracy=0.7)
OTHER = Tier(name="other", models=("m",), accuracy=0.7)
STRONG = Tier(name="strong", models=("m",), accuracy=0.95)
PROMPTS = answering.prompts(4_000, seed=3)


def _chat(question: str, **fields: object) -> asking.Chat:
    body = {"model": "m", "messages": [{"role": "user", "content": question}], **fields}
    return asking.read_chat(json.dumps(body).encode())


def _first(label: Label, tier: Tier) -> str:
    return _said(label.prompt, tier).split(".")[0].removeprefix("Answer: ")


def _said(question: str, tier: Tier) -> str:
    [answer] = answering.answers(_chat(question), tier, labels={})
    return answer.text


@pytest.mark.parametrize("tier", [CHEAP, STRONG])
def test_a_tier_is_right_as_often_as_it_states(tier: Tier) -> None:
    right = sum(f"Answer: {label.answer}." in _said(label.prompt, tier) for label in PROMPTS)
    error = 4 * math.sqrt(tier.accuracy * (1 - tier.accuracy) / len(PROMPTS))
    assert abs(right / len(PROMPTS) - tier.accuracy) < error


def test_made_up_prompts_state_the_answer_arithmetic_has() -> None:
    for label in PROMPTS[:500]:
        left, sign, right = re.fullmatch(r"What is (\d+) ([-+*]) (\d+)\?", label.prompt).groups()  # type: ignore[union-attr]
        figures = {"+": int(left) + int(right), "-": int(left) - int(right), "*": int(left) * int(right)}
        assert label.answer == str(figures[sign])


@pytest.mark.slow
def test_two_tiers_that_agree_are_nearly_always_right() -> None:
    agreed = [label for label in PROMPTS if _first(label, CHEAP) == _first(label, OTHER)]
    right = sum(_first(label, CHEAP) == label.answer for label in agreed)
    assert len(agreed) > len(PROMPTS) // 2
    assert right / len(agreed) > 0.98


def test_tiers_share_the_difficulty_of_a_prompt() -> None:
    """Were they independent, both would be right for 0.49 of the prompts."""
    both = sum(answering.is_right(label.prompt, CHEAP) and answering.is_right(label.prompt, OTHER) for label in PROMPTS)
    assert both / len(PROMPTS) > 0.53


def test_the_same_prompt_gets_the_same_answer() -> None:
    assert _said("Tell me of the sea.", CHEAP) == _said("Tell me of the sea.", CHEAP)
    assert _said("Tell me of the sea.", CHEAP) != _said("Tell me of the sea.", OTHER)


def test_a_label_from_a_file_decides_what_is_right_and_what_is_wrong() -> None:
    labels = {f"capital {n}": Label(f"capital {n}", "Paris", ("Lyon", "Nice")) for n in range(200)}
    found = {answering.answers(_chat(q), CHEAP, labels=labels)[0].text.split(".")[0] for q in labels}
    assert found == {"Answer: Paris", "Answer: Lyon", "Answer: Nice"}


def test_a_limit_cuts_the_answer_and_says_so() -> None:
    [answer] = answering.answers(_chat("Tell me of the sea.", max_tokens=3), CHEAP, labels={})
    assert (len(answer.tokens), answer.finish_reason) == (3, "length")


def test_a_stop_ends_the_answer_before_itself() -> None:
    whole = _said("Tell me of the sea.", CHEAP)
    word = whole.split()[4]
    [answer] = answering.answers(_chat("Tell me of the sea.", stop=[word]), CHEAP, labels={})
    assert answer.text == whole.partition(word)[0].rstrip()
    assert answer.finish_reason == "stop"


def test_a_tool_is_called_with_arguments_that_fit_its_schema() -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}, "unit": {"enum": ["c", "f"]}},
    }
    tools = [{"type": "function", "function": {"name": "weather", "parameters": schema}}]
    [answer] = answering.answers(_chat("Oslo", tools=tools), CHEAP, labels={})
    assert (answer.tool_name, answer.finish_reason) == ("weather", "tool_calls")
    assert json.loads(answer.text) == {"city": "Oslo", "days": 1, "unit": "c"}


def test_no_tool_is_called_after_a_tool_has_answered() -> None:
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {}}}]
    messages = [{"role": "user", "content": "Oslo"}, {"role": "tool", "content": "rain", "tool_call_id": "1"}]
    body = json.dumps({"model": "m", "messages": messages, "tools": tools}).encode()
    assert asking.read_chat(body).tool is None


def test_a_long_prompt_seen_before_is_read_from_the_cache() -> None:
    chat = _chat("word " * 2_000)
    given = answering.answers(chat, CHEAP, labels={})
    first = answering.counts(chat, CHEAP, given=given, seen_before=False)
    again = answering.counts(chat, CHEAP, given=given, seen_before=True)
    assert (first.cached_tokens, again.cached_tokens) == (0, 1024)
    assert first.prompt_tokens == again.prompt_tokens == 10_000 // 4 + 4 + 3


def test_embeddings_are_unit_vectors_of_the_length_asked_for() -> None:
    made = answering.vector("sea", 5)
    assert len(made) == 5
    assert math.isclose(sum(number * number for number in made), 1.0)
    assert made == answering.vector("sea", 5) != answering.vector("lake", 5)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"[]", None),
        (b"{", None),
        (b'{"model": "m"}', "messages"),
        (b'{"messages": []}', "model"),
        (b'{"model": "m", "messages": []}', "messages"),
        (b'{"model": "m", "messages": [{"role": "robot", "content": ""}]}', "messages[0].role"),
        (b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": 0}', "max_tokens"),
        (b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "n": 17}', "n"),
        (b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "temperature": 3}', "temperature"),
        (b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "stream_options": {}}', "stream_options"),
        (b"[" * 100_000, None),
    ],
)
def test_a_body_that_is_no_request_is_refused_with_the_field_at_fault(body: bytes, param: str | None) -> None:
    with pytest.raises(asking.Refused) as refused:
        asking.read_chat(body)
    assert refused.value.param == param
