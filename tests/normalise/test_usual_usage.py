"""The short way by which nearly every usage object is read says what the long way says, to the last field."""

import json
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tokenledger.normalise import normalise
from tokenledger.records import Call, RawEvent, Rejected

WHOLES = st.one_of(st.integers(3, 9), st.integers(3, 2**52))
PARTS = st.integers(0, 3)
ZEROS = st.sampled_from([0, None])
ODD: st.SearchStrategy[Any] = st.sampled_from(
    [0, 1, 2, 7, 2**53 + 1, None, -1, "2", 1.5, False, "", {}, [], {"cached_tokens": 9}]
)


def usages(total: str, parts: tuple[str, ...], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Usage objects with `parts` and any of `fields`, whose total is right; in every second, one field is odd."""
    whole = st.fixed_dictionaries(dict.fromkeys(parts, WHOLES), optional=fields)
    stated = whole.map(lambda usage: usage | {total: sum(usage[name] for name in parts)} if total else usage)
    spoilt = st.tuples(stated, st.sampled_from([total or parts[0], *parts, *fields]), ODD)
    return stated | spoilt.map(lambda drawn: drawn[0] | {drawn[1]: drawn[2]})


def any_of(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any] | None]:
    """An object with any of these fields, or null."""
    return st.none() | st.fixed_dictionaries({}, optional=fields)


INPUTS = any_of(cached_tokens=PARTS | ODD, audio_tokens=ZEROS)
OUTPUTS = any_of(reasoning_tokens=PARTS | ODD, audio_tokens=ZEROS, rejected_prediction_tokens=PARTS)
CHAT = usages(
    "total_tokens",
    ("prompt_tokens", "completion_tokens"),
    prompt_tokens_details=INPUTS,
    completion_tokens_details=OUTPUTS,
)
RESPONSES = usages(
    "total_tokens",
    ("input_tokens", "output_tokens"),
    input_tokens_details=INPUTS,
    output_tokens_details=OUTPUTS,
)
MESSAGES = usages(
    "",
    ("input_tokens", "output_tokens"),
    cache_read_input_tokens=PARTS,
    cache_creation_input_tokens=st.sampled_from([0, 3, None]),
    cache_creation=st.sampled_from(
        [
            {"ephemeral_1h_input_tokens": 1, "ephemeral_5m_input_tokens": 2},
            {"ephemeral_5m_input_tokens": 3},
            {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
            {"ephemeral_30m_input_tokens": 3},
            None,
        ]
    ),
    service_tier=st.sampled_from([None, "", "batch", "priority"]),
    inference_geo=st.sampled_from([None, "not_available", "us"]),
    server_tool_use=any_of(web_search_requests=ZEROS | PARTS),
)
TEXT = st.lists(
    st.fixed_dictionaries({"modality": st.sampled_from(["TEXT", "AUDIO"]), "tokenCount": PARTS}), max_size=2
)
METADATA = usages(
    "totalTokenCount",
    ("promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount"),
    cachedContentTokenCount=PARTS,
    cacheTokensDetails=TEXT,
    candidatesTokensDetails=TEXT,
    promptTokensDetails=st.just([{"modality": "TEXT", "tokenCount": 3}]) | TEXT,
    trafficType=st.sampled_from([None, "ON_DEMAND", "ON_DEMAND_FLEX"]),
)

FORCED = {"not_a_known_field": None}


def read(provider: str, response: dict[str, Any]) -> Call | Rejected:
    """What is made of a reply, less its usage object."""
    value = json.dumps({"provider": provider, "response": response}).encode()
    result = normalise(RawEvent(value=value, headers={"ce_id": b"e", "ce_source": b"s", "ce_tenantid": b"acme"}))
    return msgspec.structs.replace(result, raw_usage=None) if isinstance(result, Call) else result


@given(CHAT)
def test_chat_counts_read_the_same_either_way(usage: dict[str, Any]) -> None:
    """A field nobody knows sends the object the long way round."""
    reply = {"id": "chatcmpl-1", "object": "chat.completion", "model": "gpt-5", "choices": []}
    short, long = (read("openai", reply | {"usage": found}) for found in (usage, usage | FORCED))
    assert short == long


@given(RESPONSES)
def test_responses_counts_read_the_same_either_way(usage: dict[str, Any]) -> None:
    reply = {"id": "resp_1", "object": "response", "model": "gpt-5", "status": "completed"}
    short, long = (read("openai", reply | {"usage": found}) for found in (usage, usage | FORCED))
    assert short == long


@given(MESSAGES)
def test_anthropic_counts_read_the_same_either_way(usage: dict[str, Any]) -> None:
    reply = {"id": "msg_1", "type": "message", "model": "claude-sonnet-4-5", "stop_reason": "end_turn"}
    short, long = (read("anthropic", reply | {"usage": found}) for found in (usage, usage | FORCED))
    assert short == long


@given(METADATA)
def test_gemini_counts_read_the_same_either_way(usage: dict[str, Any]) -> None:
    reply = {"responseId": "r", "modelVersion": "gemini-2.5-flash", "candidates": [{"finishReason": "STOP"}]}
    short, long = (read("gcp.gemini", reply | {"usageMetadata": found}) for found in (usage, usage | FORCED))
    assert short == long
