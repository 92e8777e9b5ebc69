"""The book finds one rate or none, refuses rows that overlap, and is named by what it holds."""

from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.pricing.cases import NO_CATALOGUE, NOON_US, make_book, make_call, usd_per_million
from tokenledger.pricing import OverlapError, build_book, list_prices, packaged_book, price_call, read_overlay
from tokenledger.pricing.book import check_overlaps
from tokenledger.pricing.catalogue import packaged_catalogue
from tokenledger.pricing.rate import END_US, WEEK_US, Row, applies, overlap
from tokenledger.pricing.stand_ins import STAND_INS
from tokenledger.records.meters import METERS

spans = st.tuples(st.integers(0, 5), st.integers(1, 5)).map(lambda s: (s[0], s[0] + s[1]))


@st.composite
def rows(draw: st.DrawFn) -> Row:
    """Rows of one key in a small world: six instants, six sizes, six hours."""
    valid, tier, window, known = (draw(spans) for _ in range(4))
    return Row(
        layer="own", provider="p", model="m", meter="input.text", list_pico=draw(st.integers(0, 3)),
        valid_from_us=valid[0], valid_to_us=valid[1], above_tokens=tier[0], upto_tokens=tier[1],
        windows=(window,), known_from_us=known[0], known_to_us=known[1],
    )  # fmt: skip


def hold_together(one: Row, other: Row) -> bool:
    """By brute force over every instant, hour, size and state of knowledge."""
    return any(
        all(applies(row, at, hour, size) and row.known_from_us <= known < row.known_to_us for row in (one, other))
        for at in range(11)
        for hour in range(11)
        for size in range(12)
        for known in range(one.known_from_us, one.known_to_us)
    )


@pytest.mark.slow
@given(rows(), rows())
def test_two_rows_overlap_exactly_where_both_could_price_one_call(one: Row, other: Row) -> None:
    assert overlap(one, other) == hold_together(one, other)


@pytest.mark.slow
@given(st.lists(rows(), max_size=4))
@settings(max_examples=50)
def test_a_book_that_was_built_finds_one_row_or_none(some: list[Row]) -> None:
    clash = any(hold_together(one, other) for one, other in combinations(some, 2))
    try:
        check_overlaps(some)
    except OverlapError:
        assert clash
    else:
        assert not clash


def test_the_packaged_catalogue_has_no_overlap() -> None:
    check_overlaps(row for group in packaged_catalogue().rows.values() for row in group)


def test_an_overlap_is_an_error_that_names_both_rows() -> None:
    prices = (usd_per_million(input_text=1), usd_per_million(input_text=2) | {"from": "2026-11-01"})
    with pytest.raises(OverlapError, match=r"list_pico=1000000(.|\n)*list_pico=2000000(.|\n)*`to:`"):
        make_book(*prices)
    assert make_book(prices[0] | {"to": "2026-11-01"}, prices[1])


@pytest.mark.parametrize(
    "sections",
    [
        {"contracts": [{"tenant": "t", "discount_ppm": 1}, {"tenant": "t", "discount_ppm": 2, "from": "2026-01-01"}]},
        {"aliases": [{"provider": "p", "name": "a", "model": "x"}, {"provider": "p", "name": "a", "model": "y"}]},
        {"surcharges": [{"provider": "p", "model": "r", "usd_per_million": {"input.text": n}} for n in (1, 2)]},
    ],
)
def test_overlapping_contracts_aliases_and_surcharges_are_errors_too(sections: dict[str, Any]) -> None:
    with pytest.raises(OverlapError):
        build_book(NO_CATALOGUE, read_overlay(sections, catalogue=NO_CATALOGUE))


def test_the_version_depends_on_every_row_and_not_on_their_order() -> None:
    one, other = usd_per_million(input_text=1), usd_per_million(output_text=2) | {"region": "us"}
    assert make_book(one, other).version == make_book(other, one).version
    changed = [
        make_book(one, other | change)
        for change in ({"region": "eu"}, {"to": "2027-01-01"}, {"known_from": "2026-01-01"})
    ]
    assert len({book.version for book in (make_book(one, other), make_book(one), *changed)}) == 5
    assert packaged_book().version == build_book().version


def test_the_catalogue_is_not_known_before_its_release() -> None:
    before = packaged_book().as_of(packaged_catalogue().known_from_us - 1)
    call = make_call({"input.text": 1}, provider="openai", response_model="gpt-4o")
    assert price_call(call, before).price_status == "unpriced"
    assert price_call(call, before.as_of(END_US - 1)).cost_usd_pico == 2_500_000


def test_price_ids_are_unique_and_survive_the_end_of_a_price() -> None:
    every = [row for group in packaged_catalogue().rows.values() for row in group]
    assert len({row.price_id for row in every}) == len(every)
    open_ended, ended = (make_book(usd_per_million(input_text=1) | end) for end in ({}, {"to": "2027-01-01"}))
    ids = {price_call(make_call({"input.text": 1}), book).lines[0].price_id for book in (open_ended, ended)}
    assert len(ids) == 1


@given(st.integers(0, END_US - 1), st.integers(0, 10**7), st.sampled_from(["gpt-5.6-terra", "gpt-4o", "gpt-5"]))
def test_any_instant_and_size_is_priced_alike_twice(at_us: int, tokens: int, model: str) -> None:
    """A card met before and a card made anew give the same lines."""
    call = make_call(
        {"input.text": tokens, "output.text": 1}, provider="openai", response_model=model, started_at_us=at_us
    )
    warm = price_call(call, packaged_book())
    packaged_book().cards.clear()
    assert price_call(call, packaged_book()) == warm


def test_conditions_are_dropped_fewest_first_and_each_drop_is_named() -> None:
    book = make_book(
        usd_per_million(input_text=9, output_text=9),
        usd_per_million(input_text=1) | {"processing": "batch"},
        usd_per_million(input_text=2) | {"service_tier": "flex"},
        usd_per_million(input_text=3) | {"processing": "batch", "region": "eu"},
    )

    def ask(**fields: str) -> tuple[int | None, tuple[str, ...]]:
        cost = price_call(make_call({"input.text": 1}, **fields), book)
        return cost.cost_usd_pico, cost.rate_fallbacks

    assert ask() == (9_000_000, ())
    assert ask(processing="batch", region="eu") == (3_000_000, ())
    assert ask(processing="batch", region="us") == (1_000_000, ("region=us",))
    # Of two conditions priced apart, processing is dropped first: that is the written order.
    assert ask(processing="batch", service_tier_served="flex") == (2_000_000, ("processing=batch for input.text",))
    assert ask(service_tier_served="scale", speed="fast") == (9_000_000, ("service_tier=scale", "speed=fast"))
    out = price_call(make_call({"input.text": 1, "output.text": 1}, processing="batch"), book)
    assert (out.cost_usd_pico, out.rate_fallbacks) == (10_000_000, ("processing=batch for output.text",))


@pytest.mark.parametrize("tier", ["default", "auto", "standard", "ON_DEMAND", "on_demand", "", None])
def test_a_standard_tier_is_no_condition(tier: str | None) -> None:
    cost = price_call(make_call({"input.text": 1}, service_tier_served=tier), make_book(usd_per_million(input_text=1)))
    assert cost.rate_fallbacks == ()


def test_vertex_traffic_types_are_service_tiers() -> None:
    book = make_book(usd_per_million(input_text=2), usd_per_million(input_text=1) | {"service_tier": "flex"})
    assert (
        price_call(make_call({"input.text": 1}, service_tier_served="ON_DEMAND_FLEX"), book).cost_usd_pico == 1_000_000
    )


@pytest.mark.parametrize(
    ("provider", "model", "priced"),
    [
        ("azure.ai.openai", "gpt-4o-2024-08-06", ("openai", "gpt-4o")),
        ("gcp.vertex_ai", "publishers/google/models/gemini-2.5-pro", ("google", "gemini-2.5-pro")),
        ("gcp.gemini", "models/gemini-2.5-pro", ("google", "gemini-2.5-pro")),
        ("gcp.vertex_ai", "claude-sonnet-4-5@20250929", ("google", "claude-sonnet-4-5")),
        ("openai", "GPT-4O", ("openai", "gpt-4o")),
        ("openai", "gpt-5-20250807", ("openai", "gpt-5")),
        ("litellm", "openai/gpt-4o", ("openai", "gpt-4o")),
        ("openai_compatible_server", "gpt-4o", (None, None)),
    ],
)
def test_models_are_found_under_the_names_providers_use(
    provider: str, model: str, priced: tuple[str | None, str | None]
) -> None:
    cost = price_call(make_call({"input.text": 1}, provider=provider, response_model=model), packaged_book())
    assert (cost.priced_provider, cost.priced_model) == priced


def test_own_rates_may_tell_two_sellers_of_one_catalogue_apart() -> None:
    price = {"provider": "gcp.vertex_ai", "model": "gemini-2.5-pro", "usd_per_million": {"input.text": "1.00"}}
    book = build_book(overlay=read_overlay({"prices": [price]}))
    calls = [
        make_call({"input.text": 1}, provider=provider, response_model="gemini-2.5-pro")
        for provider in ("gcp.vertex_ai", "gcp.gemini")
    ]
    costs = [price_call(call, book).cost_usd_pico for call in calls]
    assert costs == [1_000_000, 1_250_000]


def test_a_priced_deployment_keeps_its_price_whatever_the_reply_names() -> None:
    price = {"provider": "azure.ai.openai", "model": "prod-eu", "usd_per_million": {"input.text": 1, "output.text": 4}}
    book = build_book(overlay=read_overlay({"prices": [price]}))
    call = make_call(
        {"input.text": 1, "tool.web_search": 1},
        provider="azure.ai.openai",
        deployment_id="prod-eu",
        response_model="gpt-4o",
    )
    cost = price_call(call, book)
    assert (cost.priced_model, cost.lines[0].amount_usd_pico, cost.price_status) == ("prod-eu", 1_000_000, "priced")


def test_every_stand_in_is_a_meter_and_leads_to_a_plain_one() -> None:
    assert all(stand_in in METERS for chain in STAND_INS.values() for stand_in, _ in chain)
    assert STAND_INS["input.audio.cache_read"][-1] == ("input.text", True)


def test_a_listing_shows_rates_in_dollars_with_their_dates() -> None:
    prices = {
        (price.meter, price.tier, price.valid_to): (price.rate_usd, price.per)
        for price in list_prices(packaged_book(), "gpt-5.6-terra")
        if (price.provider, price.model, price.condition) == ("openai", "gpt-5.6-terra", "")
    }
    assert prices["input.text", "up to 272000 input tokens", ""] == ("2", "1M tokens")
    assert prices["input.text.cache_read", "up to 272000 input tokens", "2026-07-30"] == ("0.25", "1M tokens")
    assert prices["tool.web_search", "", ""] == ("10", "1000 calls")
    assert list_prices(packaged_book(), "no-such-model") == []
    assert {price.model for price in list_prices(packaged_book(), "gpt-4?-m*")} >= {"gpt-4o-mini"}


@pytest.mark.parametrize(
    ("window", "hours"),
    [
        ({"from": "06:00", "to": "10:00"}, "daily 06:00-10:00"),
        ({"days": "mon-tue", "from": "06:00", "to": "10:00"}, "Mon 06:00-10:00, Tue 06:00-10:00"),
        ({"days": "sun", "from": "22:00", "to": "02:00"}, "Mon 00:00-02:00, Sun 22:00-00:00"),
        ({"days": "sat-sun"}, "Sat-Sun 00:00-00:00"),
    ],
)
def test_a_listing_says_at_which_hours(window: dict[str, str], hours: str) -> None:
    assert list_prices(make_book(usd_per_million(input_text=1) | {"windows": [window]}))[0].hours == hours


def test_windows_cover_the_week_once() -> None:
    night, day = ({"days": "mon-sun", "from": a, "to": b} for a, b in (("20:00", "08:00"), ("08:00", "20:00")))
    book = make_book(
        usd_per_million(input_text=1) | {"windows": [night]}, usd_per_million(input_text=2) | {"windows": [day]}
    )
    hours = [price_call(make_call({"input.text": 1}, started_at_us=NOON_US + hour * 3_600_000_000), book).cost_usd_pico
             for hour in range(WEEK_US // 3_600_000_000)]  # fmt: skip
    assert hours == ([2_000_000] * 8 + [1_000_000] * 12 + [2_000_000] * 4) * 7
