"""Cases of streams, identities and fees that some real system got wrong, as these dialects have them, each by name."""

from typing import Any

import pytest

from tests.normalise.samples import call_of, claude, priced, record, span
from tokenledger.merge import candidate, resolve
from tokenledger.normalise import normalise
from tokenledger.records import Call, Reason, Rejected


@pytest.mark.slow
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
