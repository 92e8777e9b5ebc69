"""Mistral's quantities that are no tokens, and the words it has for cached ones."""

import json
from typing import Any

import pytest

from tokenledger.normalise import normalise
from tokenledger.records import Call, RawEvent


def call_of(response: dict[str, Any] | None, **more: Any) -> Call:
    """The Call of a reply, or of the events in `more`, that can be read."""
    headers = {"ce_id": b"e", "ce_source": b"s", "ce_tenantid": b"acme"}
    envelope = {"provider": "mistral_ai", "response": response} | more
    call = normalise(RawEvent(value=json.dumps(envelope).encode(), headers=headers))
    assert isinstance(call, Call), call
    return call


@pytest.mark.parametrize(
    "cached",
    [
        {"num_cached_tokens": 64},
        {"prompt_tokens_details": {"cached_tokens": 64}},
        {"prompt_token_details": {"cached_tokens": 64}},
        {"num_cached_tokens": 64, "prompt_token_details": {"cached_tokens": 64}},
    ],
)
def test_every_word_for_cached_tokens_subtracts_once(cached: dict[str, Any]) -> None:
    usage = {"prompt_tokens": 100, "completion_tokens": 9, "total_tokens": 109} | cached

    call = call_of({"choices": [{"finish_reason": "stop"}], "usage": usage})

    assert call.usage == {"input.text": 36, "input.text.cache_read": 64, "output.text": 9}
    assert call.anomalies == ()


def test_a_transcription_stream_ends_in_its_usage() -> None:
    usage = {"prompt_audio_seconds": 7, "prompt_tokens": 4, "completion_tokens": 30, "total_tokens": 150}
    events = [
        {"data": {"type": "transcription.text.delta", "text": ""}},
        {"data": {"type": "transcription.done", "model": "voxtral-mini-2507", "usage": usage}},
    ]

    call = call_of(None, events=events)

    assert (call.api, call.status) == ("audio", "ok")
    assert call.usage == {"input.text": 4, "output.text": 30, "audio_ms": 7000}


def test_an_unknown_connector_is_flagged() -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "connectors": {"telepathy": 1}}

    call = call_of({"object": "conversation.response", "outputs": [], "usage": usage})

    assert call.anomalies == ("unknown_meter_split",)


def test_a_conversation_that_failed_is_an_error() -> None:
    events = [
        {"data": {"type": "conversation.response.started", "conversation_id": "conv_1"}},
        {"data": {"type": "conversation.response.error", "message": "...", "code": 503}},
    ]

    call = call_of(None, events=events)

    assert (call.status, call.error_type, call.usage) == ("error", "503", {})
