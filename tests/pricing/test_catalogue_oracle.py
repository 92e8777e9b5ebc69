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

from tests.pricing.cases import make_call
from tokenledger.pricing import packaged_book, price_call
from tokenledger.pricing.catalogue import packaged_catalogue
from tokenledger.pricing.dimensions import METER_DIMENSIONS

SAMPLES_PER_MODEL = 3
CONTEXTS: tuple[dict[str, str], ...] = (
    {},
    {"processing": "batch"},
    {"service_tier": "default"},
    {"service_tier": "flex"},
    {"service_tier": "priority"},
    {"service_tier": "fast"},
    {"speed": "fast"},
)
# Prompts of every size class: the thresholds of the catalogue lie between 32,000 and 524,288 tokens.
SIZES = (0, 1, 17, 999, 31_999, 100_000, 127_983, 199_999, 200_000, 200_001, 272_001, 524_288, 3_000_000)
METERS = sorted(set(METER_DIMENSIONS) - {"request"})
UNITS = {key: frozenset(unit["dimensions"].items()) for key, unit in unit_data.items() if key != "requests"}
FIRST_S, LAST_S = 1_704_067_200, 1_801_440_000
"""2024-01-01 to 2027-02-01: before, between and after all dated prices."""


@pytest.mark.slow
@pytest.mark.slow
def test_every_model_costs_what_genai_prices_says() -> None:
    """Within one pico-dollar a line, of every model, at random instants, contexts, sizes and mixes of meters."""
    rng = random.Random(20261121)  # noqa: S311 - a repeatable sample
    differences = [difference for ask in _asks(rng) for difference in _differences(*ask)]
    assert differences == []


def test_fast_and_batch_together_is_the_one_disagreement() -> None:
    """Nobody sells both at once. genai-prices takes the variant listed first; we drop `processing` first and say so."""
    usage = {"input.text": 1000}
    fields = {"provider": "anthropic", "response_model": "claude-opus-5", "processing": "batch", "speed": "fast"}
    ours = price_call(make_call(usage, **fields), packaged_book())
    assert ours.rate_fallbacks == ("processing=batch for input.text",)


def test_gaps_of_the_catalogue_are_reported_by_name() -> None:
    """What no meter or condition of ours can express is listed, never dropped silently."""
    gaps = packaged_catalogue().unmapped
    assert "mistral mistral-ocr-2512: no meter for input_annotated_document_kpages" in gaps
    assert "openrouter mistralai/mistral-large-4-0: no condition for {'route': 'mistral/eu'}" in gaps
    assert "openai moderation: listed without a price" in gaps


def _asks(rng: random.Random) -> Iterator[tuple[str, str, dict[str, str], int, dict[str, int]]]:
    for provider in providers:
        for model in _models(provider):
            for _ in range(SAMPLES_PER_MODEL):
                meters = rng.sample(METERS, rng.randrange(1, 7))
                usage = {meter: rng.choice(SIZES) for meter in meters}
                yield provider.id, model, rng.choice(CONTEXTS), rng.randrange(FIRST_S, LAST_S), usage


def _models(provider: Provider) -> list[str]:
    """Its own, and some of each provider whose models it resells."""
    resold = provider.fallback_model_providers or []
    others = [model.id for other in providers if other.id in resold for model in other.models[:20]]
    return [*(model.id for model in provider.models), *others]


def _differences(provider: str, model: str, context: dict[str, str], at_s: int, usage: dict[str, int]) -> Iterator[str]:
    call = make_call(
        usage, provider=provider, response_model=model, started_at_us=at_s * 10**6,
        processing=context.get("processing"), service_tier_served=context.get("service_tier"),
        speed=context.get("speed"),
    )  # fmt: skip
    ours = price_call(call, packaged_book())
    theirs = _theirs(provider, model, context, at_s, usage)
    unknown = ours.priced_model is None
    agree = unknown if theirs is None else abs(ours.known_cost_usd_pico - theirs) <= len(ours.lines)
    if not agree:
        yield f"{provider} {model} {context} {at_s} {usage}: ours {ours.known_cost_usd_pico}, theirs {theirs}"


def _theirs(provider: str, model: str, context: dict[str, str], at_s: int, usage: dict[str, int]) -> Decimal | None:
    """Pico-dollars; None where the model is unknown. Its counts are inclusive: each holds all below it."""
    counts = {
        key: sum((_count(meter, quantity) for meter, quantity in usage.items() if unit <= METER_DIMENSIONS[meter]), 0)
        for key, unit in UNITS.items()
    }
    try:
        price = genai_prices.calc_price(
            genai_prices.Usage(**counts), model, provider_id=provider,
            genai_request_timestamp=datetime.fromtimestamp(at_s, tz=UTC), price_context=context or None,
        )  # fmt: skip
    except LookupError:
        return None
    return price.total_price * 10**12


def _count(meter: str, quantity: int) -> int | Decimal:
    return Decimal(quantity) / 1000 if meter == "audio_ms" else quantity
