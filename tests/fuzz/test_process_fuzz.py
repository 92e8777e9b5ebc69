"""A fuzz of `process` with a fixed budget: whatever comes, a value goes out, and it can be stored."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenledger.normalise.dialects import OF_PROVIDER, SHAPES
from tokenledger.normalise.reading import BadRecordError, Dialect, Exchange
from tokenledger.process import default_context, process
from tokenledger.records import RawEvent, Rejected
from tokenledger.records.wire import decode_priced, decode_rejected, encode_priced, encode_rejected

_APPEND_US = 1_780_000_000_000_000
_HEADERS = {"ce_id": b"event-1", "ce_source": b"test", "ce_type": b"llm.call.v1", "ce_tenantid": b"acme"}
_REPLY = {
    "id": "chatcmpl-1", "object": "chat.completion", "model": "gpt-4o-mini", "choices": [],
    "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
}  # fmt: skip

_FIELDS = [
    "tags", "timings_us", "claimed_usd", "http_status", "token_times_us", "started_at_us", "revision", "attempt_no",
    "request", "response_headers", "url", "user_id", "cache_hit", "kv_token_us", "usage_source", "processing",
]  # fmt: skip
_PROVIDERS = ["openai", "anthropic", "gcp.gemini", "aws.bedrock", "cohere", "mistral_ai", "x_ai", "ollama", "", "?"]

_texts = st.text(max_size=20) | st.sampled_from(["", "None", "\x00", "ﬀ", "\u202e", "gpt-4o", "openai", "anthropic"])
_numbers = (
    st.integers(-(2**70), 2**70) | st.integers(0, 1000) | st.decimals(allow_nan=False, allow_infinity=False).map(float)
)
_json = st.recursive(
    st.none() | st.booleans() | _numbers | _texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_texts, inner, max_size=5),
    max_leaves=20,
)
_NAMES = [
    "prompt_tokens", "completion_tokens", "total_tokens", "input_tokens", "output_tokens",
    "prompt_tokens_details", "cached_tokens", "completion_tokens_details", "reasoning_tokens",
    "cache_read_input_tokens", "cache_creation", "cache_creation_input_tokens", "promptTokenCount",
    "candidatesTokenCount", "thoughtsTokenCount", "totalTokenCount", "inputTokens", "outputTokens",
    "billed_units", "tokens", "usage", "usageMetadata", "iterations", "model", "id", "object", "type",
    "choices", "output", "data", "created", "response", "message", "delta", "cost", "prompt_eval_count",
    "eval_count", "pages_processed", "usage_info", "meta", "results", "x_groq", "timings", "metrics",
    "status", "error",
]  # fmt: skip
_shaped = st.recursive(
    st.none() | _numbers | _texts | st.integers(0, 10**6),
    lambda inner: st.dictionaries(st.sampled_from(_NAMES), inner, max_size=8) | st.lists(inner, max_size=3),
    max_leaves=30,
)
_KINDS = [
    "chat.completion", "chat.completion.chunk", "response", "message", "list", "text_completion", "message_start",
    "message_delta", "response.completed", "realtime.response", "embedding",
]  # fmt: skip
_bodies = st.builds(
    lambda body, kind: body | {"object": kind, "type": kind} if isinstance(body, dict) else body,
    _shaped,
    st.sampled_from(_KINDS),
)

_DIALECTS = list(dict.fromkeys([dialect for group in (*OF_PROVIDER.values(), SHAPES) for dialect in group]))


def _survives(value: bytes | None, headers: dict[str, bytes]) -> None:
    raw = RawEvent(value=value, headers=headers, topic="llm.raw.v1", append_at_us=_APPEND_US)
    outcome = process(raw, default_context())
    if isinstance(outcome, Rejected):
        assert decode_rejected(encode_rejected(outcome, raw)[1]).reason == outcome.reason
        return
    encoded = encode_priced(outcome)
    assert decode_priced(encoded).known_cost_usd_pico == sum(line.amount_usd_pico for line in outcome.lines)
    assert b"\\u0000" not in encoded
    assert all(quantity >= 0 for quantity in outcome.call.usage.values())
    assert outcome.known_cost_usd_pico < 2**63


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.dictionaries(st.sampled_from([*_HEADERS, "content-type"]), st.binary(max_size=30)))
def test_any_bytes_and_headers_give_a_value(value: bytes, headers: dict[str, bytes]) -> None:
    _survives(value, headers | {"ce_tenantid": b"acme"})


@settings(max_examples=1200, deadline=None)
@given(_json | _bodies, st.sampled_from(_PROVIDERS))
def test_any_reply_under_any_provider_gives_a_value(reply: Any, provider: str) -> None:
    _survives(json.dumps({"provider": provider, "response": reply}).encode(), _HEADERS)


@settings(max_examples=600, deadline=None)
@given(st.lists(_json | _bodies, max_size=5), st.sampled_from(_PROVIDERS))
def test_any_events_under_any_provider_give_a_value(events: list[Any], provider: str) -> None:
    rows = [{"data": event, "event": "message"} for event in events]
    _survives(json.dumps({"provider": provider, "events": rows}).encode(), _HEADERS)


@pytest.mark.parametrize("dialect", _DIALECTS, ids=lambda dialect: f"{dialect.name}")
@settings(max_examples=150, deadline=None)
@given(body=st.dictionaries(st.sampled_from(_NAMES), _shaped | _json, max_size=8), provider=st.sampled_from(_PROVIDERS))
def test_any_dialect_reads_any_object(dialect: Dialect, body: dict[str, Any], provider: str) -> None:
    """What its fold makes of a stream need not have the shape by which one event was known."""
    with contextlib.suppress(BadRecordError):
        assert dialect.read(body, Exchange(provider=provider)).usage_reading is not None


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=300), st.sampled_from(["stream_text", "response_text"]))
def test_any_raw_text_gives_a_value(text: str, field: str) -> None:
    _survives(json.dumps({"provider": "openai", field: text}).encode(errors="surrogatepass"), _HEADERS)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(_FIELDS), _json))
def test_any_envelope_fields_give_a_value(fields: dict[str, Any]) -> None:
    _survives(json.dumps({"provider": "openai", "response": _REPLY} | fields).encode(), _HEADERS)
