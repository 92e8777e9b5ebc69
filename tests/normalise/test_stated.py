"""What an envelope states of its call reaches the call under the same name."""

from typing import Any

import msgspec
import pytest

from tokenledger.normalise import normalise
from tokenledger.normalise.envelope import Envelope
from tokenledger.records import Call, RawEvent, Reason, Rejected

REPLY = {"id": "chatcmpl-1", "object": "chat.completion", "model": "gpt-5", "choices": []}
NUMBERS = {"attempt_no": 2, "container_part": 0, "revision": 3, "kv_token_us": 5, "http_status": 200}
FLAGS = {"cache_hit": False, "served": False}
DECISION = {
    "decision_id": "d-1", "route": "chat", "tier": "small", "reason": "good_enough", "best_tier": "small",
    "best_reason": "good_enough", "expected_cost_usd_pico": 7, "strongest_cost_usd_pico": 90, "confidence": 0.75,
    "propensity": 0.995, "propensities": {"small": 0.995, "large": 0.005}, "left_out": ["medium"],
    "features": {"small.error_ratio": 0.0, "small.ttft_us_p95": None},
}  # fmt: skip
OTHERS: dict[str, Any] = {
    "tags": {"team": "search"},
    "token_times_us": [1_760_000_000_000_001],
    "decision": DECISION,
}
# The tenant is the credential's; what the reply itself says outranks the envelope; times have tests of their own.
ELSEWHERE = {"tenant_id", "provider", "api", "usage_source", "started_at_us", "first_token_at_us", "ended_at_us"}
SHARED = sorted(set(Envelope.__struct_fields__) & set(Call.__struct_fields__) - ELSEWHERE)


@pytest.mark.parametrize("name", SHARED)
def test_a_field_reaches_the_call(name: str) -> None:
    """Alone, so that no other field's presence helps."""
    value = (NUMBERS | FLAGS | OTHERS).get(name, f"some {name}")
    envelope = {"provider": "openai", "response": REPLY, name: value}
    headers = {"ce_id": b"e", "ce_source": b"s", "ce_tenantid": b"acme"}
    call = normalise(RawEvent(value=msgspec.json.encode(envelope), headers=headers))
    assert isinstance(call, Call)
    assert msgspec.json.decode(msgspec.json.encode(getattr(call, name))) == value


def test_a_text_of_a_decision_that_is_too_long_is_cut_and_flagged() -> None:
    found = _with_decision(DECISION | {"reason": "r" * 300})
    assert isinstance(found, Call)
    assert found.decision is not None
    assert (found.decision.reason, found.anomalies) == ("r" * 256, ("text_bounded",))


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"tier": 7}, "decision.tier"),
        ({"expected_cost_usd_pico": -1}, "decision.expected_cost_usd_pico"),
        ({"expected_cost_usd_pico": 2**63}, "decision.expected_cost_usd_pico"),
        ({"features": {str(number): 1 for number in range(257)}}, "decision.features"),
    ],
)
def test_a_decision_of_another_shape_rejects_the_record_and_names_the_field(
    changed: dict[str, Any], field: str
) -> None:
    found = _with_decision(DECISION | changed)
    assert isinstance(found, Rejected)
    assert (found.reason, found.field) == (Reason.INVALID_ENVELOPE, field)


def _with_decision(decision: dict[str, Any]) -> Call | Rejected:
    envelope = {"provider": "openai", "response": REPLY, "decision": decision}
    headers = {"ce_id": b"e", "ce_source": b"s", "ce_tenantid": b"acme"}
    return normalise(RawEvent(value=msgspec.json.encode(envelope), headers=headers))
