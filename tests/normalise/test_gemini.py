"""Laws of reading Gemini's usage, against genai-prices' reading of the same object."""

import json
from typing import Any

import pytest
from genai_prices.data import providers
from hypothesis import given
from hypothesis import strategies as st

from tokenledger.normalise import normalise
from tokenledger.records import Call, RawEvent

ORACLE = next(provider for provider in providers if provider.id == "google")
TOKENS = st.integers(0, 10**7)


def call_of(envelope: dict[str, Any]) -> Call:
    """The Call of an envelope that can be read."""
    headers = {"ce_id": b"e", "ce_source": b"s", "ce_tenantid": b"acme"}
    call = normalise(RawEvent(value=json.dumps({"provider": "gcp.gemini"} | envelope).encode(), headers=headers))
    assert isinstance(call, Call), call
    return call


@st.composite
def usages(draw: st.DrawFn) -> dict[str, Any]:
    """Usage metadata whose parts make up its total, as the API documents it."""
    modalities = {name: draw(TOKENS) for name in draw(st.sets(st.sampled_from(["TEXT", "AUDIO", "IMAGE", "VIDEO"])))}
    cached = {name: draw(st.integers(0, tokens)) for name, tokens in modalities.items()}
    usage = {
        "promptTokenCount": sum(modalities.values()),
        "candidatesTokenCount": draw(TOKENS),
        "toolUsePromptTokenCount": draw(TOKENS),
        "thoughtsTokenCount": draw(TOKENS),
    }
    usage["totalTokenCount"] = sum(usage.values())
    details = {
        "promptTokensDetails": [{"modality": name, "tokenCount": n} for name, n in modalities.items()],
        "cachedContentTokenCount": sum(cached.values()),
        "cacheTokensDetails": [{"modality": name, "tokenCount": n} for name, n in cached.items()],
    }
    return usage | details


@pytest.mark.slow
@given(usages())
def test_totals_and_leaves_are_those_of_genai_prices(usage: dict[str, Any]) -> None:
    body = {"candidates": [], "usageMetadata": usage, "modelVersion": "gemini-2.5-flash"}
    call = call_of({"response": body})
    _, oracle = ORACLE.extract_usage(body, api_flavor="default")

    assert call.input_tokens == oracle.input_tokens
    assert call.output_tokens == oracle.output_tokens
    assert call.usage.get("output.reasoning", 0) == (oracle.output_reasoning_tokens or 0)
    assert sum(n for meter, n in call.usage.items() if "cache_read" in meter) == (oracle.cache_read_tokens or 0)
    assert call.usage.get("input.audio.cache_read", 0) == (oracle.cache_audio_read_tokens or 0)
    assert call.anomalies == ()


@pytest.mark.slow
@given(usages())
def test_every_spelling_of_proto_json_says_the_same(usage: dict[str, Any]) -> None:
    names = ["", "TEXT", "IMAGE", "VIDEO", "AUDIO", "DOCUMENT"]

    def proto(value: Any) -> Any:
        if isinstance(value, dict):
            return {"".join(f"_{c.lower()}" if c.isupper() else c for c in k): proto(v) for k, v in value.items()}
        if isinstance(value, list):
            return [proto(inner) for inner in value]
        return names.index(value) if isinstance(value, str) else str(value)

    plain = call_of({"response": {"candidates": [{"finishReason": "STOP"}], "usageMetadata": usage}})
    other = call_of({"response": {"candidates": [{"finish_reason": 1}], "usage_metadata": proto(usage)}})

    assert other.usage == plain.usage
    assert (other.finish_reason, other.input_tokens) == (plain.finish_reason, plain.input_tokens)


@pytest.mark.slow
@given(usages())
def test_thoughts_among_the_candidates_are_known_by_the_total(usage: dict[str, Any]) -> None:
    """The same answer, counted either way, gives the same leaves."""
    thoughts = usage["thoughtsTokenCount"]
    among = usage | {"candidatesTokenCount": usage["candidatesTokenCount"] + thoughts}

    assert call_of({"response": {"usageMetadata": among}}).usage.get("output.reasoning", 0) == thoughts
    assert (
        call_of({"response": {"usageMetadata": among}}).output_tokens
        == call_of({"response": {"usageMetadata": usage}}).output_tokens
    )
