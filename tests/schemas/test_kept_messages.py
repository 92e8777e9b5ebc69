"""Messages kept from every published version are still read, and nothing in them is lost."""

import json
from pathlib import Path
from typing import Any

import pytest

from schemas import gen
from tokenledger.normalise import normalise
from tokenledger.normalise.envelope import decode_envelope
from tokenledger.records import Call, RawEvent, Reason
from tokenledger.records.features import FeatureWindow
from tokenledger.records.topics import FEATURES, PRICED, RAW, REJECTED, TOPICS
from tokenledger.records.wire import (
    decode_priced,
    decode_rejected,
    decode_window,
    encode_priced,
    encode_rejected,
    encode_window,
    rejected_headers,
    window_key,
)

MESSAGES = gen.COMPAT / "messages"
SIZES = ("minimal", "full")


def kept(topic: str, size: str) -> dict[str, Any]:
    message: dict[str, Any] = json.loads((MESSAGES / f"{topic}.{size}.json").read_text())
    return message


def event(message: dict[str, Any]) -> RawEvent:
    value = message["value"]
    return RawEvent(
        value=(value if isinstance(value, str) else json.dumps(value)).encode(),
        headers={name: text.encode() for name, text in message["headers"].items()},
        key=message["key"] and message["key"].encode(),
        topic=RAW.name,
        append_at_us=1_772_442_902_000_000,
    )


def test_there_is_a_minimal_and_a_full_message_for_every_topic() -> None:
    assert {file.name for file in MESSAGES.iterdir()} == {
        f"{topic.name}.{size}.json" for topic in TOPICS for size in SIZES
    }


def test_the_minimal_envelope_is_still_a_call() -> None:
    call = normalise(event(kept(RAW.name, "minimal")))
    assert isinstance(call, Call)
    assert call.usage == {"input.text": 12, "output.text": 3}


def test_the_full_envelope_is_still_a_call_with_everything_in_it() -> None:
    message = kept(RAW.name, "full")
    call = normalise(event(message))
    assert isinstance(call, Call)
    assert call.usage == {"input.text": 86, "input.text.cache_read": 1920, "output.text": 300}
    stated = message["value"]
    for name in stated.keys() & set(Call.__struct_fields__) - {"error_type"}:
        found = getattr(call, name)
        assert (list(found) if isinstance(found, tuple) else found) == stated[name], name
    assert call.timings is not None
    assert {f"{part}_us": us for part, us in stated["timings_us"].items()} == {
        name: getattr(call.timings, name) for name in call.timings.__struct_fields__
    }
    assert (call.claimed_usd_pico, call.ce_sequence, call.response_id) == (400_000_000, 7, "chatcmpl-kept-1")
    assert call.anomalies == ()


def test_the_full_envelope_names_every_field_that_was_published() -> None:
    message = kept(RAW.name, "full")["value"]
    schema = published("envelope")
    assert message.keys() == schema["properties"].keys()
    assert message["timings_us"].keys() == schema["$defs"]["MeasuredTimes"]["properties"].keys()
    decode_envelope(json.dumps(message).encode())


@pytest.mark.parametrize("size", SIZES)
def test_a_kept_priced_call_is_read_and_written_without_loss(size: str) -> None:
    """An unknown field is ignored when read, so a rename shows only in what is written again."""
    value = kept(PRICED.name, size)["value"]
    assert json.loads(encode_priced(decode_priced(json.dumps(value).encode()))) == value


@pytest.mark.parametrize("size", SIZES)
def test_a_kept_window_is_read_and_written_without_loss(size: str) -> None:
    message = kept(FEATURES.name, size)
    window = decode_window(json.dumps(message["value"]).encode())
    assert json.loads(encode_window(window)) == message["value"]
    assert window_key(window) == message["key"].encode()


def test_the_full_window_names_every_field_of_the_record() -> None:
    assert kept(FEATURES.name, "full")["value"].keys() == set(FeatureWindow.__struct_fields__)


def test_the_full_priced_call_names_every_field_that_was_published() -> None:
    value, schema = kept(PRICED.name, "full")["value"], published("priced_call")
    parts = {
        "Call": value["call"],
        "Line": value["lines"][0],
        "Latency": value["latency"],
        "Timings": value["call"]["timings"],
        "ModelShare": value["call"]["shares"][0],
    }
    assert value.keys() == schema["properties"].keys()
    assert {name: set(part) for name, part in parts.items()} == {
        name: set(part["properties"]) for name, part in schema["$defs"].items()
    }


@pytest.mark.parametrize("size", SIZES)
def test_a_kept_refusal_is_read_and_written_without_loss(size: str) -> None:
    message = kept(REJECTED.name, size)
    raw = event(message)
    rejected = decode_rejected(raw.headers)
    assert encode_rejected(rejected, raw) == (raw.value, raw.headers)
    assert rejected_headers(rejected).keys() == published("rejected_headers")["properties"].keys()


def test_the_full_refusal_says_why_and_whence() -> None:
    rejected = decode_rejected(event(kept(REJECTED.name, "full")).headers)
    assert rejected.reason is Reason.CONTRADICTING_USAGE
    assert (rejected.topic, rejected.partition, rejected.offset, rejected.attempt_no) == ("llm.raw.v1", 3, 9001, 2)
    assert (rejected.tenant_id, rejected.event_id) == ("acme", "e-3")


def published(name: str) -> dict[str, Any]:
    """The schema as first published: a field that came later need not be in a kept message."""
    first: Path = min(folder for folder in gen.COMPAT.iterdir() if folder != MESSAGES)
    schema: dict[str, Any] = json.loads((first / f"{name}.schema.json").read_text())
    return schema
