"""Whatever a reply holds, a value goes out: what a reader or a fold cannot take is refused, never raised."""

import json
from typing import Any

import pytest

from tokenledger.pricing import bound, packaged_book
from tokenledger.process import default_context, process
from tokenledger.records import PricedCall, RawEvent, Reason, Rejected

HEADERS = {"ce_id": b"e", "ce_source": b"/app", "ce_tenantid": b"acme"}


def outcome(envelope: dict[str, Any] | str) -> PricedCall | Rejected:
    value = envelope if isinstance(envelope, str) else json.dumps(envelope)
    return process(RawEvent(value=value.encode(), headers=HEADERS), default_context())


def understood(envelope: dict[str, Any]) -> PricedCall:
    found = outcome(envelope)
    assert isinstance(found, PricedCall), found
    return found


def refused(envelope: dict[str, Any] | str) -> Reason:
    found = outcome(envelope)
    assert isinstance(found, Rejected), found
    return found.reason


def nested(depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(depth):
        found = {"a_b": found}
    return found


def chat(**usage: Any) -> dict[str, Any]:
    reply = {"id": "chatcmpl-1", "object": "chat.completion", "model": "gpt-4o", "choices": [], "usage": usage}
    return {"provider": "openai", "response": reply}


@pytest.mark.parametrize("exponent", ["1e99999999999999999999", "1e-99999999999999999999"])
@pytest.mark.parametrize("nul", ["", "\\u0000"])
def test_a_number_that_nothing_can_hold_is_no_json(exponent: str, nul: str) -> None:
    record = json.dumps(chat(prompt_tokens=1, completion_tokens=1, z="here", w=nul)).replace('"here"', exponent)
    assert refused(record.replace("\\\\u0000", "\\u0000")) is Reason.INVALID_JSON


def test_a_usage_object_that_is_too_deep_to_be_looked_through_is_refused() -> None:
    assert refused(chat(prompt_tokens=1, completion_tokens=1, more=nested(450))) is Reason.TOO_DEEP
    gemini = {"candidates": [], "usage_metadata": {"prompt_token_count": 1}, "more": nested(900)}
    assert refused({"provider": "gcp.gemini", "response": gemini}) is Reason.TOO_DEEP


def test_a_sum_of_tokens_beyond_int64_is_refused() -> None:
    rows = [{"input_token_count": 2**53, "generated_token_count": 2**53}] * 600
    assert refused({"provider": "ibm.watsonx.ai", "response": {"model_id": "m", "results": rows}}) is (
        Reason.INVALID_COUNT
    )


@pytest.mark.parametrize("duration", ["nan", "sNaN", "Infinity", "-1", "x"])
def test_a_duration_that_is_none_is_refused(duration: str) -> None:
    reply = {"task": "transcribe", "language": "en", "duration": duration, "text": ""}
    assert refused({"provider": "openai", "api": "audio", "response": reply}) is Reason.INVALID_COUNT


@pytest.mark.parametrize("images", [5, "abc", {"a": 1}])
def test_pictures_are_counted_in_a_list_and_nowhere_else(images: object) -> None:
    url = "https://bedrock-runtime.us-east-1.amazonaws.com/model/amazon.titan-image-generator-v1/invoke"
    found = outcome({"provider": "aws.bedrock", "url": url, "response": {"images": images}})
    assert not isinstance(found, PricedCall) or "image" not in found.call.usage


def test_true_is_no_amount() -> None:
    reply = chat(prompt_tokens=1, completion_tokens=1, cost=True)
    reply["response"]["id"] = "gen-1"
    assert refused(reply) is Reason.INVALID_AMOUNT


def test_a_billed_amount_beyond_int64_is_refused() -> None:
    """Their fee and the customer's own key each are amounts that a call can have; their sum is none."""
    details = {"upstream_inference_cost": 8_999_999}
    reply = chat(prompt_tokens=1, completion_tokens=1, cost=8_999_999, is_byok=True, cost_details=details)
    reply["response"]["id"] = "gen-1"
    assert refused(reply) is Reason.AMOUNT_OVERFLOW


@pytest.mark.parametrize(
    "envelope",
    [
        {"provider": "mistral_ai", "response": {"object": "conversation.response", "outputs": [],
                                                "usage": {"completion_tokens": 7}}},
        {"provider": "ibm.watsonx.ai", "response": {"model_id": "m", "results": [{"generated_token_count": 7}]}},
        {"provider": "cohere", "response": {"id": "1", "message": {"role": "assistant"},
                                            "usage": {"tokens": {"output_tokens": 7}}}},
    ],
    ids=["mistral", "watsonx", "cohere"],
)  # fmt: skip
def test_a_count_that_is_not_stated_is_not_zero(envelope: dict[str, Any]) -> None:
    call = understood(envelope).call
    assert (call.input_tokens, call.output_tokens, dict(call.usage)) == (None, 7, {"output.text": 7})


def test_the_last_usage_in_a_choice_counts() -> None:
    def chunk(usage: dict[str, int] | None, finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": {}, "finish_reason": finish} | ({"usage": usage} if usage else {})
        data = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "kimi-k2", "choices": [choice]}
        return {"data": data}

    events = [chunk({"prompt_tokens": 5, "completion_tokens": 1}), chunk(None),
              chunk({"prompt_tokens": 5, "completion_tokens": 9}, "stop")]  # fmt: skip
    call = understood({"provider": "moonshotai", "events": events}).call
    assert (call.input_tokens, call.output_tokens) == (5, 9)


def test_words_of_a_caller_take_bounded_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service tier may be any text, and each makes rates of its own."""
    monkeypatch.setattr(bound, "MAX_CARDS", 10)
    bounds = bound.Bounds(packaged_book())
    for number in range(50):
        asked = ("", "openai", None, None, "gpt-4o", None, None, None, None, f"tier-{number}", None, None, None)
        most = bounds.most_usd_pico(asked, at_us=1_784_000_000_000_000, input_tokens=10, output_tokens=10)
        assert most is not None
    assert 0 < len(bounds._dearest) <= 10
