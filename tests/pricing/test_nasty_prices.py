"""Price selection as it goes wrong elsewhere: each test is named after a case that cost somebody money."""

from datetime import UTC, datetime

import msgspec
import pytest

from tests.pricing.cases import NO_CATALOGUE, NOON_US, USD, make_book, make_call, usd_per_million
from tokenledger.pricing import OverlayError, build_book, packaged_book, price_call, read_overlay
from tokenledger.records.meters import METERS

TWO_TIERS = (
    usd_per_million(input_text=2, **{"input_text.cache_read": 0.5}, output_text=10) | {"upto_input_tokens": 200_000},
    usd_per_million(input_text=4, **{"input_text.cache_read": 1}, output_text=15) | {"above_input_tokens": 200_000},
)


def at_us(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**6


def test_two_cache_ttls_in_one_response() -> None:
    """Claude Sonnet 4.5 per million: 3 in, 3.75 for a 5-minute write, 6 for an hour's, 0.30 read, 15 out."""
    call = make_call(
        {"input.text": 10, "input.text.cache_write_5m": 1000, "input.text.cache_write_1h": 2000, "output.text": 100},
        provider="anthropic", response_model="claude-sonnet-4-5-20250929",
    )  # fmt: skip
    cost = price_call(call, packaged_book())
    assert cost.cost_usd_pico == 10 * 3_000_000 + 1000 * 3_750_000 + 2000 * 6_000_000 + 100 * 15_000_000
    assert cost.rate_fallbacks == ()
    lump = make_call(
        {"input.text.cache_write": 3000}, provider="anthropic", response_model="claude-sonnet-4-5-20250929"
    )
    assert price_call(lump, packaged_book()).cost_usd_pico == 3000 * 3_750_000


def test_openai_cache_write_field_by_model() -> None:
    usage = {"input.text": 100, "input.text.cache_write": 1000}
    newer = price_call(make_call(usage, provider="openai", response_model="gpt-5.6-cyber"), packaged_book())
    assert newer.cost_usd_pico == 100 * 12_500_000 + 1000 * 15_625_000
    assert newer.rate_fallbacks == ()
    older = price_call(make_call(usage, provider="openai", response_model="gpt-4o"), packaged_book())
    assert older.cost_usd_pico == 1100 * 2_500_000
    assert older.rate_fallbacks == ("input.text.cache_write as input.text",)


def test_missing_cache_price_is_flagged() -> None:
    book = make_book(usd_per_million(input_text=3, output_text=15))
    cost = price_call(make_call({"input.text": 10, "input.text.cache_read": 90}), book)
    assert cost.cost_usd_pico == 100 * 3_000_000
    assert cost.rate_fallbacks == ("input.text.cache_read as input.text",)


def test_whole_prompt_chooses_tier() -> None:
    """270,540 fresh and 7,936 cached are 278,476 tokens, above 272,000: then every token is dearer."""
    usage = {"input.text": 270_540, "input.text.cache_read": 7_936, "output.text": 1000}
    call = make_call(usage, provider="openai", response_model="gpt-5.6-terra", started_at_us=NOON_US)
    cost = price_call(call, packaged_book())
    assert cost.cost_usd_pico == 270_540 * 4_000_000 + 7_936 * 400_000 + 1000 * 18_000_000


@pytest.mark.parametrize(
    ("tokens", "usd_per_token_pico"), [(199_999, 2_000_000), (200_000, 2_000_000), (200_001, 4_000_000)]
)
def test_tier_edge_is_exclusive(tokens: int, usd_per_token_pico: int) -> None:
    book = make_book(*TWO_TIERS)
    assert price_call(make_call({"input.text": tokens}), book).cost_usd_pico == tokens * usd_per_token_pico


def test_session_totals_never_decide_a_tier() -> None:
    """Three calls of 150,000 tokens are three small calls, not one large one."""
    book = make_book(*TWO_TIERS)
    session = [price_call(make_call({"input.text": 150_000}), book).known_cost_usd_pico for _ in range(3)]
    assert sum(session) == 450_000 * 2_000_000
    assert price_call(make_call({"input.text": 450_000}), book).cost_usd_pico == 450_000 * 4_000_000


def test_one_bucket_cannot_flip_the_tier() -> None:
    book = make_book(*TWO_TIERS)
    wordy = price_call(make_call({"input.text": 10, "output.text": 300_000}), book)
    assert wordy.cost_usd_pico == 10 * 2_000_000 + 300_000 * 10_000_000
    together = price_call(make_call({"input.text": 150_000, "input.text.cache_read": 60_000, "output.text": 1}), book)
    assert together.cost_usd_pico == 150_000 * 4_000_000 + 60_000 * 1_000_000 + 15_000_000


def test_served_tier_prices() -> None:
    prices = (usd_per_million(input_text=2), usd_per_million(input_text=4) | {"service_tier": "priority"},
              usd_per_million(input_text=1) | {"service_tier": "flex"})  # fmt: skip
    downgraded = make_call({"input.text": 1}, service_tier_requested="priority", service_tier_served="default")
    assert price_call(downgraded, make_book(*prices)).cost_usd_pico == 2_000_000
    # An endpoint that echoes `default` while it bills flex is named in the book, not guessed.
    echoing = make_call({"input.text": 1}, service_tier_requested="flex", service_tier_served="default")
    policy = price_call(echoing, make_book(*prices, requested_tier_providers=["acme-ai"]))
    assert policy.cost_usd_pico == 1_000_000
    assert policy.rate_fallbacks == ("service_tier_requested=flex",)
    silent = price_call(make_call({"input.text": 1}, service_tier_requested="flex"), make_book(*prices))
    assert (silent.cost_usd_pico, silent.rate_fallbacks) == (1_000_000, ("service_tier_requested=flex",))


@pytest.mark.parametrize("how", [{"processing": "batch"}, {"service_tier_served": "batch"}])
def test_batch_bills_once_at_half(how: dict[str, str]) -> None:
    """Anthropic names a batch in `service_tier`; it is a kind of processing, and half price: 1.50 in, 7.50 out."""
    call = make_call({"input.text": 1000, "output.text": 100}, provider="anthropic",
                     response_model="claude-sonnet-4-5", **how)  # fmt: skip
    cost = price_call(call, packaged_book())
    assert cost.cost_usd_pico == 1000 * 1_500_000 + 100 * 7_500_000
    assert cost.rate_fallbacks == ()
    assert [price_call(call, packaged_book()) for _ in range(3)] == [cost] * 3


def test_a_batch_without_a_batch_price_says_so() -> None:
    book = make_book(usd_per_million(input_text=2))
    cost = price_call(make_call({"input.text": 1}, processing="batch"), book)
    assert (cost.cost_usd_pico, cost.rate_fallbacks) == (2_000_000, ("processing=batch",))


def test_residency_uplift_survives_stream() -> None:
    book = make_book(usd_per_million(input_text=10), usd_per_million(input_text=11) | {"region": "us"})
    for fields in ({"data_region": "us"}, {"region": "US"}, {"region": "us-east-1", "data_region": "us"}):
        cost = price_call(make_call({"input.text": 7}, stream=True, **fields), book)
        assert (cost.cost_usd_pico, cost.rate_fallbacks) == (77_000_000, ())
    elsewhere = price_call(make_call({"input.text": 7}, data_region="eu"), book)
    assert (elsewhere.cost_usd_pico, elsewhere.rate_fallbacks) == (70_000_000, ("region=eu",))


def test_bedrock_geo_prefix_kept() -> None:
    """Claude Opus 4.5 on Bedrock: 5 by the global profile, ten per cent more by a regional one."""
    per_token = {
        profile: price_call(
            make_call(
                {"input.text": 1}, provider="aws.bedrock", response_model=f"{profile}anthropic.claude-opus-4-5-v1:0"
            ),
            packaged_book(),
        ).cost_usd_pico
        for profile in ("global.", "us.", "eu.", "")
    }
    assert per_token == {"global.": 5_000_000, "us.": 5_500_000, "eu.": 5_500_000, "": 5_500_000}


def test_search_fee_unit_by_model() -> None:
    """Grounding costs 35 USD a thousand prompts on Gemini 2.5, 14 a thousand queries on 3; opened pages are free."""
    usage = {"tool.web_search": 2, "tool.web_fetch": 9}
    older = price_call(make_call(usage, provider="gcp.gemini", response_model="gemini-2.5-pro"), packaged_book())
    newer = price_call(make_call(usage, provider="gcp.gemini", response_model="gemini-3-pro-preview"), packaged_book())
    assert (older.cost_usd_pico, newer.cost_usd_pico) == (2 * 35 * USD // 1000, 2 * 14 * USD // 1000)
    assert older.price_status == newer.price_status == "priced"


def test_search_fees_missing_on_both_sides() -> None:
    """A search without a rate is missing by name; it does not vanish in a total that looks complete."""
    cost = price_call(make_call({"input.text": 1, "tool.web_search": 3}), make_book(usd_per_million(input_text=1)))
    assert (cost.price_status, cost.cost_usd_pico, cost.known_cost_usd_pico) == ("partly_priced", None, 1_000_000)
    assert cost.unpriced_meters == ("tool.web_search",)


def test_image_not_billed_twice() -> None:
    """gpt-image-1.5 per million: 5 text in, 8 image in, 32 image out, 10 text out. Tokens only, no fee per image."""
    usage = {"input.text": 50, "input.image": 300, "output.image": 4160, "output.text": 20}
    cost = price_call(make_call(usage, provider="openai", response_model="gpt-image-1.5"), packaged_book())
    assert [line.meter for line in cost.lines] == list(usage)
    assert cost.cost_usd_pico == 50 * 5_000_000 + 300 * 8_000_000 + 4160 * 32_000_000 + 20 * 10_000_000


def test_peak_window_in_another_calendar() -> None:
    """Peak on Beijing's Monday to Friday 09-12 and 14-18 is 01-04 and 06-10 UTC; the rule changed at 16:00 UTC."""
    peak = [{"days": "mon-fri", "from": "01:00", "to": "04:00"}, {"days": "mon-fri", "from": "06:00", "to": "10:00"}]
    off_peak = [
        {"days": "mon-fri", "from": "00:00", "to": "01:00"}, {"days": "mon-fri", "from": "04:00", "to": "06:00"},
        {"days": "mon-fri", "from": "10:00", "to": "24:00"}, {"days": "sat-sun"},
    ]  # fmt: skip
    change = "2026-08-17T16:00:00Z"
    book = make_book(
        usd_per_million(output_text=1) | {"to": change},
        usd_per_million(output_text=4) | {"from": change, "windows": peak},
        usd_per_million(output_text=2) | {"from": change, "windows": off_peak},
    )
    expected = {
        "2026-08-17 07:00": 1,  # Monday peak hour, before the rule
        "2026-08-17 15:59": 1,
        "2026-08-17 16:00": 2,
        "2026-08-18 00:59": 2,
        "2026-08-18 01:00": 4,
        "2026-08-18 03:59": 4,  # a stream that crosses 04:00 is priced by its start
        "2026-08-18 04:00": 2,
        "2026-08-18 09:59": 4,
        "2026-08-22 02:00": 2,  # Saturday
        "2026-08-24 02:00": 4,  # Monday again
    }
    for text, dollars in expected.items():
        call = make_call({"output.text": 1}, started_at_us=at_us(text), ended_at_us=at_us(text) + 300 * 10**6)
        assert price_call(call, book).cost_usd_pico == dollars * 10**6, text


def test_announced_rise_is_cancelled() -> None:
    book = make_book(
        usd_per_million(input_text=2) | {"to": "2026-11-01", "known_to": "2026-10-20"},
        usd_per_million(input_text=3) | {"from": "2026-11-01", "known_from": "2026-10-01", "known_to": "2026-10-20"},
        usd_per_million(input_text=2) | {"known_from": "2026-10-20"},
    )
    call = make_call({"input.text": 1})
    assert price_call(call, book).cost_usd_pico == 2_000_000
    assert price_call(call, book.as_of(at_us("2026-10-10"))).cost_usd_pico == 3_000_000
    assert price_call(call, book.as_of(at_us("2026-10-25"))).cost_usd_pico == 2_000_000
    assert len({book.version, book.as_of(at_us("2026-10-10")).version}) == 2


def test_future_row_does_not_price_today() -> None:
    book = make_book(
        usd_per_million(input_text=2) | {"to": "2027-01-01"}, usd_per_million(input_text=9) | {"from": "2027-01-01"}
    )
    assert price_call(make_call({"input.text": 1}), book).cost_usd_pico == 2_000_000
    only_future = make_book(usd_per_million(input_text=9) | {"from": "2027-01-01"})
    assert price_call(make_call({"input.text": 1}), only_future).price_status == "unpriced"
    assert (
        price_call(make_call({"input.text": 1}), only_future, price_at_us=at_us("2027-01-01")).cost_usd_pico
        == 9_000_000
    )


def test_two_sources_are_not_averaged() -> None:
    """gpt-4o is 2.50 in the catalogue; an own rate one per cent higher is used as it is."""
    own = read_overlay(
        {"prices": [{"provider": "openai", "model": "gpt-4o", "usd_per_million": {"input.text": "2.525"}}]}
    )
    cost = price_call(make_call({"input.text": 1}, provider="openai", response_model="gpt-4o"), build_book(overlay=own))
    assert cost.cost_usd_pico == 2_525_000
    assert cost.lines[0].matched.startswith("own openai gpt-4o")


@pytest.mark.parametrize("slipped", [250, 0.0025, "0.0000025", 2_500_000])
def test_unit_slip_is_rejected(slipped: float | str) -> None:
    """2.50 a million, stated in cents, per thousand, per token or in micro-dollars."""
    entry = {"provider": "openai", "model": "gpt-4o", "usd_per_million": {"input.text": slipped}}
    with pytest.raises(OverlayError, match=r"prices\[0\].usd_per_million.input.text: is .* times the catalogue's rate"):
        read_overlay({"prices": [entry]})
    assert read_overlay({"prices": [entry | {"confirm": True}]}).rows


def test_broken_feed_keeps_last_good() -> None:
    """A feed that cannot be read raises before a book is built; the book in use is untouched."""
    good = make_book(usd_per_million(input_text=2))
    version = good.version
    feeds: list[object] = [[], {"prices": "503 Service Unavailable"}, {"prices": [{"provider": "acme-ai"}]}, None]
    for broken in feeds:
        with pytest.raises(OverlayError):
            read_overlay(broken, catalogue=NO_CATALOGUE)
    assert price_call(make_call({"input.text": 1}), good).cost_usd_pico == 2_000_000
    assert good.version == version


def test_latest_alias_moves() -> None:
    names = [{"provider": "acme-ai", "name": "m-latest", "model": "m-1", "to": "2026-11-01"},
             {"provider": "acme-ai", "name": "m-latest", "model": "m-2", "from": "2026-11-01"}]  # fmt: skip
    book = make_book(
        usd_per_million(input_text=1) | {"model": "m-1"},
        usd_per_million(input_text=5) | {"model": "m-2"},
        aliases=names,
    )
    before = price_call(
        make_call({"input.text": 1}, response_model="m-latest", started_at_us=at_us("2026-10-31 23:59")), book
    )
    after = price_call(make_call({"input.text": 1}, response_model="m-latest", started_at_us=at_us("2026-11-01")), book)
    assert [(cost.priced_model, cost.cost_usd_pico) for cost in (before, after)] == [
        ("m-1", 1_000_000),
        ("m-2", 5_000_000),
    ]


def test_suffixed_name_backfill() -> None:
    """A dated name that nothing matched is unpriced; a book with its prefix prices it, and changes no other call."""
    calls = [make_call({"input.text": 1}, response_model=name) for name in ("m", "m2-20261101-v3")]
    old = make_book(usd_per_million(input_text=2))
    new = make_book(usd_per_million(input_text=2), usd_per_million(input_text=3) | {"model": "m2*"})
    assert [price_call(call, old).cost_usd_pico for call in calls] == [2_000_000, None]
    assert [price_call(call, new).cost_usd_pico for call in calls] == [2_000_000, 3_000_000]
    assert price_call(calls[0], old).lines == price_call(calls[0], new).lines


def test_azure_base_name_and_surcharge() -> None:
    """Azure's router costs its fee on the prompt and the model it chose; the reply names only the latter."""
    router = {"provider": "azure.ai.openai", "model": "model-router", "usd_per_million": {"input.text": "0.14"}}
    book = build_book(overlay=read_overlay({"surcharges": [router]}))
    call = make_call({"input.text": 1000, "output.text": 10}, provider="azure.ai.openai",
                     request_model="model-router", response_model="gpt-4o")  # fmt: skip
    cost = price_call(call, book)
    assert cost.cost_usd_pico == 1000 * 2_500_000 + 10 * 10_000_000 + 1000 * 140_000
    assert [(line.meter, line.model) for line in cost.lines] == [
        ("input.text", None), ("output.text", None), ("input.text", "model-router")]  # fmt: skip
    assert (cost.priced_provider, cost.priced_model) == ("openai", "gpt-4o")


def test_unknown_model_is_unpriced() -> None:
    unknown = price_call(
        make_call({"input.text": 5}, provider="openai", response_model="no-such-model"), packaged_book()
    )
    assert (unknown.price_status, unknown.cost_usd_pico, unknown.known_cost_usd_pico) == ("unpriced", None, 0)
    assert unknown.unpriced_meters == ("input.text",)
    free = price_call(
        make_call({"input.text": 5, "output.text": 1}), make_book(usd_per_million(input_text=0, output_text=0))
    )
    assert (free.price_status, free.cost_usd_pico, len(free.lines)) == ("priced", 0, 2)


@pytest.mark.parametrize("fields", [{"engine": "vllm", "provider": "openai"}, {"provider": "ollama"}])
def test_self_hosted_has_no_default_price(fields: dict[str, str]) -> None:
    """Not even where its name is in the catalogue."""
    call = make_call({"input.text": 5}, response_model="gpt-4o", **fields)
    cost = price_call(call, packaged_book())
    assert (cost.price_status, cost.cost_usd_pico, cost.lines) == ("self_hosted", None, ())
    own = make_book(usd_per_million(input_text=1) | {"provider": fields["provider"], "model": "gpt-4o"})
    assert price_call(call, own).cost_usd_pico == 5_000_000


def test_provider_reported_cost() -> None:
    book = make_book(usd_per_million(input_text=2))
    usage = {"input.text": 1000}
    billed = price_call(make_call(usage, billed_usd_pico=1_500_000_000), book)
    assert (billed.price_status, billed.cost_usd_pico, billed.computed_usd_pico) == (
        "provider_billed",
        1_500_000_000,
        2_000_000_000,
    )
    assert [(line.meter, line.amount_usd_pico) for line in billed.lines] == [
        ("input.text", 2_000_000_000), ("adjustment.provider_billed", -500_000_000)]  # fmt: skip
    assert billed.anomalies == ("billed_differs",)
    free = price_call(make_call(usage, billed_usd_pico=0), book)
    assert (free.cost_usd_pico, sum(line.amount_usd_pico for line in free.lines)) == (0, 0)
    unknown = price_call(make_call(usage, response_model="x", billed_usd_pico=7), book)
    assert (unknown.cost_usd_pico, unknown.computed_usd_pico, unknown.known_cost_usd_pico) == (7, None, 7)
    assert unknown.unpriced_meters == ("input.text",)


def test_every_meter_can_be_priced() -> None:
    """Adding a meter is one line of data: the book needs nothing else for it."""
    units = {"tokens": "usd_per_million", "characters": "usd_per_million", "milliseconds": "usd_per_hour"}
    price: dict[str, dict[str, int]] = {}
    for meter in METERS.values():
        price.setdefault(units.get(meter.unit, "usd_each"), {})[meter.id] = 1
    cost = price_call(make_call(dict.fromkeys(METERS, 1)), make_book(price))
    assert (cost.price_status, len(cost.lines), cost.rate_fallbacks) == ("priced", len(METERS), ())
    assert msgspec.structs.asdict(cost)["unpriced_meters"] == ()
