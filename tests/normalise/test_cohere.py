"""Cohere's units: what is billed makes the leaves, whatever stands beside it."""

import json
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tokenledger.normalise import normalise
from tokenledger.records import Call, RawEvent

UNITS = st.integers(0, 10**7)


def call_of(envelope: dict[str, Any]) -> Call:
    """The Call of an envelope that can be read."""
    headers = {"ce_id": b"e", "ce_source": b"s", "ce_tenantid": b"acme"}
    call = normalise(RawEvent(value=json.dumps({"provider": "cohere"} | envelope).encode(), headers=headers))
    assert isinstance(call, Call), call
    return call


@given(UNITS, UNITS, UNITS, UNITS)
def test_tokens_beside_the_billed_units_change_no_leaf(billed: int, output: int, tokens: int, cached: int) -> None:
    """`tokens` contain Cohere's own template, `cached_tokens` belong to them; neither is billed."""
    usage = {"billed_units": {"input_tokens": float(billed), "output_tokens": float(output)}}
    beside = {"tokens": {"input_tokens": float(tokens), "output_tokens": 1.0}, "cached_tokens": float(cached)}

    alone = call_of({"response": {"id": "c", "usage": usage}})
    whole = call_of({"response": {"id": "c", "usage": usage | beside}})

    assert alone.usage == whole.usage == {"input.text": billed, "output.text": output}
    assert whole.raw_usage is not None
    assert whole.raw_usage["cached_tokens"] == Decimal(cached)


@given(UNITS, UNITS)
def test_all_generations_of_the_api_say_the_same(billed: int, output: int) -> None:
    units = {"billed_units": {"input_tokens": billed, "output_tokens": output}}
    end = {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": units}}
    forms: list[dict[str, Any]] = [
        {"response": {"response_id": "c", "meta": units}},
        {"response": {"id": "c", "generations": [{"finish_reason": "COMPLETE"}], "meta": units}},
        {"response": {"id": "c", "usage": units}},
        {"events": [{"data": {"is_finished": True, "response": {"response_id": "c", "meta": units}}}]},
        {"events": [{"data": {"type": "message-start", "id": "c"}}, {"data": end}]},
    ]

    calls = [call_of(form) for form in forms]

    assert {json.dumps(call.usage, sort_keys=True) for call in calls} == {
        json.dumps({"input.text": billed, "output.text": output}, sort_keys=True)
    }
    assert {call.response_id for call in calls} == {"c"}
