"""Requests taken apart and put together: what changes, and that nothing else does."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.gateway.records import Refusal
from serving.gateway.requests import Asked, for_upstream, read

KEYS = st.sampled_from(
    ["model", "messages", "stream", "temperature", "tools", "x", "é", 'quo"te', "back\\slash", "stream_options"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.decimals(allow_nan=False, allow_infinity=False).map(str) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def asked(body: bytes, api: str = "chat") -> Asked:
    found = read(body, api)
    assert isinstance(found, Asked), found
    return found


def pairs(body: bytes) -> Any:
    """Members in their order, repeated ones repeated, numbers as they are spelt: Python's own reader, not ours."""

    def as_list(found: Any) -> Any:
        return [list(pair) for pair in found]

    return json.loads(body, object_pairs_hook=as_list, parse_float=Decimal, parse_int=lambda text: f"int {text}")


@pytest.mark.slow
@given(
    members=st.lists(st.tuples(KEYS, VALUES), max_size=6), indent=st.sampled_from([None, 1]), ascii_only=st.booleans()
)
def test_renaming_the_model_changes_nothing_else(
    *, members: list[tuple[str, Any]], indent: int | None, ascii_only: bool
) -> None:
    others = [(key, value) for key, value in members if key not in {"model", "messages", "stream", "stream_options"}]
    once = dict([*others, ("model", "a"), ("messages", []), *reversed(others)])
    body = json.dumps(once, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    found = read(body, "chat")
    if isinstance(found, Refusal):
        assert found.code == "invalid_json"  # lone surrogates
        return
    assert pairs(for_upstream(found, "b", ask_for_usage=True)) == [
        [key, "b"] if key == "model" else [key, value] for key, value in pairs(body)
    ]
    assert for_upstream(found, "a", ask_for_usage=True) == body


def test_spellings_survive_a_change() -> None:
    body = b'{"seed":12345678901234567890123,"model":"a","top_p":1.0E-2,"messages":[ {"content":"\\u00e9"} ],"z":-0.0}'
    sent = for_upstream(asked(body), "b", ask_for_usage=True)
    assert sent == body.replace(b'"a"', b'"b"')


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("", b'{"include_usage":true}'),
        (',"stream_options":null', b'{"include_usage":true}'),
        (',"stream_options":{}', b'{"include_usage":true}'),
        (',"stream_options":{"include_usage":false,"x":1.50}', b'{"include_usage":true,"x":1.50}'),
    ],
)
def test_a_stream_is_asked_for_its_usage(options: str, expected: bytes) -> None:
    found = asked(f'{{"model":"a","messages":[],"stream":true{options}}}'.encode())
    assert found.usage_wanted is False
    sent = for_upstream(found, "a", ask_for_usage=True)
    assert sent == b'{"model":"a","messages":[],"stream":true,"stream_options":' + expected + b"}"
    assert for_upstream(found, "a", ask_for_usage=False) == found.body


def test_what_asks_for_usage_itself_is_left_alone() -> None:
    body = b'{"model": "a", "messages": [], "stream": true, "stream_options": {"include_usage": true}}'
    assert for_upstream(asked(body), "a", ask_for_usage=True) == body


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"x","messages":[],"model":"a"}',
        b'{ "model":"x" , "messages":[],\n"mod\\u0065l":"a" }',
        b'{"model":"a","messages":[],"n":1,"n":1}',
        b'{ "messages":[],"model":"a", "messages":[] }',
    ],
)
def test_of_a_key_said_twice_only_the_one_we_read_is_sent(body: bytes) -> None:
    found = asked(body)
    assert found.model == "a"
    members = pairs(for_upstream(found, "a", ask_for_usage=True))
    assert len(members) == len({key for key, _ in members})
    assert ["model", "a"] in members


@pytest.mark.parametrize(
    ("more", "most"),
    [
        ("", 100),
        (',"max_tokens":7', 7),
        (',"max_completion_tokens":9,"max_tokens":7', 9),
        (',"max_tokens":7,"n":3', 21),
    ],
)
def test_the_most_output_is_known_before(more: str, most: int) -> None:
    assert asked(f'{{"model":"a","messages":[]{more}}}'.encode()).most_output_tokens(100) == most


def test_the_most_input_counts_bytes_and_images() -> None:
    body = b'{"model":"a","messages":[{"content":[{"type":"image_url","image_url":{"url":"http://x"}}]}]}'
    assert asked(body).most_input_tokens(1_000) == len(body) + 2_000
    assert asked(b'{"model":"a","input":"abc"}', "embeddings").most_input_tokens(1_000) == 27


@given(st.binary(max_size=200))
def test_any_bytes_give_a_value(body: bytes) -> None:
    found = read(body, "chat")
    assert isinstance(found, Asked) or 400 <= found.http_status < 500
