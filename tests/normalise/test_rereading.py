"""Stored usage read again: what was read right stays as it is, what was read wrong is mended, the rest stays."""

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tests.normalise.test_golden_calls import FILES, read_case
from tokenledger.normalise import normalise
from tokenledger.normalise.rereading import read_again
from tokenledger.process import default_context, process, process_again
from tokenledger.process import read_again as price_reading
from tokenledger.records import Call, PricedCall, RawEvent, Reason, Rejected
from tokenledger.records.versions import READING_VERSIONS

CACHED = (
    b'{"provider": "openai", "response": {"id": "r1", "object": "chat.completion", "model": "gpt-4o-2024-08-06",'
    b' "created": 1795000000, "choices": [], "usage": {"prompt_tokens": 1000, "completion_tokens": 200,'
    b' "total_tokens": 1200, "prompt_tokens_details": {"cached_tokens": 600}}}}'
)


def raw(value: bytes, **headers: bytes) -> RawEvent:
    known = {"ce_id": b"e1", "ce_source": b"/app", "ce_tenantid": b"acme"}
    return RawEvent(value=value, headers=known | headers, topic="llm.raw.v1", append_at_us=1_795_000_001_000_000)


def misread() -> PricedCall:
    """Cached tokens counted as fresh ones on top, as if the input count did not include them."""
    right = process(raw(CACHED), default_context())
    assert isinstance(right, PricedCall)
    wrong = {"input.text": 1000, "input.text.cache_read": 600, "output.text": 200}
    return replace(right, call=replace(right.call, usage=wrong, input_tokens=1600, reading_version=0))


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_golden_call_is_read_again_as_it_was_read_or_not_at_all(path: Path) -> None:
    _, call = read_case(path)
    if isinstance(call, Call):
        assert read_again(call) in (call, None)


def test_the_usual_readings_can_be_read_again() -> None:
    calls = [call for path in FILES for call in [read_case(path)[1]] if isinstance(call, Call) and call.raw_usage]
    found = {call.usage_reading for call in calls if read_again(call) is not None}
    usual = {"openai.chat", "openai.responses", "anthropic.messages", "gemini", "bedrock.converse", "mistral.chat"}
    assert usual <= found
    assert sum(read_again(call) is not None for call in calls) >= 0.7 * len(calls)


def test_a_misreading_is_mended_and_the_version_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(READING_VERSIONS, "openai.chat", 2)
    again = price_reading(misread(), default_context())
    assert isinstance(again, PricedCall)
    assert again.call.usage == {"input.text": 400, "input.text.cache_read": 600, "output.text": 200}
    assert (again.call.input_tokens, again.call.reading_version) == (1000, 2)
    # 400 × $2.50, 600 × $1.25 and 200 × $10 a million tokens.
    assert again.cost_usd_pico == 400 * 2_500_000 + 600 * 1_250_000 + 200 * 10_000_000
    now = process(raw(CACHED), default_context())
    assert isinstance(now, PricedCall)
    assert (again.fingerprint, again.rank, again.call) == (now.fingerprint, now.rank, now.call)


def test_new_records_carry_the_version_they_are_read_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(READING_VERSIONS, "openai.chat", 7)
    call = normalise(raw(CACHED))
    assert isinstance(call, Call)
    assert call.reading_version == 7


def test_usage_that_contradicts_itself_is_refused_not_mended() -> None:
    call = misread().call
    assert call.raw_usage is not None
    usage: dict[str, Any] = {**call.raw_usage, "prompt_tokens_details": {"cached_tokens": 1001}}
    refused = read_again(replace(call, raw_usage=usage))
    assert isinstance(refused, Rejected)
    assert refused.reason in {Reason.CONTRADICTING_USAGE, Reason.INVALID_COUNT}


def test_what_was_counted_beside_the_usage_object_stays() -> None:
    call = misread().call
    again = read_again(replace(call, usage={**call.usage, "tool.web_search": 3}))
    assert isinstance(again, Call)
    assert again.usage["tool.web_search"] == 3


def test_an_amount_that_the_provider_billed_is_read_again_to_the_pico() -> None:
    billed = [
        call
        for path in FILES
        for call in [read_case(path)[1]]
        if isinstance(call, Call) and call.billed_usd_pico and read_again(call) is not None
    ]
    assert billed
    for call in billed:
        again = read_again(replace(call, billed_usd_pico=1))
        assert isinstance(again, Call)
        assert again.billed_usd_pico == call.billed_usd_pico


def test_the_record_itself_says_more_than_its_usage_but_never_becomes_another_call() -> None:
    wrong = misread()
    again = process_again(wrong, raw(CACHED), default_context())
    assert isinstance(again, PricedCall)
    assert again.call.usage["input.text"] == 400
    assert process_again(wrong, raw(CACHED, ce_id=b"e2"), default_context()) is None
    assert isinstance(process_again(wrong, raw(b"{ cut"), default_context()), Rejected)


def test_when_it_is_charged_stays_when_it_is_read_again() -> None:
    wrong = misread()
    moved = replace(wrong, call=replace(wrong.call, started_at_us=5, event_time_source="created"))
    again = process_again(moved, raw(CACHED), default_context())
    assert isinstance(again, PricedCall)
    assert again.call.started_at_us == 5
