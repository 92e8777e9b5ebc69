"""Cases of reading OpenAI-shaped replies that some real system got wrong; each test has its case's name."""

import json
from typing import Any

import pytest

from tokenledger.merge import rank
from tokenledger.normalise import normalise
from tokenledger.normalise.leaves import carve_input
from tokenledger.normalise.reading import Reading
from tokenledger.process import default_context, process
from tokenledger.records import Anomaly, Call, PricedCall, RawEvent, Reason, Rejected

TENANT = b"acme"
STARTED_AT_US = 1_784_000_000_000_000


def record(envelope: dict[str, Any], event_id: str = "event-1") -> RawEvent:
    """The envelope as a record of a gateway."""
    headers = {"ce_id": event_id.encode(), "ce_source": b"gateway", "ce_tenantid": TENANT}
    return RawEvent(value=json.dumps(envelope).encode(), headers=headers, append_at_us=STARTED_AT_US)


def call_of(envelope: dict[str, Any], event_id: str = "event-1") -> Call:
    """The Call of an envelope that can be read."""
    call = normalise(record(envelope, event_id))
    assert isinstance(call, Call), call
    return call


def rejected_of(envelope: dict[str, Any]) -> Rejected:
    """The refusal of an envelope that cannot be read."""
    rejected = normalise(record(envelope))
    assert isinstance(rejected, Rejected), rejected
    return rejected


def chat(usage: dict[str, Any] | None, **more: Any) -> dict[str, Any]:
    """An envelope with a chat completion of OpenAI."""
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_784_000_000,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{"index": 0, "finish_reason": "stop"}],
        "usage": usage,
    }
    return {"provider": "openai", "response": body | more}


def chunk(usage: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    """One event of a chat stream."""
    choices = [{"index": 0, "delta": {}, "finish_reason": finish}]
    body = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "gpt-4o-mini", "choices": choices}
    return {"data": body | {"usage": usage} | more}


def stream(*events: dict[str, Any]) -> dict[str, Any]:
    """An envelope with a chat stream of OpenAI."""
    return {"provider": "openai", "request": {"stream": True}, "events": list(events)}


def tokens(prompt: int, completion: int, **more: Any) -> dict[str, Any]:
    """A usage object of chat."""
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion} | more


def test_openai_and_anthropic_twins_give_one_vector() -> None:
    twin = {"id": "resp_1", "object": "response", "status": "completed", "model": "gpt-4o-mini", "output": []}
    responses_usage = {"input_tokens": 2006, "input_tokens_details": {"cached_tokens": 1920}, "output_tokens": 300}
    anthropic = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-4-5",
        "content": [],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 86, "cache_read_input_tokens": 1920, "output_tokens": 300},
    }

    by_chat = call_of(chat(tokens(2006, 300, prompt_tokens_details={"cached_tokens": 1920})))
    by_responses = call_of({"provider": "openai", "response": twin | {"usage": responses_usage}})
    by_anthropic = call_of({"provider": "anthropic", "response": anthropic})

    vector = {"input.text": 86, "input.text.cache_read": 1920, "output.text": 300}
    for call in (by_chat, by_responses, by_anthropic):
        assert call.usage == vector
        assert (call.input_tokens, call.output_tokens) == (2006, 300)


@pytest.mark.parametrize(
    "aliased",
    [
        {"prompt_tokens_details": {"cached_tokens": 40}},
        {"prompt_token_details": {"cached_tokens": 40}},
        {"prompt_tokens_details": {"cache_read_input_tokens": 40}},
        {"cached_tokens": 40},
        {"prompt_cache_hit_tokens": 40, "prompt_cache_miss_tokens": 60},
        {"cache_read_input_tokens": 40},
        {"cache_read_input_tokens": 40, "prompt_tokens_details": {"cached_tokens": 40}},
    ],
)
def test_every_cache_alias_subtracts(aliased: dict[str, Any]) -> None:
    call = call_of(chat(tokens(100, 5, **aliased)))

    assert call.usage == {"input.text": 60, "input.text.cache_read": 40, "output.text": 5}
    assert call.input_tokens == 100


@pytest.mark.parametrize(
    "written",
    [
        {"prompt_tokens_details": {"cached_tokens": 40, "cache_write_tokens": 50}},
        {"prompt_tokens_details": {"cached_tokens": 40, "cache_creation_tokens": 50}},
        {"prompt_tokens_details": {"cached_tokens": 40}, "cache_creation_input_tokens": 50},
        {"cache_read_input_tokens": 40, "cache_creation_input_tokens": 50},
    ],
)
def test_cache_creation_is_subtracted_too(written: dict[str, Any]) -> None:
    call = call_of(chat(tokens(100, 5, **written)))

    leaves = {"input.text": 10, "input.text.cache_read": 40, "input.text.cache_write": 50, "output.text": 5}
    assert call.usage == leaves


def test_xai_text_tokens_include_cached() -> None:
    details = {"text_tokens": 4000, "image_tokens": 0, "audio_tokens": 0, "cached_tokens": 3900}
    usage = tokens(4000, 100, prompt_tokens_details=details) | {
        "total_tokens": 4600,
        "completion_tokens_details": {"reasoning_tokens": 500},
    }

    call = call_of(chat(usage) | {"provider": "xai"})

    leaves = {"input.text": 100, "input.text.cache_read": 3900, "output.reasoning": 500, "output.text": 100}
    assert call.usage == leaves
    assert (call.input_tokens, call.output_tokens) == (4000, 600)
    assert call.anomalies == ()


def test_xai_reasoning_lies_beside_the_completion_even_without_a_total() -> None:
    usage = {"prompt_tokens": 30, "completion_tokens": 10, "completion_tokens_details": {"reasoning_tokens": 200}}

    assert call_of(chat(usage) | {"provider": "xai"}).output_tokens == 210
    assert rejected_of(chat(usage)).reason is Reason.CONTRADICTING_USAGE


def test_cached_overlaps_image() -> None:
    details = {"cached_tokens": 900, "image_tokens": 600, "text_tokens": 400}

    call = call_of(chat(tokens(1000, 10, prompt_tokens_details=details)))

    cached = {"input.text.cache_read": 400, "input.image.cache_read": 500}
    assert call.usage == cached | {"input.image": 100, "output.text": 10}
    assert call.input_tokens == 1000
    assert Anomaly.CACHE_SPLIT_OVERLAPS in call.anomalies


def test_cached_overlaps_image_as_the_provider_splits_it() -> None:
    split = {"text_tokens": 300, "image_tokens": 600}
    details = {"cached_tokens": 900, "image_tokens": 600, "text_tokens": 400, "cached_tokens_details": split}

    call = call_of(chat(tokens(1000, 10, prompt_tokens_details=details)))

    cached = {"input.text.cache_read": 300, "input.image.cache_read": 600}
    assert call.usage == cached | {"input.text": 100, "output.text": 10}
    assert call.anomalies == ()


def test_realtime_reasoning_once() -> None:
    usage = {
        "total_tokens": 260,
        "input_tokens": 100,
        "output_tokens": 160,
        "input_token_details": {"text_tokens": 100, "audio_tokens": 0, "cached_tokens": 0},
        "output_token_details": {"text_tokens": 130, "audio_tokens": 30, "reasoning_tokens": 50},
    }
    response = {"object": "realtime.response", "id": "resp_1", "status": "completed", "usage": usage}

    call = call_of({"provider": "openai", "response": {"type": "response.done", "response": response}})

    assert call.usage == {"input.text": 100, "output.audio": 30, "output.reasoning": 50, "output.text": 80}
    assert call.output_tokens == 160


def test_unexplained_total_is_not_output() -> None:
    usage = {"prompt_tokens": 4299, "completion_tokens": 631, "total_tokens": 58_291}

    call = call_of(chat(usage))

    assert call.usage == {"input.text": 4299, "output.text": 631}
    assert (call.input_tokens, call.output_tokens) == (4299, 631)
    assert call.anomalies == (Anomaly.UNEXPLAINED_TOKENS,)


def test_a_total_below_its_parts_is_priced_by_its_parts() -> None:
    call = call_of(chat({"prompt_tokens": 40, "completion_tokens": 10, "total_tokens": 45}))

    assert call.usage == {"input.text": 40, "output.text": 10}
    assert call.anomalies == (Anomaly.TOTAL_MISMATCH,)


def test_explicit_zero_and_absent_differ() -> None:
    zero = call_of(chat(tokens(0, 0)) | {"usage_source": "estimated"})
    half = call_of(chat({"prompt_tokens": 7, "completion_tokens": None}))
    absent = call_of(chat(None))

    assert (zero.usage, zero.input_tokens, zero.output_tokens) == ({"input.text": 0, "output.text": 0}, 0, 0)
    assert (half.usage, half.input_tokens, half.output_tokens) == ({"input.text": 7}, 7, None)
    assert (absent.usage, absent.input_tokens, absent.raw_usage, absent.usage_source) == ({}, None, None, "none")


def test_openai_cache_write_field_by_model() -> None:
    written = {"prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 1500}}

    newer = call_of(chat(tokens(2000, 1, **written), model="gpt-5.6"))
    older = call_of(chat(tokens(2000, 1, prompt_tokens_details={"cached_tokens": 0}), model="gpt-4o"))

    assert newer.usage == {"input.text": 500, "input.text.cache_write": 1500, "output.text": 1}
    assert older.usage == {"input.text": 2000, "output.text": 1}


@pytest.mark.parametrize(
    "usage",
    [
        tokens(100, 5, prompt_tokens_details={"cached_tokens": 101}),
        tokens(100, 5, prompt_tokens_details={"cached_tokens": 60, "cache_write_tokens": 60}),
        tokens(100, 5, prompt_tokens_details={"audio_tokens": 101}),
        tokens(100, 5, prompt_tokens_details={"audio_tokens": 60, "text_tokens": 60}),
        tokens(
            100,
            5,
            prompt_tokens_details={"cache_write_tokens": 10, "cache_write_tokens_details": {"ttl_30m_tokens": 11}},
        ),
        tokens(100, 5, completion_tokens_details={"reasoning_tokens": 6}),
        tokens(100, 5, completion_tokens_details={"reasoning_tokens": 3, "audio_tokens": 3}),
    ],
)
def test_contradicting_parts_never_bill_negative(usage: dict[str, Any]) -> None:
    assert rejected_of(chat(usage)).reason is Reason.CONTRADICTING_USAGE


def test_responses_and_chat_detail_names() -> None:
    usage = {
        "input_tokens": 900,
        "input_tokens_details": {"cached_tokens": 512},
        "output_tokens": 80,
        "output_tokens_details": {"reasoning_tokens": 64},
        "total_tokens": 980,
    }
    response = {"id": "resp_1", "object": "response", "status": "completed", "output": [], "usage": usage}
    details = {
        "prompt_tokens_details": {"cached_tokens": 512},
        "completion_tokens_details": {"reasoning_tokens": 64},
    }

    by_responses = call_of({"provider": "openai", "response": response})
    by_chat = call_of(chat(tokens(900, 80, **details)))

    leaves = {"input.text": 388, "input.text.cache_read": 512, "output.reasoning": 64, "output.text": 16}
    assert by_responses.usage == by_chat.usage == leaves


def test_usage_after_finish() -> None:
    empty_choices = chunk(tokens(30, 4), choices=[])
    empty_delta = chunk(tokens(30, 4))

    for last in (empty_choices, empty_delta):
        call = call_of(stream(chunk(), chunk(finish="stop"), last))
        assert call.usage == {"input.text": 30, "output.text": 4}
        assert (call.status, call.finish_reason, call.anomalies) == ("ok", "stop", ())


def test_usage_after_finish_ends_a_stream_of_which_only_first_and_last_event_were_kept() -> None:
    call = call_of(stream(chunk(), chunk(tokens(30, 4), choices=[])))

    assert (call.usage, call.status) == ({"input.text": 30, "output.text": 4}, "ok")


def test_usage_on_every_chunk() -> None:
    zeros = stream(chunk(tokens(0, 0)), chunk(tokens(0, 0)), chunk(tokens(30, 4), finish="stop"))
    cumulative = stream(chunk(tokens(30, 1)), chunk(tokens(30, 3)), chunk(tokens(30, 4), finish="stop"))
    repeated = stream(chunk(tokens(30, 4)), chunk(tokens(30, 4), finish="stop"), chunk(tokens(30, 4), choices=[]))
    then_null = stream(chunk(tokens(30, 2)), chunk(tokens(30, 4), finish="stop"), chunk(None, choices=[]))

    for envelope in (zeros, cumulative, repeated, then_null):
        call = call_of(envelope)
        assert call.usage == {"input.text": 30, "output.text": 4}
        assert call.status == "ok"


def test_usage_on_every_chunk_of_a_stream_that_was_cut() -> None:
    call = call_of(stream(chunk(tokens(30, 1)), chunk(tokens(30, 3))))

    assert call.usage == {"input.text": 30, "output.text": 3}
    assert (call.status, call.anomalies) == ("aborted", (Anomaly.ABORTED,))


def test_usage_never_requested() -> None:
    priced = process(record(stream(chunk(), chunk(finish="stop"))), default_context())

    assert isinstance(priced, PricedCall)
    assert (priced.call.usage, priced.call.raw_usage, priced.call.usage_source) == ({}, None, "none")
    assert (priced.price_status, priced.cost_usd_pico, priced.lines) == ("unmetered", None, ())


def test_disconnect_then_true_usage() -> None:
    context = default_context()
    partial = stream(chunk(), chunk(tokens(30, 2))) | {"usage_source": "estimated", "aborted": True}
    true = chat(tokens(30, 45))

    early = process(record(partial, "event-1"), context)
    late = process(record(true, "event-2"), context)

    assert isinstance(early, PricedCall)
    assert isinstance(late, PricedCall)
    assert early.call.response_key == late.call.response_key == "openai/chatcmpl-1"
    assert (early.call.usage_source, early.call.status) == ("estimated", "aborted")
    assert (late.call.usage_source, late.call.status) == ("reported", "ok")
    assert late.rank > early.rank


@pytest.mark.parametrize("blank", ["", "  ", "null", "None", None])
def test_blank_upstream_id(blank: str | None) -> None:
    first = call_of(chat(tokens(1, 1), id=blank), "event-1")
    second = call_of(chat(tokens(2, 2), id=blank), "event-2")

    assert first.response_id is None
    assert first.response_key is None
    assert first.event_key != second.event_key


def test_rereading_is_free() -> None:
    usage = {"input_tokens": 10, "output_tokens": 2, "total_tokens": 12}
    response = {"id": "resp_1", "object": "response", "status": "completed", "output": [], "usage": usage}
    queued = response | {"status": "queued", "usage": None}

    created = call_of({"provider": "openai", "response": queued}, "event-1")
    finished = call_of({"provider": "openai", "response": response}, "event-2")
    reread = call_of({"provider": "openai", "response": response}, "event-3")

    assert created.response_key == finished.response_key == reread.response_key == "openai/resp_1"
    assert created.status == "in_progress"
    assert finished.usage == reread.usage
    assert rank(finished, "") > rank(created, "")


def test_bridge_logs_twice_or_never() -> None:
    by_stream = call_of(stream(chunk(), chunk(tokens(30, 4), finish="stop")), "from-the-proxy")
    by_body = call_of(chat(tokens(30, 4)), "from-the-bridge")

    assert by_stream.response_key == by_body.response_key == "openai/chatcmpl-1"
    assert by_stream.usage == by_body.usage


def test_every_tool_round_has_a_row() -> None:
    rounds = [
        call_of(chat(tokens(50 + number, 9), id=f"chatcmpl-{number}") | {"operation_id": "agent-7"}, f"event-{number}")
        for number in range(3)
    ]

    assert len({call.response_key for call in rounds}) == len({call.event_key for call in rounds}) == 3
    assert {call.operation_id for call in rounds} == {"agent-7"}
    assert [call.input_tokens for call in rounds] == [50, 51, 52]


@pytest.mark.parametrize("damaged", [-1, 2.5, "12", 2**53 + 1, True, [3]])
def test_a_count_that_is_none_names_its_field(damaged: object) -> None:
    rejected = rejected_of(chat({"prompt_tokens": 5, "completion_tokens": damaged}))

    assert (rejected.reason, rejected.field) == (Reason.INVALID_COUNT, "usage.completion_tokens")


def test_the_largest_count_that_every_reader_keeps_whole_is_read() -> None:
    call = call_of(chat(tokens(2**53 - 1, 0) | {"total_tokens": None}))

    assert call.input_tokens == 2**53 - 1


def test_an_unknown_detail_is_counted_in_the_nearest_meter_and_flagged() -> None:
    call = call_of(chat(tokens(100, 5, prompt_tokens_details={"hologram_tokens": 30})))

    assert call.usage == {"input.text": 100, "output.text": 5}
    assert call.anomalies == (Anomaly.UNKNOWN_METER_SPLIT,)


def test_leaves_of_two_readings_are_not_one_object() -> None:
    first, second = Reading(usage_reading="a"), Reading(usage_reading="b")

    carve_input(first, 5)

    assert (first.usage, second.usage) == ({"input.text": 5}, {})
