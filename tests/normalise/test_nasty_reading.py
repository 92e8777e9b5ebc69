"""Cases of reading Anthropic, Gemini, Bedrock, Cohere, spans and logs that some real system got wrong, each by name."""

import json
from typing import Any

import pytest

from tokenledger.merge import candidate, resolve
from tokenledger.normalise import normalise
from tokenledger.process import default_context, process
from tokenledger.records import Call, PricedCall, RawEvent, Reason, Rejected

STARTED_AT_US = 1_793_500_000_000_000
TWIN = {"input.text": 86, "input.text.cache_read": 1920, "output.text": 300}


def record(value: dict[str, Any], event_id: str = "event-1", ce_type: str = "llm.call.v1") -> RawEvent:
    """The value as a record of a gateway."""
    headers = {
        "ce_id": event_id.encode(),
        "ce_source": b"gateway",
        "ce_type": ce_type.encode(),
        "ce_tenantid": b"acme",
    }
    return RawEvent(value=json.dumps(value).encode(), headers=headers, append_at_us=STARTED_AT_US)


def call_of(value: dict[str, Any], ce_type: str = "llm.call.v1") -> Call:
    """The Call of a record that can be read."""
    call = normalise(record(value, ce_type=ce_type))
    assert isinstance(call, Call), call
    return call


def priced(value: dict[str, Any], event_id: str = "event-1") -> PricedCall:
    """The record, read and priced by the packaged catalogue."""
    found = process(record({"started_at_us": STARTED_AT_US} | value, event_id), default_context())
    assert isinstance(found, PricedCall), found
    return found


def claude(usage: dict[str, Any] | None, **more: Any) -> dict[str, Any]:
    """An envelope with a message of Claude Sonnet 4.5: 3 USD in, 15 USD out per million, cache 0.30, 3.75 and 6."""
    message = {"id": "msg_01", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5-20250929"}
    response = message | {"stop_reason": "end_turn"} | ({} if usage is None else {"usage": usage})
    return {"provider": "anthropic", "response": response} | more


def span(attributes: dict[str, Any], scope: str = "") -> dict[str, Any]:
    """A span with plain attributes."""
    named = {
        "gen_ai.operation.name": "chat",
        "gen_ai.system": "anthropic",
        "gen_ai.response.model": "claude-sonnet-4-5",
    }
    return {"trace_id": "a" * 32, "span_id": "b" * 16, "scope": {"name": scope}, "attributes": named | attributes}


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


def test_batch_bills_once_at_half() -> None:
    """1,000 x 1.50 + 100 x 7.50 USD per million = 0.00225 USD, once, however often the batch is polled."""
    usage = {"input_tokens": 1000, "output_tokens": 100, "service_tier": "batch"}
    line = {"custom_id": "r-1", "result": {"type": "succeeded", "message": claude(usage)["response"]}}

    polls = [priced({"provider": "anthropic", "response": line, "container_id": "b-1"}, f"poll-{n}") for n in range(5)]
    calls = resolve(map(candidate, polls))

    assert [poll.cost_usd_pico for poll in polls] == [2_250_000_000] * 5
    assert len(calls) == 1


def test_a_first_poll_that_could_not_read_the_output_does_not_lose_it() -> None:
    unread = priced(claude(None), "poll-1")
    read = priced(claude({"input_tokens": 1000, "output_tokens": 100}), "poll-2")

    (call,) = resolve(map(candidate, [read, unread]))

    assert call.winner.record.cost_usd_pico == read.cost_usd_pico


@pytest.mark.parametrize(("model", "searches"), [("gemini-2.5-flash", 1), ("gemini-3-pro-preview", 2)])
def test_search_fee_unit_by_model(model: str, searches: int) -> None:
    grounding = {
        "webSearchQueries": ["weather rome", "weather oslo", "weather rome", "", " "],
        "groundingChunks": [{"web": {"uri": f"https://example.org/{n}"}} for n in range(9)],
    }
    candidates = [{"finishReason": "STOP", "groundingMetadata": grounding}]
    usage = {"promptTokenCount": 5, "candidatesTokenCount": 6, "totalTokenCount": 11}

    call = call_of(
        {
            "provider": "gcp.gemini",
            "response": {"candidates": candidates, "usageMetadata": usage, "modelVersion": model},
        }
    )

    assert call.usage["tool.web_search"] == searches


def test_usage_after_finish() -> None:
    finished = {"candidates": [{"finishReason": "STOP"}], "modelVersion": "gemini-2.5-flash"}
    usage = {"usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 6, "totalTokenCount": 11}}

    call = call_of({"provider": "gcp.gemini", "events": [{"data": finished}, {"data": usage}]})

    assert call.usage == {"input.text": 5, "output.text": 6}
    assert call.status == "ok"


def test_usage_on_every_chunk() -> None:
    chunks: list[dict[str, Any]] = [
        {"usageMetadata": {"promptTokenCount": 16, "candidatesTokenCount": n, "totalTokenCount": 16 + n}}
        for n in (0, 31, 54, 54)
    ]
    chunks[-1]["candidates"] = [{"finishReason": "STOP"}]

    call = call_of({"provider": "gcp.gemini", "events": [{"data": chunk} for chunk in chunks]})

    assert call.usage == {"input.text": 16, "output.text": 54}


def test_usage_never_requested() -> None:
    events = [
        {"event": "message-start", "data": {"type": "message-start", "id": "c-1"}},
        {"event": "message-end", "data": {"type": "message-end", "delta": {"finish_reason": "COMPLETE"}}},
    ]

    found = priced({"provider": "cohere", "request_model": "command-r-08-2024", "events": events})

    assert found.call.usage_source == "none"
    assert (found.price_status, found.cost_usd_pico) == ("unmetered", None)


def test_disconnect_then_true_usage() -> None:
    start = claude({"input_tokens": 1000, "output_tokens": 1})["response"] | {"stop_reason": None}
    cut = priced({"provider": "anthropic", "events": [{"data": {"type": "message_start", "message": start}}]}, "live")
    whole = priced(claude({"input_tokens": 1000, "output_tokens": 500}), "late")

    for order in ([cut, whole], [whole, cut], [cut, whole, cut]):
        (call,) = resolve(map(candidate, order))
        assert call.winner.record.call.output_tokens == 500
    assert cut.call.status == "aborted"


@pytest.mark.parametrize("blank", [None, "", "None", "null", "  "])
def test_blank_upstream_id(blank: str | None) -> None:
    payload = {
        "id": blank,
        "custom_llm_provider": "anthropic",
        "model": "claude-sonnet-4-5",
        "prompt_tokens": 1,
        "completion_tokens": 2,
        "total_tokens": 3,
    }

    first, second = (
        normalise(record(payload, event_id, "litellm.standard_logging_payload.v1")) for event_id in ("e-1", "e-2")
    )

    assert isinstance(first, Call)
    assert isinstance(second, Call)
    assert first.response_key is None
    assert first.event_key != second.event_key


def test_rereading_is_free() -> None:
    stored = claude({"input_tokens": 1000, "output_tokens": 500})

    readings = [priced(stored, event_id) for event_id in ("call", "fetched again", "and again")]

    assert len(resolve(map(candidate, readings))) == 1


def test_bridge_logs_twice_or_never() -> None:
    """A bridge that speaks Anthropic's API to Bedrock logs the call in both shapes: one id, one call, one cost."""
    usage = {"input_tokens": 1000, "output_tokens": 500}
    message = claude(usage, provider="aws.bedrock", request_model="anthropic.claude-sonnet-4-5-20250929-v1:0")
    bridged = {
        "provider": "bedrock_converse",
        "request_model": "anthropic.claude-sonnet-4-5-20250929-v1:0",
        "response": {
            "stopReason": "end_turn",
            "usage": {"inputTokens": 1000, "outputTokens": 500, "totalTokens": 1500},
            "ResponseMetadata": {"RequestId": "msg_01"},
        },
    }

    (call,) = resolve(map(candidate, [priced(message, "front"), priced(bridged, "back")]))

    assert call.winner.record.call.usage == {"input.text": 1000, "output.text": 500}


def test_every_tool_round_has_a_row() -> None:
    rounds = []
    for number in range(3):
        reply = claude({"input_tokens": 100 + number, "output_tokens": 10}, operation_id="task-1")
        reply["response"] = reply["response"] | {"id": f"msg_0{number}", "stop_reason": "tool_use"}
        rounds.append(priced(reply, f"round-{number}"))

    assert len(resolve(map(candidate, rounds))) == 3


@pytest.mark.parametrize("kind", ["invoke_agent", "execute_tool", "invoke_workflow", "create_agent"])
def test_parent_and_child_spans(kind: str) -> None:
    """What a parent repeats of its children is refused, so tokens and cost come from one set of spans."""
    parent = span({"gen_ai.operation.name": kind, "gen_ai.usage.input_tokens": 5, "gen_ai.usage.output_tokens": 6})

    rejected = normalise(record(parent, ce_type="otel.span.v1"))

    assert isinstance(rejected, Rejected)
    assert rejected.reason == Reason.NOT_A_CALL


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
