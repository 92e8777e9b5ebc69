"""What the router sees of a request: what is asked now, and the size and shape of what comes with it."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.gateway.prompts import prompt_of
from serving.router.features import Prompt


def seen(messages: Any, **more: Any) -> Prompt:
    members = {"messages": messages} | more
    return prompt_of({name: msgspec.Raw(msgspec.json.encode(value)) for name, value in members.items()})


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


SYSTEM = {"role": "system", "content": "You are terse."}
ASSISTANT = {"role": "assistant", "content": "Four."}


@pytest.mark.parametrize(
    ("messages", "text", "turns"),
    [
        ([user("hello")], "hello", 1),
        ([SYSTEM, user("hello")], "hello", 1),
        ([user("2+2?"), ASSISTANT, user("and 3+3?")], "and 3+3?", 3),
        ([user("one"), user("two")], "one\ntwo", 2),
        ([user("find it"), ASSISTANT, {"role": "tool", "content": "found"}], "find it", 2),
        ([user([{"type": "text", "text": "what is"}, {"type": "image_url", "image_url": {"url": "data:x"}},
                {"type": "text", "text": "this?"}])], "what is\nthis?", 1),
        ([SYSTEM], "", 1),
        ([], "", 1),
        ("hello", "", 1),
        ([user({"odd": 1})], "", 1),
        ([user(None)], "", 1),
    ],
)  # fmt: skip
def test_the_last_thing_the_user_asks_is_the_prompt(messages: Any, text: str, turns: int) -> None:
    found = seen(messages)
    assert (found.text, found.turns) == (text, turns)


def test_everything_else_counts_by_its_size() -> None:
    bare = seen([user("hello")])
    with_system = seen([SYSTEM, user("hello")])
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}] * 2
    with_tools = seen([SYSTEM, user("hello")], tools=tools)
    assert bare.context_chars < with_system.context_chars < with_tools.context_chars
    assert with_system.context_chars - bare.context_chars == len(msgspec.json.encode(SYSTEM)) + 1
    assert (with_system.tools, with_tools.tools) == (0, 2)


@pytest.mark.parametrize(
    ("wanted", "format_"),
    [
        ({"type": "json_object"}, "json_object"),
        ({"type": "json_schema", "json_schema": {}}, "json_schema"),
        ({"type": "text"}, ""),
        (None, ""),
        ("json", ""),
    ],
)
def test_the_format_asked_for_is_named(wanted: Any, format_: str) -> None:
    assert seen([user("hello")], response_format=wanted).format == format_


@pytest.mark.slow
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda one: st.lists(one) | st.dictionaries(st.text(), one),
    )
)
def test_any_messages_give_a_prompt(messages: Any) -> None:
    found = seen(messages, tools=messages, response_format=messages)
    assert found.context_chars >= 0
    assert found.turns >= 1
