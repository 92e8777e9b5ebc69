"""Replies as no upstream should send them: the caller gets what there is, and the attempt its outcome."""

from typing import Any

import msgspec
import pytest

from serving.gateway.capturing import Texts
from serving.gateway.envelopes import raw_event
from serving.gateway.records import Outcome
from serving.gateway.replies import facts_of
from serving.gateway.sse import Stream
from tests.serving.attempts import intent, outcome
from tests.serving.running import CHAT, Running, Upstream, completion, event, reply, with_upstream
from tokenledger.process import default_context, process
from tokenledger.records import PricedCall


@pytest.mark.parametrize("name", ["retry-after", "retry-after-ms"])
def test_a_wait_of_more_digits_than_python_reads_is_passed_on_with_the_upstreams_error(name: str) -> None:
    digits = "9" * 5_000

    async def scenario(gateway: Running, server: Upstream) -> None:
        answered = await gateway.post(CHAT)
        assert (answered.status, answered.json["error"]["message"]) == (429, "busy")
        assert answered.headers[name] == digits
        assert len(server.received) == 1, "it is too long to be waited for"

    with_upstream(scenario, reply({"error": {"message": "busy"}}, status=429, headers=f"{name}: {digits}\r\n"))


def estimated_or_not(*events: bytes) -> PricedCall:
    """The call that the ledger sees of a stream with these events at its end."""
    begun = (event({"role": "assistant", "content": ""}), event({"content": "he"}), event({"content": "llo"}))
    stream = Stream(usage_wanted=True)
    for number, one in enumerate((*begun, *events, b"data: [DONE]\n\n")):
        stream.feed(one, number)
    reply_of_it = stream.facts.encoded()
    found = outcome(reply=reply_of_it, output_chunks=stream.chunks)
    assert stream.facts.has_usage is (priced(found).call.usage_source == "reported")
    return priced(found)


def priced(told: Outcome) -> PricedCall:
    """The call that the ledger sees."""
    found = process(raw_event(intent(), told, epoch="e"), default_context())
    assert isinstance(found, PricedCall), found
    return found


COUNTED = {"prompt_tokens": 700, "completion_tokens": 20, "total_tokens": 720}


@pytest.mark.parametrize(
    "last",
    [
        event({}, finish="stop", usage=COUNTED),
        event({}, finish="stop", x_groq={"id": "req_1", "usage": COUNTED}),
        event({}, finish="stop", timings={"cache_n": 100, "prompt_n": 600, "prompt_ms": 3.5, "predicted_n": 20}),
        event(choices=[{"index": 0, "delta": {}, "finish_reason": "stop", "usage": COUNTED}]),
    ],
    ids=["usage", "groq", "llama.cpp", "moonshot"],
)
def test_usage_that_was_reported_is_charged_wherever_it_stands(last: bytes) -> None:
    call = estimated_or_not(last).call
    assert (call.usage_source, call.input_tokens, call.output_tokens) == ("reported", 700, 20)


@pytest.mark.parametrize(
    "more",
    [{}, {"usage": {}}, {"x_groq": {"id": "req_1"}}, {"x_groq": 5}, {"timings": {"prompt_ms": 3.5}}, {"timings": []}],
)
def test_what_counts_nothing_leaves_usage_to_be_estimated(more: dict[str, Any]) -> None:
    call = estimated_or_not(event({}, finish="stop", **more)).call
    assert (call.usage_source, call.output_tokens) == ("estimated", 2)


def test_usage_beside_the_choices_outranks_that_of_a_choice() -> None:
    choice = {"index": 0, "delta": {}, "finish_reason": "stop", "usage": COUNTED | {"prompt_tokens": 1}}
    call = estimated_or_not(event(choices=[choice], usage=COUNTED)).call
    assert call.input_tokens == 700


@pytest.mark.parametrize("created", ["1e400", "-1e999", "1" * 5_000])
@pytest.mark.parametrize("with_texts", [False, True])
def test_a_number_no_float_holds_does_not_keep_a_stream_without_usage_from_its_estimate(
    created: str, *, with_texts: bool
) -> None:
    chunk = event({"content": "hello"}, finish="stop").replace(b"1700000000", created.encode())
    stream = Stream(usage_wanted=True)
    stream.feed(chunk, 1)
    told = outcome(reply=stream.facts.encoded(), output_chunks=stream.chunks)
    texts = Texts({"messages": msgspec.Raw(b"[]")}, []) if with_texts else None
    record = raw_event(intent(), told, epoch="e", texts=texts).value or b""
    value = msgspec.json.decode(record, type=dict[str, msgspec.Raw])
    assert b'"completion_tokens":1' in bytes(value["response"])
    assert created.encode() in bytes(value["response"]), "it is told as it came"


def test_a_reply_with_a_field_of_another_type_and_such_a_number_is_still_an_answer() -> None:
    odd = completion(created=0, system_fingerprint=7)
    facts = facts_of(msgspec.json.encode(odd).replace(b'"created":0', b'"created":1e400'))
    assert facts is not None
    assert facts.has_usage


@pytest.mark.parametrize(
    "odd",
    [
        {"id": 7},
        {"system_fingerprint": {}},
        {"choices": 5},
        {"choices": [{"index": None, "delta": {}, "finish_reason": "stop"}]},
        {"choices": [{"index": [0], "delta": {}}, {"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {"choices": ["a"]},
    ],
)
def test_a_field_of_another_type_does_not_hide_the_usage_beside_it(odd: dict[str, Any]) -> None:
    call = estimated_or_not(event({}, finish="stop", **({"usage": COUNTED} | odd))).call
    assert (call.usage_source, call.input_tokens, call.response_id) == ("reported", 700, "chatcmpl-2")


def test_an_event_that_cannot_be_read_wholly_is_shown_without_its_usage() -> None:
    odd = event(choices=[{"index": [0], "delta": {"content": "x"}}], usage=COUNTED)
    shown = Stream(usage_wanted=False).feed(odd, 1)
    assert b'"content":"x"' in shown
    assert b'"usage"' not in shown


@pytest.mark.parametrize("data", [b"[1]", b"3", b'"a"', b"null", b'{"id":7,"usage":{"a":"\xff"', b"[" * 2_000])
def test_what_is_no_chunk_goes_on_unread(data: bytes) -> None:
    stream = Stream(usage_wanted=False)
    assert stream.feed(b"data: " + data + b"\n\n", 1) == b"data: " + data + b"\n\n"
    assert stream.facts.encoded() is None
