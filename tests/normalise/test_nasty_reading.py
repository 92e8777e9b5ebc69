"""Cases of reading Anthropic, Gemini, Bedrock, Cohere and spans that some real system got wrong, each by name."""

from typing import Any

import pytest

from tests.normalise.samples import call_of, claude, priced, record, span
from tokenledger.normalise import normalise
from tokenledger.records import Reason, Rejected

TWIN = {"input.text": 86, "input.text.cache_read": 1920, "output.text": 300}


def test_openai_and_anthropic_twins_give_one_vector() -> None:
    anthropic = call_of(claude({"input_tokens": 86, "cache_read_input_tokens": 1920, "output_tokens": 300}))
    openai = call_of(
        {
            "provider": "openai",
            "response": {
                "choices": [],
                "usage": {
                    "prompt_tokens": 2006,
                    "completion_tokens": 300,
                    "prompt_tokens_details": {"cached_tokens": 1920},
                },
            },
        }
    )

    assert anthropic.usage == openai.usage == TWIN
    assert (
        (anthropic.input_tokens, anthropic.output_tokens) == (openai.input_tokens, openai.output_tokens) == (2006, 300)
    )


def test_langchain_anthropic_is_inclusive() -> None:
    message = {
        "type": "ai",
        "response_metadata": {"id": "msg_01", "model_name": "claude-sonnet-4-5"},
        "usage_metadata": {
            "input_tokens": 2006,
            "output_tokens": 300,
            "total_tokens": 2306,
            "input_token_details": {"cache_read": 1920, "cache_creation": 0},
        },
    }

    for provider in ("anthropic", "aws.bedrock", "langchain"):
        assert call_of({"provider": provider, "response": message}).usage == TWIN


def test_two_instrumentations_one_call() -> None:
    inclusive = span({"gen_ai.usage.input_tokens": 1012, "gen_ai.usage.cache_read.input_tokens": 1000})
    exclusive = span({"gen_ai.usage.prompt_tokens": 12, "gen_ai.usage.cache_read_input_tokens": 1000})

    readings = [call_of(one, "otel.span.v1") for one in (inclusive, exclusive)]

    assert {call.usage_reading for call in readings} == {"otel.inclusive", "otel.exclusive"}
    for call in readings:
        assert call.usage == {"input.text": 12, "input.text.cache_read": 1000}
        assert call.input_tokens == 1012


@pytest.mark.parametrize(
    "alias",
    [
        "gen_ai.usage.cache_read.input_tokens",
        "gen_ai.usage.cache_read_input_tokens",
        "llm.usage.cache_read_input_tokens",
        "llm.token_count.prompt_details.cache_read",
        "llm.token_count.prompt_details.cache_input",
    ],
)
def test_every_cache_alias_subtracts(alias: str) -> None:
    call = call_of(span({"gen_ai.usage.input_tokens": 2006, alias: 1920}), "otel.span.v1")

    assert call.usage == {"input.text": 86, "input.text.cache_read": 1920}


def test_two_aliases_of_one_count_are_one_count() -> None:
    both = {"gen_ai.usage.cache_read.input_tokens": 1920, "gen_ai.usage.cache_read_input_tokens": 1920}

    assert call_of(span({"gen_ai.usage.input_tokens": 2006} | both), "otel.span.v1").usage["input.text"] == 86


@pytest.mark.parametrize(
    "alias",
    [
        "gen_ai.usage.cache_write.input_tokens",
        "gen_ai.usage.cache_creation.input_tokens",
        "gen_ai.usage.cache_creation_input_tokens",
        "gen_ai.usage.input_tokens.cache_write",
        "llm.token_count.prompt_details.cache_write",
    ],
)
def test_cache_creation_is_subtracted_too(alias: str) -> None:
    call = call_of(
        span({"gen_ai.usage.input_tokens": 10_500, "gen_ai.usage.cache_read.input_tokens": 2000, alias: 8000}),
        "otel.span.v1",
    )

    assert call.usage == {"input.text": 500, "input.text.cache_read": 2000, "input.text.cache_write": 8000}


def test_anthropic_stream_usage_is_cumulative() -> None:
    """6 x 5 + 159,217 x 6.25 + 2,745 x 25 USD per million = 1.06376125 USD; summed over chunks it was 1.85984625."""
    start = {
        "input_tokens": 6,
        "cache_creation_input_tokens": 159_217,
        "cache_read_input_tokens": 0,
        "output_tokens": 1,
    }
    message = {"id": "msg_01", "type": "message", "model": "claude-opus-4-6", "stop_reason": None, "usage": start}
    events = [
        {"event": "message_start", "data": {"type": "message_start", "message": message}},
        {"event": "message_delta", "data": {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 1200}}},
        {
            "event": "message_delta",
            "data": {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn"},
                "usage": start | {"output_tokens": 2745},
            },
        },
        {"event": "message_stop", "data": {"type": "message_stop"}},
    ]

    found = priced({"provider": "anthropic", "events": events})

    assert found.call.usage == {"input.text": 6, "input.text.cache_write": 159_217, "output.text": 2745}
    assert found.cost_usd_pico == 1_063_761_250_000


def test_gemini_thoughts_are_added() -> None:
    usage = {
        "promptTokenCount": 1000,
        "candidatesTokenCount": 50,
        "thoughtsTokenCount": 20,
        "toolUsePromptTokenCount": 30,
        "totalTokenCount": 1100,
    }

    call = call_of({"provider": "gcp.gemini", "response": {"candidates": [], "usageMetadata": usage}})

    assert (call.input_tokens, call.output_tokens) == (1030, 70)
    assert call.usage == {"input.text": 1000, "input.tool": 30, "output.text": 50, "output.reasoning": 20}
    assert call.anomalies == ()


def test_unexplained_total_is_not_output() -> None:
    usage = {"promptTokenCount": 4299, "candidatesTokenCount": 631, "totalTokenCount": 58_291}

    call = call_of({"provider": "gcp.gemini", "response": {"candidates": [], "usageMetadata": usage}})

    assert call.output_tokens == 631
    assert call.anomalies == ("unexplained_tokens",)


def test_explicit_zero_and_absent_differ() -> None:
    zero = call_of(claude({"input_tokens": 0, "output_tokens": 0}))
    absent = call_of(claude(None))

    assert (zero.usage_source, zero.usage) == ("reported", {"input.text": 0, "output.text": 0})
    assert (absent.usage_source, absent.usage, absent.input_tokens) == ("none", {}, None)
    assert priced(claude({"input_tokens": 0, "output_tokens": 0})).cost_usd_pico == 0
    assert priced(claude(None)).cost_usd_pico is None


def test_two_cache_ttls_in_one_response() -> None:
    """1,000 x 3.75 + 2,000 x 6 + 10 x 3 + 20 x 15 USD per million = 0.01608 USD."""
    split = {"ephemeral_5m_input_tokens": 1000, "ephemeral_1h_input_tokens": 2000}
    usage = {"input_tokens": 10, "cache_creation_input_tokens": 3000, "output_tokens": 20}

    found = priced(claude(usage | {"cache_creation": split}))
    aggregate = call_of(claude(usage))

    assert found.call.usage["input.text.cache_write_5m"] == 1000
    assert found.call.usage["input.text.cache_write_1h"] == 2000
    assert found.cost_usd_pico == 16_080_000_000
    assert aggregate.usage["input.text.cache_write"] == 3000
    assert found.call.input_tokens == aggregate.input_tokens == 3010


@pytest.mark.parametrize(
    ("provider", "response"),
    [
        (
            "anthropic",
            claude({"input_tokens": 1, "output_tokens": 5, "output_tokens_details": {"thinking_tokens": 6}})[
                "response"
            ],
        ),
        (
            "anthropic",
            claude(
                {
                    "input_tokens": 1,
                    "cache_creation_input_tokens": 5,
                    "cache_creation": {"ephemeral_1h_input_tokens": 6},
                    "output_tokens": 5,
                }
            )["response"],
        ),
        ("gcp.gemini", {"usageMetadata": {"promptTokenCount": 5, "cachedContentTokenCount": 6}}),
        (
            "gcp.gemini",
            {"usageMetadata": {"promptTokenCount": 5, "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 6}]}},
        ),
        (
            "aws.bedrock",
            {
                "stopReason": "end_turn",
                "usage": {
                    "inputTokens": 1,
                    "outputTokens": 1,
                    "cacheWriteInputTokens": 5,
                    "cacheDetails": [{"ttl": "5m", "inputTokens": 6}],
                },
            },
        ),
        ("cohere", {"usage": {"tokens": {"input_tokens": 5}, "cached_tokens": 6}}),
    ],
)
def test_contradicting_parts_never_bill_negative(provider: str, response: dict[str, Any]) -> None:
    rejected = normalise(record({"provider": provider, "response": response}))

    assert isinstance(rejected, Rejected), rejected
    assert rejected.reason == Reason.CONTRADICTING_USAGE


@pytest.mark.parametrize("damaged", [-1, 1.5, "12", 2**53 + 1, True, [], {}])
@pytest.mark.parametrize(
    ("provider", "usage_of", "field"),
    [
        ("anthropic", lambda n: {"type": "message", "usage": {"input_tokens": n}}, "usage.input_tokens"),
        ("cohere", lambda n: {"usage": {"billed_units": {"output_tokens": n}}}, "billed_units.output_tokens"),
        ("aws.bedrock", lambda n: {"usage": {"inputTokens": 1, "outputTokens": n}}, "usage.outputTokens"),
        ("mistral_ai", lambda n: {"usage_info": {"pages_processed": n}}, "usage_info.pages_processed"),
    ],
)
def test_a_count_that_is_none_names_its_field(damaged: object, provider: str, usage_of: Any, field: str) -> None:
    rejected = normalise(record({"provider": provider, "response": usage_of(damaged)}))

    assert isinstance(rejected, Rejected), rejected
    assert (rejected.reason, rejected.field) == (Reason.INVALID_COUNT, field)
