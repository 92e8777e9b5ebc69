"""The lines of one call, and what is said where something is not known."""

from decimal import ROUND_HALF_EVEN, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.pricing.cases import make_book, make_call, usd_per_million
from tokenledger.pricing import (
    AmountOverflowError,
    SharesExceedUsageError,
    build_book,
    packaged_book,
    price_call,
    read_overlay,
)
from tokenledger.records import ModelShare

BOOK = make_book(
    usd_per_million(input_text="0.123456789", output_text=10)
    | {"usd_per_hour": {"audio_ms": "0.36"}, "usd_per_thousand": {"tool.web_search": 10}},
    contracts=[{"tenant": "discounted", "discount_ppm": 123_457}],
)
METERS = ("input.text", "output.text", "audio_ms", "tool.web_search")
usages = st.dictionaries(st.sampled_from(METERS), st.integers(0, 10**8))


@given(usages, usages, st.sampled_from(["t1", "discounted"]))
def test_cost_is_additive_in_usage_within_one_pico_a_line(
    one: dict[str, int], other: dict[str, int], tenant: str
) -> None:
    both = {meter: one.get(meter, 0) + other.get(meter, 0) for meter in METERS}
    apart = [price_call(make_call(usage, tenant_id=tenant), BOOK) for usage in (one, other)]
    together = price_call(make_call(both, tenant_id=tenant), BOOK)
    difference = together.known_cost_usd_pico - sum(cost.known_cost_usd_pico for cost in apart)
    assert abs(difference) <= sum(len(cost.lines) for cost in (*apart, together))


@pytest.mark.slow
@given(usages, st.sampled_from(["t1", "discounted"]))
def test_each_line_is_quantity_times_rate_rounded_once_half_to_even(usage: dict[str, int], tenant: str) -> None:
    cost = price_call(make_call(usage, tenant_id=tenant), BOOK)
    for line in cost.lines:
        for amount, pico, per in (
            (line.amount_usd_pico, line.contracted_pico, line.contracted_per),
            (line.list_amount_usd_pico, line.list_pico, line.list_per),
        ):
            exact = Decimal(line.quantity * pico) / per
            assert amount == exact.quantize(Decimal(1), rounding=ROUND_HALF_EVEN)
    assert cost.known_cost_usd_pico == sum(line.amount_usd_pico for line in cost.lines)
    assert all(line.quantity for line in cost.lines)


@pytest.mark.parametrize(("quantity", "amount"), [(1, 0), (3, 2), (5, 2), (7, 4), (2, 1)])
def test_a_half_pico_goes_to_the_even_neighbour(quantity: int, amount: int) -> None:
    """Half a pico-dollar a token."""
    book = make_book({"usd_per_million": {"input.text": "0.0000005"}})
    assert price_call(make_call({"input.text": quantity}), book).cost_usd_pico == amount


def test_a_contract_keeps_the_list_price_beside_its_own() -> None:
    book = make_book(
        usd_per_million(input_text=3), contracts=[{"tenant": "t1", "provider": "acme*", "discount_ppm": 333_333}]
    )
    line = price_call(make_call({"input.text": 7}), book).lines[0]
    assert (line.list_amount_usd_pico, line.list_pico, line.list_per) == (21_000_000, 3_000_000, 1)
    assert (line.contracted_pico, line.contracted_per) == (2_000_001, 1)
    assert line.amount_usd_pico == 14_000_007
    other = price_call(make_call({"input.text": 7}, tenant_id="t2"), book).lines[0]
    assert (other.amount_usd_pico, other.price_id != line.price_id) == (21_000_000, True)


def test_a_tenants_own_rate_beats_everyones_which_stays_the_list_price() -> None:
    book = make_book(usd_per_million(input_text=3), usd_per_million(input_text=2) | {"tenant": "t1"})
    line = price_call(make_call({"input.text": 1}), book).lines[0]
    assert (line.amount_usd_pico, line.list_amount_usd_pico) == (2_000_000, 3_000_000)
    assert price_call(make_call({"input.text": 1}, tenant_id="t2"), book).cost_usd_pico == 3_000_000


def test_the_most_specific_contract_applies() -> None:
    contracts = [{"tenant": "t1", "discount_ppm": 100_000}, {"tenant": "t1", "model": "m", "discount_ppm": 200_000},
                 {"tenant": "t1", "model": "m*", "discount_ppm": 300_000}]  # fmt: skip
    book = make_book(usd_per_million(input_text=1), usd_per_million(input_text=1) | {"model": "m2"},
                     usd_per_million(input_text=1) | {"model": "n"}, contracts=contracts)  # fmt: skip
    costs = {
        m: price_call(make_call({"input.text": 1}, response_model=m), book).cost_usd_pico for m in ("m", "m2", "n")
    }
    assert costs == {"m": 800_000, "m2": 700_000, "n": 900_000}


def test_a_contract_with_the_owner_of_a_model_does_not_reach_its_resellers() -> None:
    overlay = read_overlay({"contracts": [{"tenant": "t1", "provider": "openai", "discount_ppm": 500_000}]})
    book = build_book(overlay=overlay)
    direct, resold = (price_call(make_call({"input.text": 1}, provider=provider, response_model="gpt-4o"), book)
                      for provider in ("openai", "azure.ai.openai"))  # fmt: skip
    assert (direct.cost_usd_pico, resold.cost_usd_pico) == (1_250_000, 2_500_000)


@pytest.mark.parametrize(
    ("fields", "usage", "status", "cost_usd_pico"),
    [
        ({"status": "error"}, {}, "not_billable", 0),
        ({"status": "error", "http_status": 529}, {"input.text": 0}, "not_billable", 0),
        ({"cache_hit": True}, {"input.text": 5}, "not_billable", 0),
        ({"cache_hit": True, "billed_usd_pico": 9}, {"input.text": 5}, "not_billable", 0),
        ({}, {}, "unmetered", None),
        ({"status": "aborted"}, {}, "unmetered", None),
        ({}, {"input.text": 0}, "priced", 0),
        ({"response_model": "x"}, {"input.text": 0}, "unpriced", None),
        ({"status": "error"}, {"input.text": 2}, "priced", 246_914),
        ({"response_model": "x"}, {"input.text": 2}, "unpriced", None),
        ({"response_model": "x", "request_model": "m"}, {"input.text": 2}, "priced", 246_914),
        ({"response_model": None, "deployment_id": "m"}, {"input.text": 2}, "priced", 246_914),
        ({}, {"input.text": 2, "page": 1}, "partly_priced", None),
        ({"engine": "vllm", "response_model": "x"}, {"input.text": 2}, "self_hosted", None),
        ({"engine": "vllm", "response_model": "x"}, {}, "self_hosted", None),
        ({"billed_usd_pico": 5}, {}, "provider_billed", 5),
        ({"billed_usd_pico": 5, "status": "error"}, {}, "provider_billed", 5),
    ],
)
def test_price_status_and_what_the_cost_then_is(
    fields: dict[str, object], usage: dict[str, int], status: str, cost_usd_pico: int | None
) -> None:
    cost = price_call(make_call(usage, **fields), BOOK)
    assert (cost.price_status, cost.cost_usd_pico) == (status, cost_usd_pico)
    assert cost.known_cost_usd_pico == sum(line.amount_usd_pico for line in cost.lines)


def test_a_claim_is_compared_and_never_charged() -> None:
    near, far = (
        price_call(make_call({"output.text": 100}, claimed_usd_pico=claim), BOOK) for claim in (10**9, 10**9 + 1001)
    )
    assert (near.cost_usd_pico, near.anomalies) == (10**9, ())
    assert (far.cost_usd_pico, far.anomalies) == (10**9, ("claimed_differs",))


def test_an_amount_beyond_int64_is_refused_with_the_meter() -> None:
    with pytest.raises(AmountOverflowError) as refused:
        price_call(make_call({"input.text": 1, "output.text": 2**53}), BOOK)
    assert refused.value.meter == "output.text"


def test_shares_are_lines_of_the_model_that_consumed_them() -> None:
    """Per million: Opus 4.5 is 5 in and 25 out, Haiku 4.5 is 1 and 5. A share's own prompt chooses its tier."""
    share = ModelShare(model="claude-haiku-4-5", usage={"input.text": 100, "output.text": 10}, kind="advisor_message")
    call = make_call(
        {"input.text": 1100, "output.text": 60}, provider="anthropic", response_model="claude-opus-4-5", shares=(share,)
    )
    cost = price_call(call, packaged_book())
    assert [(line.meter, line.quantity, line.model) for line in cost.lines] == [
        ("input.text", 1000, None), ("output.text", 50, None),
        ("input.text", 100, "claude-haiku-4-5"), ("output.text", 10, "claude-haiku-4-5")]  # fmt: skip
    assert cost.cost_usd_pico == (1000 * 5 + 50 * 25 + 100 * 1 + 10 * 5) * 10**6


def test_shares_beyond_the_whole_are_refused() -> None:
    share = ModelShare(model="m", usage={"input.text": 2})
    with pytest.raises(SharesExceedUsageError):
        price_call(make_call({"input.text": 1}, shares=(share,)), BOOK)


def test_a_fee_per_call_is_charged_once_and_only_with_usage() -> None:
    """Perplexity Sonar: 1 USD a million in, 12 USD per thousand requests."""
    sonar = {"provider": "perplexity", "response_model": "sonar"}
    cost = price_call(make_call({"input.text": 10}, **sonar), packaged_book())
    assert cost.cost_usd_pico == 10 * 10**6 + 12 * 10**9
    assert price_call(make_call({}, status="error", **sonar), packaged_book()).cost_usd_pico == 0


def test_groq_bills_ten_seconds_of_audio_at_least() -> None:
    """0.111 USD an hour; a 3-second clip costs as much as ten seconds."""
    whisper = {"provider": "groq", "response_model": "whisper-large-v3"}
    short, long = (price_call(make_call({"audio_ms": ms}, **whisper), packaged_book()) for ms in (3_000, 36_000))
    assert short.cost_usd_pico == round(Decimal("0.111") * 10**12 * 10 / 3600)
    assert long.cost_usd_pico == round(Decimal("0.111") * 10**12 * 36 / 3600)


def test_text_of_a_transcription_billed_by_time_is_free() -> None:
    call = make_call({"audio_ms": 60_000, "output.text": 150}, provider="openai", response_model="whisper-1")
    cost = price_call(call, packaged_book())
    assert (cost.price_status, cost.cost_usd_pico) == ("priced", 6 * 10**9)
