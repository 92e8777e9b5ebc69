"""What the gateway says an attempt cost is what the ledger will say, whichever way it was worked out."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.gateway.costs import processed, spent, usual_spent
from serving.gateway.records import Intent, Outcome
from tests.serving.attempts import COST_USD_PICO, intent, outcome, reply
from tokenledger.process import default_context

_COUNTS = st.one_of(st.integers(0, 300_000), st.sampled_from([None, -1, 2**53, 2**53 + 1, 1.0, 1.5, "7", True]))
_MODELS = ["gpt-4o-mini", "gpt-4o-mini-2024-07-18", "gpt-5", "o3", "my-model"]
_TEXTS = [" gpt-4o", "", "x" * 300, "a\x00b", "é"]
_ODD: dict[str, list[Any]] = {
    "id": ["gen-1", "x", 3, None],
    "object": ["text_completion", "list", None],
    "created": [-1, "1700000000", 10**14, None],
    "model": [*_TEXTS, None],
    "choices": [[], [{"index": 0, "finish_reason": None}], [{"index": 0, "text": "x"}], None],
    "usage": [None, {}, [], {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}],
    "service_tier": ["flex", "priority", "default", "", None],
    "provider": ["OpenAI", "Azure"],
    "timings": [{"prompt_n": 3, "predicted_n": 4}],
    "error": [{"type": "x"}, "x", None],
}
_ODD_INTENT: dict[str, list[Any]] = {
    "provider": ["x_ai", "groq", "mistral_ai", "nobody", "OpenAI", "openrouter", "ollama"],
    "request_model": _TEXTS,
    "tenant_id": [" acme", "a" * 300],
    "engine": ["vllm", "x" * 300],
    "service_tier": ["flex", "x" * 300],
    "started_at_us": [5, 10**17],
}
_ODD_OUTCOME: dict[str, list[Any]] = {
    "http_status": [429, 204, None],
    "aborted": [True],
    "error_type": ["upstream_closed"],
    "output_chunks": [7],
}


def _some(draw: st.DrawFn, odd: dict[str, list[Any]], usual: dict[str, Any]) -> dict[str, Any]:
    """The usual fields, every now and then one of them odd."""
    name = draw(st.sampled_from([None] * 2 * len(odd) + list(odd)))
    return usual if name is None else usual | {name: draw(st.sampled_from(odd[name]))}


@st.composite
def usages(draw: st.DrawFn) -> Any:
    """Usage objects, mostly of the usual shape and mostly consistent."""
    inputs, outputs = draw(st.integers(0, 300_000)), draw(st.integers(0, 50_000))
    usage: dict[str, Any] = {"prompt_tokens": inputs, "completion_tokens": outputs, "total_tokens": inputs + outputs}
    if draw(st.booleans()):
        usage["prompt_tokens_details"] = {
            "cached_tokens": draw(st.integers(0, inputs + inputs // 9)),
            "audio_tokens": 0,
        }
    if draw(st.booleans()):
        usage["completion_tokens_details"] = {"reasoning_tokens": draw(st.integers(0, outputs + outputs // 9))}
    odd = st.dictionaries(st.sampled_from([*usage, "cost", "queue_time", "cache_write_tokens"]), _COUNTS, max_size=1)
    return draw(st.one_of(st.just(usage), st.just(usage), odd.map(lambda more: usage | more)))


@st.composite
def attempts(draw: st.DrawFn) -> tuple[Intent, Outcome]:
    """Attempts and what came of them."""
    model = draw(st.sampled_from(_MODELS))
    usual = {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1_700_000_000, "model": model,
        "choices": [{"index": 0, "finish_reason": "stop"}], "usage": draw(usages()),
    }  # fmt: skip
    body = _some(draw, _ODD, usual)
    usual_intent = {"provider": draw(st.sampled_from(["openai", "vllm"])), "request_model": model}
    one = intent(**_some(draw, _ODD_INTENT, usual_intent))
    return one, outcome(**_some(draw, _ODD_OUTCOME, {"reply": msgspec.Raw(msgspec.json.encode(body))}))


@pytest.mark.slow
@settings(max_examples=1_000, deadline=None)
@given(attempts())
def test_the_short_path_and_the_whole_one_agree_to_the_pico(attempt: tuple[Intent, Outcome]) -> None:
    context = default_context()
    assert spent(*attempt, epoch="x", context=context) == processed(*attempt, epoch="x", context=context)


def test_a_usual_reply_goes_the_short_path() -> None:
    found = usual_spent(intent(), outcome(), context=default_context())
    assert found == (COST_USD_PICO, 1_100)


def test_a_model_of_ones_own_has_no_price_on_either_path() -> None:
    one = intent(provider="vllm", request_model="my-model", engine="vllm")
    ended = outcome(reply=msgspec.Raw(bytes(reply()).replace(b"gpt-4o-mini-2024-07-18", b"my-model")))
    assert usual_spent(one, ended, context=default_context()) == (None, 1_100)
    assert processed(one, ended, epoch="x", context=default_context()) == (None, 1_100)


def test_what_is_not_wholly_understood_goes_the_whole_path() -> None:
    for change in ({"aborted": True}, {"error_type": "upstream_closed"}, {"http_status": 429}, {"reply": None}):
        assert usual_spent(intent(), outcome(**change), context=default_context()) is None
    odd = msgspec.Raw(bytes(reply()).replace(b'"total_tokens":1100', b'"total_tokens":1100,"audio_seconds":3'))
    assert usual_spent(intent(), outcome(reply=odd), context=default_context()) is None
