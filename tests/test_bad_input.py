"""Bad input never stops anything: a Rejected with its reason and field, or a priced call with an anomaly."""

import json
from decimal import Decimal
from typing import Any

import pytest

from tokenledger.process import default_context, process
from tokenledger.records import PricedCall, RawEvent, Rejected
from tokenledger.records.wire import decode_rejected, encode_priced, encode_rejected

_APPEND_US = 1_780_000_000_000_000
_HEADERS = {"ce_id": b"event-1", "ce_source": b"test", "ce_type": b"llm.call.v1", "ce_tenantid": b"acme"}


def _run(value: bytes | None, headers: dict[str, bytes] | None = None) -> PricedCall | Rejected:
    raw = RawEvent(
        value=value, headers=_HEADERS if headers is None else headers, topic="llm.raw.v1", append_at_us=_APPEND_US
    )
    return process(raw, default_context())


def _reply(**usage: Any) -> dict[str, Any]:
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110} | usage
    return {"id": "chatcmpl-1", "object": "chat.completion", "model": "gpt-4o-mini", "choices": [], "usage": usage}


def _envelope(**fields: Any) -> bytes:
    return json.dumps({"provider": "openai", "started_at_us": _APPEND_US, "response": _reply()} | fields).encode()


def _rejected(value: bytes | None, headers: dict[str, bytes] | None = None) -> tuple[str, str]:
    outcome = _run(value, headers)
    assert isinstance(outcome, Rejected), outcome
    assert outcome.detail
    return outcome.reason.value, outcome.field


def _priced(value: bytes, headers: dict[str, bytes] | None = None) -> PricedCall:
    outcome = _run(value, headers)
    assert isinstance(outcome, PricedCall), outcome
    return outcome


def test_the_sound_record_behind_these_tests_is_priced() -> None:
    priced = _priced(_envelope())
    assert (priced.price_status, priced.anomalies) == ("priced", ())
    assert priced.cost_usd_pico == 100 * 150_000 + 10 * 600_000  # gpt-4o-mini: 0.15 and 0.60 USD per million


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "tombstone"),
        (b"", "empty"),
        (b" \n\t ", "empty"),
        (b'{"provider": "openai", "resp', "invalid_json"),
        (b'{"response": NaN}', "invalid_json"),
        (b'{"response": {"usage": {"prompt_tokens": Infinity}}}', "invalid_json"),
        (b'{"provider": "\xff\xfe"}', "invalid_utf8"),
        (b'{"provider": "a\x00b"}', "invalid_json"),
        (b'{"response": ' + b"[" * 100_000, "too_deep"),
        (b'{"response": "' + b"x" * (5 * 1024 * 1024) + b'"}', "too_large"),
        (b"[]", "invalid_envelope"),
        (b"{}", "invalid_envelope"),
        (b'{"response": {"hello": "world"}}', "unknown_shape"),
    ],
)
def test_what_is_no_record_of_a_call_is_rejected_with_its_reason(value: bytes | None, reason: str) -> None:
    assert _rejected(value)[0] == reason


@pytest.mark.parametrize(
    "count", [-1, 1.5, "100", 2**53 + 1, 2**63, 10**400, True, [1], {"n": 1}], ids=lambda count: str(count)[:12]
)
def test_a_count_that_is_no_count_is_rejected_and_named(count: Any) -> None:
    value = _envelope(response=_reply(prompt_tokens=count))
    assert _rejected(value) == ("invalid_count", "usage.prompt_tokens")


def test_a_count_of_1e400_is_rejected_and_named() -> None:
    value = _envelope().replace(b'"prompt_tokens": 100', b'"prompt_tokens": 1e400')
    assert _rejected(value) == ("invalid_count", "usage.prompt_tokens")


def test_null_counts_mean_that_usage_was_not_reported() -> None:
    priced = _priced(_envelope(response=_reply(prompt_tokens=None, completion_tokens=None, total_tokens=None)))
    assert (priced.price_status, priced.cost_usd_pico, priced.known_cost_usd_pico) == ("unmetered", None, 0)


def test_more_cached_than_prompt_is_a_contradiction() -> None:
    value = _envelope(response=_reply(prompt_tokens_details={"cached_tokens": 101}))
    assert _rejected(value)[0] == "contradicting_usage"


def test_more_reasoning_than_output_is_a_contradiction() -> None:
    value = _envelope(response=_reply(completion_tokens_details={"reasoning_tokens": 11}))
    assert _rejected(value)[0] == "contradicting_usage"


def test_a_count_whose_amount_passes_int64_is_rejected() -> None:
    assert _rejected(_envelope(response=_reply(prompt_tokens=2**53, total_tokens=None)))[0] == "amount_overflow"


@pytest.mark.parametrize(
    "at_us",
    [0, 1, 1_780_000_000, 1_780_000_000_000, 253_402_300_799_000_000],
    ids=["1970", "1970 and a bit", "seconds", "milliseconds", "9999"],
)
def test_a_time_outside_the_window_takes_the_append_time_and_says_so(at_us: int) -> None:
    priced = _priced(_envelope(started_at_us=at_us))
    assert (priced.call.started_at_us, priced.call.event_time_source) == (_APPEND_US, "append")
    assert "time_clamped" in priced.anomalies


@pytest.mark.parametrize("at_us", [-1, 1_780_000_000_000_000_000, "yesterday", 1.5])
def test_a_time_that_is_none_is_rejected_and_named(at_us: Any) -> None:
    assert _rejected(_envelope(started_at_us=at_us)) == ("invalid_time", "started_at_us")


def test_an_unknown_provider_is_read_by_shape_and_flagged() -> None:
    priced = _priced(_envelope(provider="nobody-inc", response=_reply() | {"model": "nothing-1"}))
    assert (priced.price_status, priced.cost_usd_pico) == ("unpriced", None)
    assert "unknown_provider" in priced.anomalies
    assert priced.call.usage == {"input.text": 100, "output.text": 10}


def test_an_unknown_model_is_unpriced_not_free() -> None:
    priced = _priced(_envelope(response=_reply() | {"model": "gpt-999-nonesuch"}))
    assert (priced.price_status, priced.cost_usd_pico, priced.known_cost_usd_pico) == ("unpriced", None, 0)


def test_an_unknown_type_is_rejected_and_named() -> None:
    assert _rejected(_envelope(), _HEADERS | {"ce_type": b"llm.call.v99"}) == ("unknown_type", "ce_type")


@pytest.mark.parametrize("tenant", [b"", b"   ", b"\xff\xff"])
def test_a_record_without_a_tenant_is_rejected(tenant: bytes) -> None:
    assert _rejected(_envelope(), _HEADERS | {"ce_tenantid": tenant}) == ("missing_tenant", "ce_tenantid")


def test_no_headers_at_all_is_a_missing_tenant() -> None:
    assert _rejected(_envelope(), {}) == ("missing_tenant", "ce_tenantid")


def test_the_credentials_tenant_wins_over_the_bodys() -> None:
    priced = _priced(_envelope(tenant_id="globex"))
    assert priced.call.tenant_id == "acme"
    assert "tenant_mismatch" in priced.anomalies


def test_an_escaped_nul_is_replaced_everywhere_and_flagged() -> None:
    priced = _priced(_envelope(feature="a\x00b", response=_reply(tier="x\x00y") | {"id": "r\x00"}))
    assert priced.call.feature == "a\ufffdb"
    assert b"\\u0000" not in encode_priced(priced)
    assert "text_bounded" in priced.anomalies


def test_a_long_text_is_cut_and_a_long_id_is_hashed() -> None:
    priced = _priced(_envelope(feature="f" * 10_000, response=_reply() | {"id": "i" * 10_000}))
    assert priced.call.feature == "f" * 256
    assert (priced.call.response_id or "").startswith("sha256:")
    assert "text_bounded" in priced.anomalies


def test_of_a_thousand_tags_sixteen_are_kept() -> None:
    priced = _priced(_envelope(tags={f"tag{n}": "x" for n in range(1_000)} | {"__proto__": "x"}))
    assert len(priced.call.tags or {}) == 16
    assert "tags_dropped" in priced.anomalies


def test_the_last_of_two_equal_keys_wins() -> None:
    value = _envelope().replace(b'"prompt_tokens": 100', b'"prompt_tokens": 7, "prompt_tokens": 100')
    assert _priced(value).call.input_tokens == 100


def test_a_blank_response_id_makes_no_key() -> None:
    for blank in ("", "  ", "None", "null", None):
        assert _priced(_envelope(response=_reply() | {"id": blank})).call.response_key is None


def test_a_record_without_any_id_is_keyed_by_its_payload_and_flagged() -> None:
    headers = _HEADERS | {"ce_id": b""}
    first, second = _priced(_envelope(), headers), _priced(_envelope(feature="other"), headers)
    assert "weak_identity" in first.anomalies
    assert first.call.event_key != second.call.event_key


def test_a_rejected_record_keeps_its_bytes_and_its_origin() -> None:
    raw = RawEvent(value=b"\xff{", headers=_HEADERS, topic="llm.raw.v1", partition=3, offset=42, append_at_us=7)
    rejected = process(raw, default_context())
    assert isinstance(rejected, Rejected)
    value, headers = encode_rejected(rejected, raw)
    assert value == b"\xff{"
    assert headers["ce_id"] == b"event-1"
    assert decode_rejected(headers) == rejected


def test_a_claim_that_differs_is_kept_flagged_and_not_charged() -> None:
    priced = _priced(_envelope(claimed_usd=0.5))
    assert priced.call.claimed_usd_pico == Decimal("0.5") * 10**12
    assert priced.cost_usd_pico == 21_000_000
    assert "claimed_differs" in priced.anomalies
