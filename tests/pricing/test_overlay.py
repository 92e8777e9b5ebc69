"""A company's own prices: what is written is what is charged, and every mistake is named."""

import re
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.pricing.cases import NO_CATALOGUE, make_book, make_call, usd_per_million
from tokenledger.pricing import OverlayError, build_book, price_call, read_overlay

PRICE = {"provider": "acme-ai", "model": "m", "usd_per_million": {"input.text": 1}}
CONTRACT = {"tenant": "t", "discount_ppm": 1}


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"price": []}, "prices file.price: no such field; expected aliases, contracts, prices"),
        ({"prices": [PRICE | {"modle": "x"}]}, r"prices\[0\].modle: no such field"),
        ({"prices": [{"provider": "acme-ai", "model": "m"}]}, r"prices\[0\]: has no rate; add one of usd_per_million"),
        ({"prices": [PRICE, PRICE | {"model": None}]}, r"prices\[1\].model: is missing; expected a name"),
        ({"prices": [PRICE | {"currency": "EUR"}]}, r"prices\[0\].currency: is 'EUR'; only USD is priced"),
        (
            {"prices": [PRICE | {"usd_per_million": {"input": 1}}]},
            r"usd_per_million.input: no such meter; the meters are",
        ),
        (
            {"prices": [PRICE | {"usd_per_million": {"audio_ms": 1}}]},
            "counted in milliseconds; state it under usd_per_hour",
        ),
        ({"prices": [PRICE | {"usd_per_million": {"input.text": -1}}]}, "price -1: not a price"),
        ({"prices": [PRICE | {"usd_per_million": {"input.text": "NaN"}}]}, "price NaN: not a price"),
        (
            {"prices": [PRICE | {"usd_per_million": {"input.text": "2,50"}}]},
            r"is '2,50'; expected a number .* such as 2.50",
        ),
        ({"prices": [PRICE | {"usd_per_million": {"input.text": True}}]}, "is True; expected a number of US dollars"),
        ({"prices": [PRICE | {"service_tier": "batch"}]}, "state `processing: batch`"),
        ({"prices": [PRICE | {"from": "01/02/2026"}]}, r"prices\[0\].from: is '01/02/2026'; expected a date"),
        ({"prices": [PRICE | {"from": "2026-01-01T10:00:00"}]}, "expected a date such as 2026-01-31 or"),
        ({"prices": [PRICE | {"from": "2026-02-01", "to": "2026-01-01"}]}, "not after `from` 2026-02-01"),
        (
            {"prices": [PRICE | {"above_input_tokens": 5, "upto_input_tokens": 5}]},
            "is 5, not below upto_input_tokens 5",
        ),
        (
            {"prices": [PRICE | {"windows": [{"days": "mo-fr"}]}]},
            r"windows\[0\].days: is 'mo-fr'; expected days such as",
        ),
        (
            {"prices": [PRICE | {"windows": [{"from": "25:00"}]}]},
            r"windows\[0\].from: is '25:00'; expected a time of day",
        ),
        (
            {"contracts": [CONTRACT | {"discount_ppm": 15.0}]},
            r"contracts\[0\].discount_ppm: is 15.0; expected a whole number",
        ),
        ({"contracts": [CONTRACT | {"discount_ppm": 1_500_000}]}, "expected 0 to 1000000, 150000 being 15 %"),
        ({"contracts": [{"discount_ppm": 1}]}, r"contracts\[0\].tenant: is missing"),
        ({"aliases": [{"provider": "p", "name": "a"}]}, r"aliases\[0\].model: is missing"),
        ({"aliases": ["a"]}, r"aliases\[0\]: is 'a'; expected fields with values"),
    ],
)
def test_a_mistake_is_named_with_entry_field_value_and_what_would_be_right(
    sections: dict[str, Any], message: str
) -> None:
    with pytest.raises(OverlayError, match=message):
        read_overlay(sections, catalogue=NO_CATALOGUE)


@pytest.mark.parametrize("price", [0.1, "0.1", "0.10", "1e-1"])
def test_a_price_is_the_decimal_that_was_written(price: float | str) -> None:
    assert (
        price_call(make_call({"input.text": 1}), make_book({"usd_per_million": {"input.text": price}})).cost_usd_pico
        == 100_000
    )


def test_a_rate_that_is_no_whole_pico_stays_exact() -> None:
    """1.25e-8 dollars per million tokens: three quarters of 10⁻¹² for 60 tokens, which rounds to one."""
    book = make_book({"usd_per_million": {"input.text": "0.0000000125"}})
    line = price_call(make_call({"input.text": 60}), book).lines[0]
    assert (line.list_pico, line.list_per, line.amount_usd_pico) == (1, 80, 1)


@pytest.mark.parametrize(
    "start",
    [
        "2026-11-17",
        "2026-11-17T00:00:00Z",
        "2026-11-17T01:00:00+01:00",
        date(2026, 11, 17),
        datetime(2026, 11, 17, tzinfo=UTC),
    ],
)
def test_a_date_is_midnight_utc_however_it_is_written(start: object) -> None:
    row = read_overlay({"prices": [PRICE | {"from": start}]}, catalogue=NO_CATALOGUE).rows[0]
    assert row.valid_from_us == 1_794_873_600_000_000


def test_a_prefix_prices_what_no_exact_name_does_and_the_longest_wins() -> None:
    book = make_book(
        *(usd_per_million(input_text=n) | {"model": m} for n, m in ((1, "ft:*"), (2, "ft:gpt*"), (3, "ft:gpt-x")))
    )
    costs = [
        price_call(make_call({"input.text": 1}, response_model=m), book).cost_usd_pico
        for m in ("FT:a", "ft:gpt-y", "ft:gpt-x")
    ]
    assert costs == [1_000_000, 2_000_000, 3_000_000]


def test_the_example_in_the_documentation_works() -> None:
    """docs/add_a_price.md is read, and its claims about cost are recomputed."""
    text = (Path(__file__).parents[2] / "docs" / "add_a_price.md").read_text()
    example = re.search(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert example is not None
    book = build_book(overlay=read_overlay(yaml.safe_load(example[1])))
    claims = re.findall(
        r"^\| `(\S+)` \| `(\S+)` \| `(\S+)` \| (\S*) \| ([\d,]+) \| ([\d.]+) USD \|$", text, re.MULTILINE
    )
    assert len(claims) >= 5
    for tenant, provider, model, condition, tokens, usd in claims:
        name, _, value = condition.strip("`").partition("=")
        call = make_call({"input.text": int(tokens.replace(",", ""))}, tenant_id=tenant, provider=provider,
                         response_model=model, **({name: value} if value else {}))  # fmt: skip
        cost = price_call(call, book)
        assert cost.cost_usd_pico is not None
        assert f"{cost.cost_usd_pico / 10**12:.6f}" == f"{float(usd):.6f}", (tenant, model, cost)
