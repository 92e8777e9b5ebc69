"""What a customer is charged: the answer that served, whoever gave it, and nothing that was done beside it."""

from typing import Any

import msgspec
import pytest

from tokenledger.process import default_context, process
from tokenledger.records import PricedCall, RawEvent

# gpt-4o-mini, as its provider lists it: 0.15 and 0.60 USD a million tokens.
COST_USD_PICO = 1_000 * 150_000 + 100 * 600_000
REPLY = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "model": "gpt-4o-mini-2024-07-18",
    "choices": [{"index": 0, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1_000, "completion_tokens": 100, "total_tokens": 1_100},
}


def priced(**fields: Any) -> PricedCall:
    envelope = {"provider": "openai", "api": "chat", "started_at_us": 1_784_000_000_000_000, "response": REPLY} | fields
    headers = {"ce_id": b"e", "ce_source": b"s", "ce_tenantid": b"acme"}
    found = process(RawEvent(value=msgspec.json.encode(envelope), headers=headers), default_context())
    assert isinstance(found, PricedCall)
    return found


@pytest.mark.parametrize(
    ("role", "served", "is_charged"),
    [
        ("primary", None, True),
        ("retry", None, True),
        ("fallback", None, True),
        ("escalation", None, True),
        ("verify", None, False),
        ("hedge", None, False),
        (None, None, True),
        ("primary", True, True),
        ("primary", False, False),
        ("escalation", True, True),
        ("escalation", False, False),
        ("hedge", True, True),
        ("hedge", False, False),
        ("verify", True, True),
        ("verify", False, False),
    ],
)
def test_the_answer_that_served_is_charged_and_every_attempt_is_incurred(
    role: str | None, *, served: bool | None, is_charged: bool
) -> None:
    found = priced(attempt_role=role, served=served)
    assert found.cost_usd_pico == COST_USD_PICO
    assert found.chargeable_usd_pico == (COST_USD_PICO if is_charged else 0)


def test_a_failed_attempt_is_on_the_house_whatever_is_said_of_it() -> None:
    found = priced(served=True, http_status=500, error_type="upstream_error")
    assert (found.call.status, found.chargeable_usd_pico) == ("error", 0)


def test_a_record_that_says_who_served_is_another_than_one_that_does_not() -> None:
    """Or the first of two that differ in what is charged would decide it for good."""
    prints = {priced(served=served).fingerprint for served in (None, True, False)}
    assert len(prints) == 3
