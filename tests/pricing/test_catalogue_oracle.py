"""Our cost against genai-prices' own calculation, over every model of the catalogue."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

import genai_prices
import pytest
from genai_prices.data import providers
from genai_prices.data_units import unit_data
from genai_prices.types import Provider

from tokenledger.pricing import packaged_book, price_call
from tokenledger.pricing.book import check_overlaps
from tokenledger.pricing.catalogue import packaged_catalogue
from tokenledger.pricing.dimensions import METER_DIMENSIONS
from tokenledger.records import Call

PICO = 10**12
SAMPLES_PER_MODEL = 4
CONTEXTS: tuple[dict[str, str], ...] = (
    {},
    {"processing": "batch"},
    {"service_tier": "default"},
    {"service_tier": "flex"},
    {"service_tier": "priority"},
    {"service_tier": "fast"},
    {"speed": "fast"},
    {"service_tier": "priority", "processing": "batch"},
    {"speed": "fast", "processing": "batch"},
)
# Prompts of every size class: the thresholds of the catalogue lie between 32,000 and 524,288 tokens.
SIZES = (0, 1, 17, 999, 31_999, 100_000, 127_983, 199_999, 200_000, 200_001, 272_001, 524_288, 3_000_000)


def test_every_model_costs_what_genai_prices_says() -> None:
    rng = random.Random(20261121)  # noqa: S311 - a repeatable sample
    book = packaged_book()
    differences = [
        f"{provider.id} {ref} {context} {at} {usage}: ours {ours}, theirs {theirs}"
        for provider, ref in _model_refs()
        for context, at, usage in _samples(rng)
        for ours, theirs in [_both(book_call(provider.id, ref, context, at, usage), provider, ref, context, at)]
        if ours is None or abs(ours[0] - theirs) > ours[1]
    ]
    assert differences == []


def book_call(provider: str, ref: str, context: dict[str, str], at: datetime, usage: dict[str, int]) -> Call:
    return Call(
        tenant_id="t", event_id="e", event_key="s/e", provider=provider, response_model=ref, usage=usage,
        started_at_us=int(at.timestamp()) * 10**6, event_time_source="started_at",
        processing=context.get("processing"), service_tier_served=context.get("service_tier"),
        speed=context.get("speed"),
    )  # fmt: skip
