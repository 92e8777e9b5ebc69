"""Laws of reading Anthropic's usage, against genai-prices' reading of the same object."""

import json
from typing import Any

import pytest
from genai_prices.data import providers
from hypothesis import given
from hypothesis import strategies as st

from tokenledger.normalise import normalise
from tokenledger.records import Call, RawEvent

ORACLE = next(provider for provider in providers if provider.id == "anthropic")
TOKENS = st.integers(0, 10**7)


def call_of(envelope: dict[str, Any]) -> Call:
    """The Call of an envelope that can be read."""
    headers = {"ce_id": b"e", "ce_source": b"s", "ce_tenantid": b"acme"}
    call = normalise(RawEvent(value=json.dumps({"provider": "anthropic"} | envelope).encode(), headers=headers))
    assert isinstance(call, Call), call
    return call


@st.composite
def usages(draw: st.DrawFn) -> dict[str, Any]:
    """Usage objects that do not contradict themselves."""
    five, hour, thinking = draw(TOKENS), draw(TOKENS), draw(TOKENS)
    usage: dict[str, Any] = {"input_tokens": draw(TOKENS), "output_tokens": thinking + draw(TOKENS)}
    if draw(st.booleans()):
        usage["cache_read_input_tokens"] = draw(TOKENS)
    if draw(st.booleans()):
        usage["cache_creation_input_tokens"] = five + hour
        usage["cache_creation"] = {"ephemeral_5m_input_tokens": five, "ephemeral_1h_input_tokens": hour}
    if draw(st.booleans()):
        usage["output_tokens_details"] = {"thinking_tokens": thinking}
    return usage


@given(usages())
def test_totals_and_leaves_are_those_of_genai_prices(usage: dict[str, Any]) -> None:
    call = call_of({"response": {"type": "message", "model": "claude-sonnet-4-5", "usage": usage}})
    _, oracle = ORACLE.extract_usage({"model": "claude-sonnet-4-5", "usage": usage}, api_flavor="default")

    assert call.input_tokens == oracle.input_tokens
    assert call.output_tokens == oracle.output_tokens
    assert call.usage.get("input.text.cache_read", 0) == (oracle.cache_read_tokens or 0)
    assert sum(n for meter, n in call.usage.items() if "cache_write" in meter) == (oracle.cache_write_tokens or 0)
    assert call.usage.get("output.reasoning", 0) == (oracle.output_reasoning_tokens or 0)


@given(usages(), st.lists(TOKENS, max_size=4))
def test_a_stream_reads_as_the_message_it_ends_in(usage: dict[str, Any], earlier: list[int]) -> None:
    """However often the output is restated on the way, the last word counts."""
    message = {
        "id": "msg_1",
        "type": "message",
        "model": "claude-sonnet-4-5",
        "stop_reason": "end_turn",
        "usage": usage,
    }
    start = message | {"stop_reason": None, "usage": usage | {"output_tokens": 1, "output_tokens_details": None}}
    deltas = [{"type": "message_delta", "delta": {}, "usage": {"output_tokens": tokens}} for tokens in earlier]
    last = {name: usage[name] for name in ("output_tokens", "output_tokens_details") if name in usage}
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": last}
    events = [{"data": data} for data in ({"type": "message_start", "message": start}, *deltas, end)]

    streamed, whole = call_of({"events": events}), call_of({"response": message})

    assert streamed.usage == whole.usage
    assert (streamed.status, streamed.response_id) == ("ok", "msg_1")


@pytest.mark.slow
@given(st.lists(usages(), min_size=1, max_size=5))
def test_iterations_add_up_and_shares_are_a_part_of_the_call(parts: list[dict[str, Any]]) -> None:
    entries = [
        {name: value for name, value in part.items() if name != "output_tokens_details"}
        | ({"type": "advisor_message", "model": "claude-opus-4-7"} if number % 2 else {"type": "message"})
        for number, part in enumerate(parts)
    ]
    own = [entry for entry in entries if entry["type"] == "message"]
    top = {
        name: sum(entry.get(name, 0) for entry in own)
        for name in ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens")
    }
    call = call_of(
        {"response": {"type": "message", "model": "claude-sonnet-4-5", "usage": top | {"iterations": entries}}}
    )

    assert call.anomalies == ()
    assert call.output_tokens == sum(entry["output_tokens"] for entry in entries)
    for meter, tokens in call.usage.items():
        assert sum(share.usage.get(meter, 0) for share in call.shares) <= tokens
    assert len(call.shares) == len(entries) - len(own)
