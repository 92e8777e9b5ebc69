"""Calls and books for the pricing tests."""

from typing import Any

from tokenledger.pricing import PriceBook, build_book, read_overlay
from tokenledger.pricing.catalogue import Catalogue
from tokenledger.records import Call

NO_CATALOGUE = Catalogue(
    name="none", known_from_us=0, rows={}, version="none", find=lambda _provider, _model: None, unmapped=()
)
NOON_US = 1_794_916_800_000_000
"""2026-11-17 12:00 UTC, a Tuesday."""
USD = 10**12


def make_call(usage: dict[str, int], **fields: Any) -> Call:
    """A reply of model `m` of provider `acme-ai` on a Tuesday noon."""
    facts: dict[str, Any] = {
        "tenant_id": "t1", "event_id": "e1", "event_key": "s/e1", "provider": "acme-ai", "response_model": "m",
        "started_at_us": NOON_US, "event_time_source": "started_at", "usage_source": "reported",
    }  # fmt: skip
    return Call(usage=usage, **(facts | fields))


def make_book(*prices: dict[str, Any], **sections: Any) -> PriceBook:
    """A book of own prices alone; provider and model default to those of `make_call`."""
    entries = [{"provider": "acme-ai", "model": "m"} | price for price in prices]
    return build_book(NO_CATALOGUE, read_overlay({"prices": entries, **sections}, catalogue=NO_CATALOGUE))


def usd_per_million(**rates: float | str) -> dict[str, Any]:
    """Rates with `_` for the dot: `input_text=3`."""
    return {"usd_per_million": {name.replace("_", ".", 1): rate for name, rate in rates.items()}}
