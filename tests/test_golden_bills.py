"""Bills computed by hand from the providers' price pages: ours must be the same to the pico-dollar."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any

import pytest
import yaml

from tokenledger.pricing.book import PriceBook, build_book
from tokenledger.pricing.overlay import read_overlay
from tokenledger.process import Context, default_context, process
from tokenledger.records import PricedCall, RawEvent

FOLDER = Path(__file__).parent / "golden" / "bills"
BILLS = sorted(FOLDER.glob("*.yaml"))
PICO_PER_USD = 10**12
ADJUSTMENT = "adjustment.provider_billed"


def read(file: Path) -> dict[str, Any]:
    bill: dict[str, Any] = yaml.safe_load(file.read_text())
    return bill


def book(bill: dict[str, Any]) -> PriceBook:
    overlay = bill.get("overlay")
    return build_book(overlay=read_overlay(overlay)) if overlay else default_context().book


def priced(bill: dict[str, Any]) -> PricedCall:
    started_at_us = (datetime.fromisoformat(bill["at"]) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    raw = RawEvent(
        value=json.dumps(bill["envelope"] | {"started_at_us": started_at_us}).encode(),
        headers={
            "ce_id": b"bill-1",
            "ce_source": b"//bills",
            "ce_type": b"llm.call.v1",
            "ce_tenantid": bill["tenant"].encode(),
        },
        append_at_us=started_at_us + 1_000_000,
    )
    result = process(raw, Context(book(bill)))
    assert isinstance(result, PricedCall), result
    return result


def billed_lines(bill: dict[str, Any]) -> dict[str, tuple[int, int, int]]:
    return {
        line["meter"]: (
            line["quantity"],
            line["amount_usd_pico"],
            line.get("list_amount_usd_pico", line["amount_usd_pico"]),
        )
        for line in bill.get("lines", ())
    }


@pytest.mark.parametrize("file", BILLS, ids=lambda file: file.stem)
def test_our_bill_is_the_one_computed_by_hand(file: Path) -> None:
    bill = read(file)
    ours = priced(bill)
    lines = {line.meter: (line.quantity, line.amount_usd_pico, line.list_amount_usd_pico) for line in ours.lines}
    assert len(lines) == len(ours.lines), "one line per meter"
    assert (ours.price_status, lines) == (bill["price_status"], billed_lines(bill))
    assert ours.cost_usd_pico == bill["total_usd_pico"]
    assert ours.known_cost_usd_pico == bill["known_usd_pico"]
    assert ours.computed_usd_pico == bill.get("computed_usd_pico", bill["total_usd_pico"])
    assert set(ours.unpriced_meters) == set(bill.get("unpriced_meters", ()))
    assert len(set(ours.anomalies)) == len(ours.anomalies), "an anomaly is said once"


@pytest.mark.parametrize("file", BILLS, ids=lambda file: file.stem)
def test_the_arithmetic_written_in_a_bill_is_right(file: Path) -> None:
    bill = read(file)
    left = 1 - Decimal(sum(entry["discount_ppm"] for entry in contracts(bill))) / 10**6
    with localcontext(prec=60):
        for line in bill.get("lines", ()):
            amount_usd = Decimal(line["amount_usd"])
            assert amount_usd * PICO_PER_USD == line["amount_usd_pico"]
            assert line["arithmetic"].endswith(line["amount_usd"]), "the words end with the amount"
            if line["meter"] != ADJUSTMENT:
                listed_usd = line["quantity"] * Decimal(line["price_usd"]) / line["per"]
                # `quantize` rounds half to even.
                assert (listed_usd * left).quantize(Decimal("1e-12")) == amount_usd
                assert line.get("list_amount_usd_pico", line["amount_usd_pico"]) == listed_usd * PICO_PER_USD
        known_usd = sum((Decimal(line["amount_usd"]) for line in bill.get("lines", ())), Decimal(0))
    assert known_usd * PICO_PER_USD == bill["known_usd_pico"]
    if bill["total_usd"] is None:
        assert bill["total_usd_pico"] is None
    else:
        assert Decimal(bill["total_usd"]) * PICO_PER_USD == bill["total_usd_pico"] == bill["known_usd_pico"]


def contracts(bill: dict[str, Any]) -> list[dict[str, Any]]:
    """The contracts of the tenant who made the call."""
    return [entry for entry in bill.get("overlay", {}).get("contracts", ()) if entry["tenant"] == bill["tenant"]]


@pytest.mark.parametrize("file", BILLS, ids=lambda file: file.stem)
def test_a_bill_names_its_pages_prices_and_reasons(file: Path) -> None:
    bill = read(file)
    assert bill["title"]
    assert bill["reasoning"].strip().endswith(".")
    assert bool(bill["prices"]) == bool(bill.get("lines"))
    for price in bill["prices"]:
        assert "https://" in price["page"]
        assert price["places"].keys() == {"price page", "genai-prices 0.2.3", "public price history"}
        assert price["used_usd"]


def test_there_are_forty_bills_or_more_and_each_is_a_call_of_its_own() -> None:
    envelopes = {json.dumps(read(file)["envelope"], sort_keys=True) + read(file)["at"] for file in BILLS}
    assert len(BILLS) >= 40
    assert len(envelopes) == len(BILLS)


def test_the_known_stream_of_159217_written_tokens_costs_1_06376125_dollars() -> None:
    assert read(FOLDER / "anthropic_stream_cumulative.yaml")["total_usd"] == "1.06376125"
