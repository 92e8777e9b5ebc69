"""LiteLLM's payloads: what is odd about them costs at most the odd field, never the call."""

import json
from typing import Any

import pytest

from tokenledger.normalise import normalise
from tokenledger.normalise.litellm import PAYLOAD_TYPE
from tokenledger.records import Call, RawEvent, Reason, Rejected

PAYLOAD = {
    "id": "chatcmpl-1",
    "call_type": "acompletion",
    "custom_llm_provider": "openai",
    "model": "gpt-4o",
    "prompt_tokens": 12,
    "completion_tokens": 3,
    "total_tokens": 15,
    "startTime": 1760000000.5,
}


def read_payload(value: object) -> Call | Rejected:
    """What is made of a payload."""
    headers = {"ce_id": b"e", "ce_source": b"s", "ce_tenantid": b"acme", "ce_type": PAYLOAD_TYPE.encode()}
    return normalise(RawEvent(value=json.dumps(value).encode(), headers=headers))


def call_of(**more: Any) -> Call:
    """The Call of the payload with some fields replaced."""
    call = read_payload(PAYLOAD | more)
    assert isinstance(call, Call), call
    return call


@pytest.mark.parametrize(
    "odd",
    [
        {"metadata": None},
        {"metadata": "text", "hidden_params": []},
        {"request_tags": "beta", "model_parameters": None},
        {"startTime": "yesterday", "endTime": -1},
        {"response_cost": "0.1"},
        {"response_cost": True},
        {"end_user": 7, "session_id": ["s"]},
    ],
)
def test_an_odd_field_is_as_good_as_absent(odd: dict[str, Any]) -> None:
    assert call_of(**odd).usage == {"input.text": 12, "output.text": 3}


def test_a_cost_is_a_claim_and_never_the_providers_bill() -> None:
    call = call_of(response_cost=0.000125)

    assert (call.claimed_usd_pico, call.billed_usd_pico) == (125_000_000, None)


def test_the_richer_usage_object_is_read_in_place_of_the_plain_counts() -> None:
    usage = {"prompt_tokens": 12, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 10}}

    assert call_of(metadata={"usage_object": usage}).usage["input.text.cache_read"] == 10
    assert call_of(hidden_params={"usage_object": usage}).usage["input.text.cache_read"] == 10


def test_tags_are_bounded() -> None:
    tags = call_of(request_tags=[f"tag-{n}:{'x' * 300}" for n in range(40)]).tags or {}

    assert len(tags) == 16
    assert {len(label) for label in tags.values()} == {256}


@pytest.mark.parametrize("value", [[], 1, "payload", None])
def test_what_is_no_object_is_no_payload(value: object) -> None:
    rejected = read_payload(value)

    assert isinstance(rejected, Rejected)
    assert rejected.reason == Reason.INVALID_ENVELOPE
