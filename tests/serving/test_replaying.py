"""A whole completion as a stream, and a stream as a whole completion: one is the other, the other way round."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.gateway.folding import folded
from serving.gateway.replaying import replayed
from serving.gateway.sse import Stream
from tests.serving.running import STREAM, completion, event


def decoded(events: list[bytes]) -> list[dict[str, Any]]:
    assert events[-1] == b"data: [DONE]\n\n"
    found: list[dict[str, Any]] = [msgspec.json.decode(one[6:]) for one in events[:-1]]
    return found


def test_a_text_is_replayed_with_a_role_first_and_its_finish_last() -> None:
    events = decoded(
        replayed(msgspec.json.encode(completion("one two three four five six seven eight nine")), usage_wanted=False)
    )
    deltas = [one["choices"][0]["delta"] for one in events]
    assert deltas == [
        {"role": "assistant", "content": ""},
        {"content": "one two three four five six seven eight "},
        {"content": "nine"},
        {},
    ]
    assert [one["choices"][0]["finish_reason"] for one in events] == [None, None, None, "stop"]
    assert {one["object"] for one in events} == {"chat.completion.chunk"}
    assert {one["id"] for one in events} == {"chatcmpl-1"}
    assert not any("usage" in one for one in events)


def test_usage_comes_last_and_alone_where_it_was_asked_for() -> None:
    events = decoded(replayed(msgspec.json.encode(completion("hi")), usage_wanted=True))
    assert events[-1]["choices"] == []
    assert events[-1]["usage"]["total_tokens"] == 7
    assert all(one["usage"] is None for one in events[:-1])


LATE = {"id": "call_9", "type": "function", "function": {"name": "late", "arguments": "{}"}}
CALLS = [
    {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": '{"name":"Ada"}'}},
    {"id": "call_2", "type": "function", "function": {"name": "add", "arguments": "{}"}},
]


def test_tool_calls_are_replayed_under_their_index() -> None:
    message = {"role": "assistant", "content": None, "tool_calls": CALLS}
    reply = completion(choices=[{"index": 0, "message": message, "finish_reason": "tool_calls"}])
    events = decoded(replayed(msgspec.json.encode(reply), usage_wanted=False))
    assert [one["choices"][0]["delta"].get("tool_calls") for one in events] == [
        None,
        [{"index": 0} | CALLS[0]],
        [{"index": 1} | CALLS[1]],
        None,
    ]
    again = msgspec.json.decode(folded(b"".join(replayed(msgspec.json.encode(reply), usage_wanted=True))) or b"")
    assert again["choices"][0]["message"] == message
    assert again["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("reply", [b"[]", b"{}", b'{"choices": []}', b"3"])
def test_what_is_no_completion_is_not_replayed(reply: bytes) -> None:
    with pytest.raises(ValueError, match="no chat completion"):
        replayed(reply, usage_wanted=False)


@given(text=st.text(), usage_wanted=st.booleans())
def test_folding_undoes_replaying(text: str, *, usage_wanted: bool) -> None:
    reply = completion(text)
    again = msgspec.json.decode(
        folded(b"".join(replayed(msgspec.json.encode(reply), usage_wanted=usage_wanted))) or b""
    )
    assert (again["choices"][0]["message"]["content"] or "") == text
    assert again["choices"][0]["finish_reason"] == "stop"
    assert again.get("usage") == (reply["usage"] if usage_wanted else None)
    assert again["id"] == reply["id"]


def call(**function: Any) -> dict[str, Any]:
    """A delta with one piece of a tool call."""
    return {"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": function}]}


@pytest.mark.parametrize(
    "events",
    [
        [event(call(name="f", arguments={"a": 1}))],
        [event({"tool_calls": [{"index": 0, "function": "f"}]})],
        [event({"tool_calls": {"0": {}}})],
        [event({"tool_calls": [{"index": 0, "function": {"name": "f"}}, 3]})],
        [event({"function_call": "f"})],
        [event({"content": [{"type": "text", "text": "a"}]}), event({"content": "b"})],
        [event(choices=5)],
        [event(choices=["a"])],
        [event(choices=[{"index": [0], "delta": {"content": "a"}}])],
        [event(choices=[{"index": "0", "delta": {"content": "a"}}])],
    ],
)
def test_what_cannot_be_put_together_is_no_completion(events: list[bytes]) -> None:
    assert folded(b"".join([event({"content": ""}), *events, event({}, finish="stop")])) is None


def test_a_choice_whose_index_is_null_is_the_first() -> None:
    pieces = [event({"content": "he"}), event(choices=[{"index": None, "delta": {"content": "llo"}}])]
    assert msgspec.json.decode(folded(b"".join(pieces)) or b"")["choices"][0]["message"]["content"] == "hello"


def test_pieces_of_an_older_function_call_are_put_together() -> None:
    pieces = [{"name": "f", "arguments": ""}, {"arguments": '{"a":'}, {"arguments": "1}"}]
    whole = folded(b"".join(event({"function_call": piece}) for piece in pieces))
    message = msgspec.json.decode(whole or b"")["choices"][0]["message"]
    assert message["function_call"] == {"name": "f", "arguments": '{"a":1}'}


_ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(-(10**30), 10**30) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["function", "name", "arguments", "index", "id", "content"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)
_DELTAS = st.dictionaries(
    st.sampled_from(["content", "refusal", "tool_calls", "function_call", "role", "audio"]), _ODD, max_size=3
)
_CHOICES = st.lists(
    st.fixed_dictionaries(
        {}, optional={"index": st.sampled_from([0, 0, 1, None]) | _ODD, "delta": _DELTAS | _ODD,
                      "finish_reason": _ODD, "logprobs": _ODD}
    ),
    max_size=3,
)  # fmt: skip


@given(st.lists(st.fixed_dictionaries({"choices": _CHOICES | _ODD}, optional={"usage": _ODD, "id": _ODD}), max_size=4))
def test_whatever_chunks_hold_they_fold_to_a_completion_or_to_nothing(chunks: list[dict[str, Any]]) -> None:
    whole = folded(b"".join(b"data: " + msgspec.json.encode(chunk) + b"\n\n" for chunk in chunks))
    if whole is not None:
        assert isinstance(msgspec.json.decode(whole)["choices"][0]["message"], dict)


def test_chunks_that_are_too_deep_only_as_a_whole_fold_to_nothing() -> None:
    for depth in range(850, 1_000, 3):
        chunk = b'{"choices":[{"index":0,"delta":{"audio":%b}}]}' % (b"[" * depth + b"]" * depth)
        folded(b"data: " + chunk + b"\n\n")


@given(st.text(), st.lists(st.integers(1, 40)))
def test_a_replay_passes_the_gateways_own_reading_of_streams(text: str, cuts: list[int]) -> None:
    data = b"".join(replayed(msgspec.json.encode(completion(text)), usage_wanted=True))
    stream, out = Stream(usage_wanted=True), b""
    for cut in cuts:
        out += stream.feed(data[:cut], 1)
        data = data[cut:]
    out += stream.feed(data, 1)
    assert stream.done
    assert stream.facts.has_usage
    assert stream.facts.finishes == {0: "stop"}


def test_a_stream_is_folded_as_it_would_have_come_whole() -> None:
    found = msgspec.json.decode(folded(b"".join(STREAM)) or b"")
    assert found["object"] == "chat.completion"
    assert found["usage"] == {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    assert found["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "hello"},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]


def test_tool_calls_in_pieces_are_put_together() -> None:
    pieces = [
        {"role": "assistant", "content": None},
        {
            "tool_calls": [
                {"index": 0, "id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": ""}}
            ]
        },
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"na'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": 'me":"Ada"}'}}]},
        {"tool_calls": [{"index": 1, "id": "call_2", "function": {"name": "add", "arguments": "{}"}}]},
        {"tool_calls": [{"index": 9} | LATE]},
    ]
    found = msgspec.json.decode(folded(b"".join(map(event, pieces)) + event({}, finish="tool_calls")) or b"")
    assert found["choices"][0]["message"] == {"role": "assistant", "content": None, "tool_calls": [*CALLS, LATE]}


def test_log_probabilities_and_reasoning_are_put_together() -> None:
    def chunk(content: str, logprob: float) -> bytes:
        choice = {"index": 0, "delta": {"content": content, "reasoning_content": "r"}, "finish_reason": None,
                  "logprobs": {"content": [{"token": content, "logprob": logprob}]}}  # fmt: skip
        return b"data: " + msgspec.json.encode({"id": "c", "choices": [choice]}) + b"\n\n"

    found = msgspec.json.decode(folded(chunk("a", -1.0) + chunk("b", -2.0)) or b"")["choices"][0]
    assert found["message"] == {"role": "assistant", "content": "ab", "reasoning_content": "rr"}
    assert [token["logprob"] for token in found["logprobs"]["content"]] == [-1.0, -2.0]


@given(st.binary())
def test_any_bytes_fold_to_a_completion_or_to_nothing(data: bytes) -> None:
    found = folded(b"data: " + data + b"\n\n")
    assert found is None or msgspec.json.decode(found)["choices"]
