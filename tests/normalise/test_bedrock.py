"""Bedrock's event-stream frames: what the decoder accepts is what an encoder of its own makes."""

import base64
import json
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenledger.normalise import normalise
from tokenledger.normalise.aws_eventstream import read_frames
from tokenledger.normalise.bedrock import find_place
from tokenledger.normalise.reading import BadRecordError, Exchange
from tokenledger.records import Call, RawEvent, Reason, Rejected

USAGE = {"usage": {"inputTokens": 8, "outputTokens": 10, "totalTokens": 18}, "metrics": {"latencyMs": 625}}
EVENTSTREAM = {"Content-Type": "application/vnd.amazon.eventstream"}


def frame(headers: dict[str, str], payload: bytes) -> bytes:
    """One frame, by the published layout."""
    block = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + len(value).to_bytes(2, "big") + value.encode()
        for name, value in headers.items()
    )
    prelude = (16 + len(block) + len(payload)).to_bytes(4, "big") + len(block).to_bytes(4, "big")
    body = prelude + crc32(prelude).to_bytes(4, "big") + block + payload
    return body + crc32(body).to_bytes(4, "big")


def event(kind: str, data: object) -> bytes:
    """A frame of one event."""
    named = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
    return frame(named, json.dumps(data).encode())


def exception(kind: str) -> bytes:
    """A frame that ends a stream."""
    return frame({":exception-type": kind, ":message-type": "exception"}, b'{"message":"..."}')


def read_recorded(frames: bytes, **more: Any) -> Call | Rejected:
    """What is made of the frames as a recorder keeps them."""
    text = base64.b64encode(frames).decode()
    envelope = {"provider": "aws.bedrock", "response_headers": EVENTSTREAM, "stream_text": text} | more
    headers = {"ce_id": b"e", "ce_source": b"s", "ce_tenantid": b"acme"}
    return normalise(RawEvent(value=json.dumps(envelope).encode(), headers=headers))


WHOLE = event("messageStart", {"role": "assistant"}) + event("messageStop", {"stopReason": "end_turn"})


def test_recorded_frames_read_as_their_events_do() -> None:
    call = read_recorded(WHOLE + event("metadata", USAGE))

    assert isinstance(call, Call), call
    assert call.usage == {"input.text": 8, "output.text": 10}
    assert call.finish_reason == "end_turn"


def test_chunks_of_invoke_are_base64_inside_the_frames() -> None:
    message = {
        "id": "msg_bdrk_1",
        "type": "message",
        "model": "claude",
        "usage": {"input_tokens": 3, "output_tokens": 1},
    }
    inner: list[dict[str, Any]] = [
        {"type": "message_start", "message": message},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}},
    ]
    frames = b"".join(event("chunk", {"bytes": base64.b64encode(json.dumps(one).encode()).decode()}) for one in inner)

    call = read_recorded(frames)

    assert isinstance(call, Call), call
    assert call.usage == {"input.text": 3, "output.text": 9}


def test_an_exception_frame_ends_the_stream_and_names_the_error() -> None:
    call = read_recorded(event("metadata", USAGE) + exception("modelStreamErrorException"))

    assert isinstance(call, Call), call
    assert (call.status, call.error_type) == ("error", "modelStreamErrorException")
    assert call.usage == {"input.text": 8, "output.text": 10}


def test_a_last_frame_that_was_cut_short_is_left_out() -> None:
    call = read_recorded(event("messageStart", {"role": "assistant"}) + event("metadata", USAGE) + WHOLE[:-3])

    assert isinstance(call, Call), call
    assert call.usage["output.text"] == 10


@pytest.mark.parametrize("text", ["not base64 at all", "", "AAAA"])
def test_what_holds_no_frame_is_rejected(text: str) -> None:
    rejected = read_recorded(b"", stream_text=text)

    assert isinstance(rejected, Rejected)
    assert rejected.reason == Reason.INVALID_STREAM


def test_a_recorder_may_have_decoded_the_frames_already() -> None:
    lines = "".join(json.dumps(data) + "\n" for data in ({"messageStart": {"role": "assistant"}}, {"metadata": USAGE}))

    call = read_recorded(b"", stream_text=lines)

    assert isinstance(call, Call), call
    assert call.usage == {"input.text": 8, "output.text": 10}


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_one_damaged_byte_is_noticed(at: int, flip: int) -> None:
    """No flip of a byte changes a count unseen: the frame is refused, or it seems cut short and is left out."""
    frames = bytearray(WHOLE + event("metadata", USAGE))
    frames[at % len(frames)] ^= flip
    try:
        found = read_frames(bytes(frames))
    except BadRecordError as bad:
        assert bad.reason == Reason.INVALID_STREAM  # noqa: PT017 - either outcome is right
        return
    pytest.fail(f"read {found}")


@given(st.binary(max_size=200))
def test_any_bytes_give_events_or_a_reason(data: bytes) -> None:
    for tried in (data, frame({":event-type": "x"}, data), data + WHOLE):
        try:
            read_frames(tried)
        except BadRecordError as bad:
            assert bad.reason == Reason.INVALID_STREAM  # noqa: PT017 - either outcome is right


@pytest.mark.parametrize(
    ("asked", "model", "region"),
    [
        ("anthropic.claude-3-haiku-20240307-v1:0", "anthropic.claude-3-haiku-20240307-v1:0", "eu-west-1"),
        ("global.anthropic.claude-opus-4-5-v1%3A0", "global.anthropic.claude-opus-4-5-v1:0", "global"),
        ("apac.amazon.nova-lite-v1:0", "apac.amazon.nova-lite-v1:0", "apac"),
        (
            "arn:aws:bedrock:us-west-2::foundation-model/meta.llama3-8b-instruct-v1:0",
            "meta.llama3-8b-instruct-v1:0",
            "us-west-2",
        ),
        ("arn%3Aaws%3Abedrock%3Aus-east-2%3A1%3Aapplication-inference-profile%2Fabc", None, "us-east-2"),
        ("arn:aws:sagemaker:us-east-1:1:endpoint/mine", None, "us-east-1"),
        ("arn:cut", "arn:cut", "eu-west-1"),
    ],
)
def test_bedrock_geo_prefix_kept(asked: str, model: str | None, region: str) -> None:
    host = "https://bedrock-runtime.eu-west-1.amazonaws.com"
    place = find_place(Exchange(provider="aws.bedrock", url=f"{host}/model/{asked}/converse-stream"))

    assert (place.model, place.region) == (model, region)
