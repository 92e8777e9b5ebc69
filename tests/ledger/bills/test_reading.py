"""Reports in the providers' published shapes, read into lines, and what is said of those that cannot be read."""

import json
from pathlib import Path
from typing import Any

import pytest

from ledger.bills.lines import BillError, BillLine, pico
from ledger.bills.mapped import mapping_of
from ledger.bills.reading import read

DAY_S = 1_793_577_600  # 2026-11-02T00:00:00Z by `date -u -d @1793577600`
DAY = "2026-11-02"


def page(*results: dict[str, Any], **changes: Any) -> dict[str, Any]:
    bucket = {"object": "bucket", "start_time": DAY_S, "end_time": DAY_S + 86_400, "results": list(results)}
    return {
        "object": "page",
        "data": [bucket | changes.pop("bucket", {})],
        "has_more": False,
        "next_page": None,
    } | changes


def report(*results: dict[str, Any], **changes: Any) -> dict[str, Any]:
    bucket = {"starting_at": f"{DAY}T00:00:00Z", "ending_at": "2026-11-03T00:00:00Z", "results": list(results)}
    return {"data": [bucket], "has_more": False, "next_page": None} | changes


def cost(value: Any, line_item: str | None) -> dict[str, Any]:
    return {
        "object": "organization.costs.result",
        "amount": {"value": value, "currency": "usd"},
        "line_item": line_item,
        "project_id": None,
    }


def lines(tmp_path: Path, content: Any, **names: str) -> list[BillLine]:
    path = tmp_path / names.get("name", "bill.json")
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return read([path])


def facts(found: list[BillLine]) -> list[tuple[str, str, int | None, int | None]]:
    return [(line.model, line.meter, line.quantity, line.amount_usd_pico) for line in found]


def test_openai_costs_name_model_and_kind_in_the_line_item(tmp_path: Path) -> None:
    found = lines(
        tmp_path,
        page(
            cost(0.06, "gpt-4o-2024-08-06, input"),
            cost("0.8958740000000000", "gpt-4o-2024-08-06, cached input"),
            cost(1.5, "gpt-4o-2024-08-06, output"),
            cost(0.25, "web search tool calls"),
            cost(-1, None),
        ),
    )
    assert facts(found) == [
        ("gpt-4o-2024-08-06", "input.text", None, 60_000_000_000),
        ("gpt-4o-2024-08-06", "input.text.cache_read", None, 895_874_000_000),
        ("gpt-4o-2024-08-06", "output.text", None, 1_500_000_000_000),
        ("", "tool.web_search", None, 250_000_000_000),
        ("", "", None, -1_000_000_000_000),
    ]
    assert {line.day for line in found} == {DAY}
    assert found[-1].category == "credit"
    assert found[0].precision_usd_pico == 5_000_000_000  # half a cent


def test_openai_usage_is_taken_apart_into_leaves(tmp_path: Path) -> None:
    found = lines(
        tmp_path,
        page(
            {
                "object": "organization.usage.completions.result", "model": "gpt-4o-audio-preview",
                "input_tokens": 1_000, "input_cached_tokens": 300, "input_audio_tokens": 200,
                "input_cached_audio_tokens": 100, "output_tokens": 50, "output_audio_tokens": 20,
            },
            {"object": "organization.usage.embeddings.result", "model": "text-embedding-3-small", "input_tokens": 7},
        ),
    )  # fmt: skip
    # 300 cached, of which 100 audio; 200 audio, of which 100 cached; the rest of 1,000 is fresh text.
    assert {(line.meter): line.quantity for line in found[:-1]} == {
        "input.audio": 100, "input.audio.cache_read": 100, "input.text.cache_read": 200, "input.text": 600,
        "output.audio": 20, "output.text": 30,
    }  # fmt: skip
    assert facts(found)[-1] == ("text-embedding-3-small", "input.text", 7, None)


def test_anthropic_amounts_are_cents_as_text(tmp_path: Path) -> None:
    found = lines(
        tmp_path,
        report(
            {
                "amount": "123.45", "currency": "USD", "cost_type": "tokens", "token_type": "uncached_input_tokens",
                "model": "claude-sonnet-4-20250514", "description": "Claude Sonnet 4 Usage - Input Tokens",
            },
            {"amount": "50", "currency": "USD", "cost_type": "web_search", "model": None, "description": "Web Search"},
        ),
    )  # fmt: skip
    assert facts(found) == [
        ("claude-sonnet-4-20250514", "input.text", None, 1_234_500_000_000),
        ("", "tool.web_search", None, 500_000_000_000),
    ]
    assert found[0].precision_usd_pico == 50_000_000  # half of a hundredth of a cent


def test_anthropic_usage_tells_cache_lifetimes_apart(tmp_path: Path) -> None:
    found = lines(
        tmp_path,
        report(
            {
                "uncached_input_tokens": 1_500, "cache_read_input_tokens": 200, "output_tokens": 500,
                "cache_creation": {"ephemeral_1h_input_tokens": 1_000, "ephemeral_5m_input_tokens": 400},
                "server_tool_use": {"web_search_requests": 10}, "model": "claude-opus-4-20250514",
            }
        ),
    )  # fmt: skip
    assert {line.meter: line.quantity for line in found} == {
        "input.text": 1_500, "input.text.cache_read": 200, "input.text.cache_write_5m": 400,
        "input.text.cache_write_1h": 1_000, "output.text": 500, "tool.web_search": 10,
    }  # fmt: skip


HEAD = (
    "BilledCost,BillingCurrency,ChargeCategory,ChargePeriodStart,ConsumedQuantity,ConsumedUnit,ServiceProviderName,"
    "SkuPriceDetails"
)
FRESH = '"{""x_ModelId"":""gpt-4o"",""x_TokenDirection"":""Input""}"'
READ = '"{""ModelId"":""gpt-4o"",""TokenDirection"":""Input"",""TokenCacheAction"":""Read""}"'
FOCUS = f"""\
{HEAD}
0.50,USD,Usage,2026-11-02T00:00:00Z,0.25,1000000 Tokens,OpenAI,{FRESH}
0.05,USD,Usage,2026-11-02 00:00:00,40000,Tokens,OpenAI,{READ}
1.10,USD,Tax,2026-11-02T00:00:00Z,NULL,NULL,OpenAI,NULL
"""


def test_focus_names_tokens_by_direction_and_cache_action(tmp_path: Path) -> None:
    found = lines(tmp_path, FOCUS, name="focus.csv")
    assert facts(found) == [
        ("gpt-4o", "input.text", 250_000, 500_000_000_000),
        ("gpt-4o", "input.text.cache_read", 40_000, 50_000_000_000),
        ("", "", None, 1_100_000_000_000),
    ]
    assert [line.category for line in found] == ["usage", "usage", "tax"]
    assert {line.provider for line in found} == {"openai"}


MAPPING = """
provider = "mistral_ai"
date_format = "%d/%m/%Y"
per_usd = 100
[columns]
day = "Date"
model = "Model"
meter = "Kind"
quantity = "Tokens"
amount = "Cents"
[meters]
"Prompt" = "input.text"
"""


def test_any_other_table_is_read_by_a_mapping(tmp_path: Path) -> None:
    path = tmp_path / "invoice.csv"
    path.write_text('Date,Model,Kind,Tokens,Cents\n02/11/2026,mistral-large,Prompt,"1,200",12.5\n', encoding="utf-8")
    [line] = read([path], mapping_of(MAPPING, "m.toml"))
    assert (line.day, line.provider, line.model, line.meter) == (DAY, "mistral_ai", "mistral-large", "input.text")
    assert (line.quantity, line.amount_usd_pico) == (1_200, 125_000_000_000)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "bill.json"),
        ({"data": 3}, "no page of OpenAI's usage or costs nor of Anthropic's reports"),
        (page(cost(0.1, None), has_more=True), "has_more is true; fetch the pages up to the last one"),
        (page(cost("a lot", None)), "amount 'a lot'; a decimal number of dollars"),
        (page(cost(float("inf"), None)), "bill.json"),
        (page(cost(0.1, None), bucket={"end_time": DAY_S + 90_000}), "more than one UTC day; ask with bucket_width=1d"),
        (page(cost(0.1, None), bucket={"start_time": "x"}), "start_time 'x'"),
        (page({"object": "organization.usage.moderations.result"}), "moderations.result'; known are"),
        (page({"object": "invoice"}), "object is 'invoice'; known are organization.costs.result"),
        (page({"object": "organization.costs.result", "amount": {"value": 1, "currency": "eur"}}), "currency 'eur'"),
        (
            page({"object": "organization.usage.completions.result", "input_tokens": 5, "input_cached_tokens": 9}),
            "input.text would be -4; the parts are larger than the total",
        ),
        (page({"object": "organization.usage.completions.result", "input_tokens": -1}), "quantity -1; a whole number"),
        (report({"amount": "x", "currency": "USD"}), "amount 'x'"),
        ({"data": [{"starting_at": "yesterday", "ending_at": "today"}]}, "no RFC 3339 time"),
        (page(), "no line in it"),
        ("a,b\n1,2\n", "neither a FOCUS table nor JSON; for another CSV give --mapping FILE"),
        (FOCUS.replace("0.50,USD", "0.50,EUR"), "currency 'EUR'; the ledger keeps US dollars only"),
        (FOCUS.replace("Usage,2026-11-02T", "Usage,someday"), "ChargePeriodStart 'someday"),
        (FOCUS.replace("USD,Tax", "USD,Fee"), "ChargeCategory 'Fee'"),
        (FOCUS.replace("0.25,1000000 Tokens", "0.2500001,1000000 Tokens"), "no whole number of tokens"),
    ],
)
def test_what_cannot_be_read_says_what_where_and_what_would_be_right(tmp_path: Path, content: Any, says: str) -> None:
    with pytest.raises(BillError) as raised:
        lines(tmp_path, content)
    assert says in str(raised.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("provider = ", "m.toml"),
        ('[columns]\nday = "d"\namount = "a"', "say either provider or columns.provider"),
        ('provider = "x"\n[columns]\nday = "d"', "neither amount nor quantity"),
        ('provider = "x"\n[columns]\nday = "d"\namount = "a"\n[meters]\nq = "tokens"', "'tokens', which is no meter"),
        ('provider = "x"\nper_usd = 0\n[columns]\nday = "d"\namount = "a"', "per_usd is 0"),
        ('provider = "x"\nwhat = 1\n[columns]\nday = "d"', "unknown field `what`"),
    ],
)
def test_a_bad_mapping_says_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(BillError) as raised:
        mapping_of(text, "m.toml")
    assert says in str(raised.value)


def test_a_column_that_is_not_there_and_a_kind_that_is_not_mapped_are_named(tmp_path: Path) -> None:
    path = tmp_path / "invoice.csv"
    path.write_text("Date,Model,Kind,Tokens\n", encoding="utf-8")
    with pytest.raises(BillError, match="no column 'Cents'; there are Date, Model, Kind, Tokens"):
        read([path], mapping_of(MAPPING, "m.toml"))
    path.write_text("Date,Model,Kind,Tokens,Cents\n02/11/2026,m,Completion,1,1\n", encoding="utf-8")
    with pytest.raises(BillError, match=r"line 2: Kind is 'Completion'; add it to the mapping's \[meters\]"):
        read([path], mapping_of(MAPPING, "m.toml"))


@pytest.mark.parametrize(
    ("value", "per_usd", "expected"),
    [
        (0.1, 1, (100_000_000_000, 50_000_000_000)),
        ("1,234.5", 1, (1_234_500_000_000_000, 50_000_000_000)),
        (0.34090000000000004, 1, (340_900_000_000, 1)),  # a double's dust is below a pico-dollar
        ("0.0000000000005", 1, (0, 1)),
        ("0.0000000000015", 1, (2, 1)),
        (7, 100, (70_000_000_000, 5_000_000_000)),
    ],
)
def test_amounts_are_exact_to_the_pico_and_round_half_to_even(
    value: Any, per_usd: int, expected: tuple[int, int]
) -> None:
    assert pico(value, "here", per_usd=per_usd) == expected
