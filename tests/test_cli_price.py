"""`tokenledger price`: every record has one outcome, every format says the same, exit statuses mean what is written."""

import csv
import io
import json
import random
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest

from tests.readers.recordings import (
    CHAT,
    CHAT_USD_PICO,
    MESSAGE,
    MESSAGE_USD_PICO,
    SSE,
    cassette_yaml,
    cloud_event,
    lines,
    write,
)
from tokenledger import cli
from tokenledger.commands.cost_table import parse_by, places_for, share, usd
from tokenledger.commands.outcomes import Outcome, Run
from tokenledger.merge import candidate, resolve
from tokenledger.process import default_context, process
from tokenledger.records import PricedCall, RawEvent

Captured = pytest.CaptureFixture[str]


def event(number: int, *, tenant: str = "acme", **changes: Any) -> dict[str, Any]:
    """An OpenAI call of its own, as a CloudEvent."""
    reply = CHAT | {"id": f"chatcmpl-{number}"} | changes.pop("reply", {})
    data = {"provider": "openai", "response": reply, "feature": f"f{number % 2}"} | changes
    return cloud_event(data, f"e{number}", tenant)


def price(capsys: Captured, *arguments: str) -> tuple[int, str, str]:
    status = cli.main(["price", *arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def rows_of(capsys: Captured, *arguments: str) -> list[dict[str, Any]]:
    _, out, _ = price(capsys, *arguments, "--format", "jsonl")
    return [json.loads(row) for row in out.splitlines()]


def summary_of(capsys: Captured, *arguments: str) -> dict[str, Any]:
    _, out, _ = price(capsys, *arguments, "--format", "json")
    summary: dict[str, Any] = json.loads(out)
    return summary


def test_the_table_shows_each_model_the_totals_and_the_fate_of_every_record(capsys: Captured, tmp_path: Path) -> None:
    unknown = event(3, reply={"model": "gpt-unheard-of"})
    path = write(tmp_path, "a.jsonl", lines(event(1), event(1), event(2), unknown, {"hello": "world"}))

    status, out, _ = price(capsys, path)

    assert status == 1
    assert re.search(r"openai\s+gpt-4o-mini\s+2\s+2,000\s+400\s+0\.0 %\s+0\.00054\s+0\s+0\s+0", out)
    assert re.search(r"openai\s+gpt-unheard-of\s+1\s+1,000\s+200\s+0\.0 %\s+unknown\s+1\s+0", out)
    assert re.search(r"total\s+3\s+3,000\s+600\s+0\.0 %\s+≥ 0\.00054\s+1\s+1\s+0", out)
    assert "5 records found = 3 calls + 1 duplicates + 0 superseded + 1 rejected" in out
    assert "66.6 % of 3 calls have a known cost" in out


def test_every_format_tells_of_the_same_money(capsys: Captured, tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "a.jsonl",
        lines(event(1), event(2), cloud_event({"provider": "anthropic", "response": MESSAGE}, "m1")),
    )
    expected = {"openai": 2 * CHAT_USD_PICO, "anthropic": MESSAGE_USD_PICO}

    in_json = {row["provider"]: int(row["known_cost_usd_pico"]) for row in summary_of(capsys, path)["rows"]}
    rows = rows_of(capsys, path)
    _, text, _ = price(capsys, path, "--format", "csv", "--by", "provider")
    in_csv = {row["provider"]: int(row["known_cost_usd_pico"]) for row in csv.DictReader(io.StringIO(text))}
    out = tmp_path / "calls.parquet"
    price(capsys, path, "--format", "parquet", "--out", str(out))
    table = pq.read_table(out).to_pylist()

    assert in_json == expected
    assert in_csv == expected
    for calls in (rows, table):
        assert {
            name: sum(int(row["cost_usd_pico"]) for row in calls if row["provider"] == name) for name in expected
        } == expected
    assert table[0]["usage"] == [("input.text", 1000), ("output.text", 200)]


CONTRACT = (
    "source_file", "line", "event_id", "keys", "tenant_id", "provider", "api", "request_model",
    "response_model", "priced_model", "status", "http_status", "service_tier_served", "started_at_us", "usage",
    "input_tokens", "output_tokens", "cost_usd_pico", "known_cost_usd_pico", "billed_usd_pico", "computed_usd_pico",
    "claimed_usd_pico", "price_status", "rate_fallbacks", "anomalies", "usage_reading", "lines", "latency",
)  # fmt: skip
LINE_CONTRACT = ("meter", "quantity", "list_pico", "contracted_pico", "amount_usd_pico", "price_id", "matched")


def test_a_line_of_jsonl_keeps_the_contract(capsys: Captured, tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", lines(event(1, http_status=200, claimed_usd=0.5)))

    [row] = rows_of(capsys, path)

    assert [name for name in CONTRACT if name not in row] == []
    assert [name for name in LINE_CONTRACT if name not in row["lines"][0]] == []
    assert (row["source_file"], row["line"], row["event_id"], row["tenant_id"]) == (path, 1, "e1", "acme")
    assert row["usage"] == {"input.text": 1000, "output.text": 200}
    assert row["keys"][0].endswith("#e1")
    assert (row["cost_usd_pico"], row["claimed_usd_pico"], row["billed_usd_pico"]) == (
        "270000000",
        "500000000000",
        None,
    )
    assert [(line["meter"], line["quantity"], line["amount_usd_pico"]) for line in row["lines"]] == [
        ("input.text", 1000, "150000000"),
        ("output.text", 200, "120000000"),
    ]


def test_a_call_without_a_price_has_no_cost_rather_than_zero(capsys: Captured, tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", lines(event(1, reply={"model": "gpt-unheard-of"})))

    [row] = rows_of(capsys, path)

    assert (row["price_status"], row["cost_usd_pico"], row["computed_usd_pico"]) == ("unpriced", None, None)
    assert row["known_cost_usd_pico"] == "0"


def test_rows_keep_the_order_of_the_input_and_say_what_was_rejected(capsys: Captured, tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", lines(event(1)) + '{"id": "cut\n' + lines(event(2)))

    rows = rows_of(capsys, path)

    assert [row["line"] for row in rows] == [1, 2, 3]
    assert rows[1]["rejected"]["reason"] == "invalid_json"
    assert rows[1]["rejected"].keys() == {"reason", "field", "detail"}
    assert rows[1]["event_id"]


def test_of_the_records_of_one_call_the_one_that_says_most_is_shown(capsys: Captured, tmp_path: Path) -> None:
    first_snapshot = event(1, reply={"usage": {"prompt_tokens": 1000, "completion_tokens": 5, "total_tokens": 1005}})
    path = write(tmp_path, "a.jsonl", lines(first_snapshot, event(1), event(1)))

    merged = rows_of(capsys, path)
    every = rows_of(capsys, path, "--no-merge")

    assert [(row["line"], row["outcome"]) for row in merged] == [(2, "call")]
    assert [row["outcome"] for row in every] == ["superseded", "call", "duplicate"]


def test_a_table_without_merging_marks_each_outcome(capsys: Captured, tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", lines(event(1), event(1), event(2)))

    summary = summary_of(capsys, path, "--no-merge", "--by", "provider")

    assert {row["outcome"]: row["calls"] for row in summary["rows"]} == {"call": 2, "duplicate": 1}


def test_two_replies_under_one_event_id_are_two_calls_and_both_are_flagged(capsys: Captured, tmp_path: Path) -> None:
    other = event(1, reply={"id": "chatcmpl-other"})
    path = write(tmp_path, "a.jsonl", lines(event(1), other))

    rows = rows_of(capsys, path)
    [group] = summary_of(capsys, path)["rows"]

    assert [row["anomalies"] for row in rows] == [["id_reuse"], ["id_reuse"]]
    assert (group["calls"], group["anomalies"]) == (2, 2)


def test_one_reply_read_from_two_files_is_one_call(capsys: Captured, tmp_path: Path) -> None:
    write(tmp_path, "a.yaml", cassette_yaml(json.dumps(CHAT).encode()))
    write(tmp_path, "b/copy.json", json.dumps(CHAT))

    summary = summary_of(capsys, str(tmp_path), "--provider", "openai")

    assert summary["records"] == {"found": 2, "calls": 1, "duplicates": 0, "superseded": 1, "rejected": 0}


def test_groups_follow_the_dimensions_that_were_asked_for(capsys: Captured, tmp_path: Path) -> None:
    day = 86_400_000_000
    rows = [event(at, tenant=f"t{at % 2}", started_at_us=1_760_000_000_000_000 + at * day) for at in range(4)]
    path = write(tmp_path, "a.jsonl", lines(*rows))

    summary = summary_of(capsys, path, "--by", "tenant,feature,day")

    assert summary["by"] == ["tenant", "feature", "day"]
    assert sorted((row["tenant"], row["feature"], row["day"], row["calls"]) for row in summary["rows"]) == [
        ("t0", "f0", "2025-10-09", 1),
        ("t0", "f0", "2025-10-11", 1),
        ("t1", "f1", "2025-10-10", 1),
        ("t1", "f1", "2025-10-12", 1),
    ]


def test_own_prices_and_contracts_come_from_a_file(capsys: Captured, tmp_path: Path) -> None:
    prices = write(
        tmp_path,
        "prices.yaml",
        "prices:\n- {provider: openai, model: gpt-unheard-of, usd_per_million: {input.text: 2, output.text: 10}}\n"
        "contracts:\n- {tenant: acme, provider: openai, discount_ppm: 100000}\n",
    )
    path = write(tmp_path, "a.jsonl", lines(event(1, reply={"model": "gpt-unheard-of"})))

    [row] = rows_of(capsys, path, "--prices", prices)

    # 1000 × 2 + 200 × 10 USD per million is 0.004 USD; a tenth off leaves 0.0036.
    assert row["cost_usd_pico"] == "3600000000"
    assert sum(int(line["list_amount_usd_pico"]) for line in row["lines"]) == 4_000_000_000


def test_what_was_not_known_yet_does_not_price(capsys: Captured, tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", lines(event(1)))

    [row] = rows_of(capsys, path, "--known-at", "2020-01-01")

    assert row["price_status"] == "unpriced"


def test_all_understood_is_status_0_and_anything_else_is_1(capsys: Captured, tmp_path: Path) -> None:
    good = write(tmp_path, "good.jsonl", lines(event(1)))
    empty = write(tmp_path, "empty.jsonl", "")

    assert price(capsys, good)[0] == 0
    status, out, _ = price(capsys, good, empty)
    assert status == 1
    assert f"not read: {empty}: empty" in out.replace("\n", "")


WRONG: dict[str, list[str]] = {
    "no such file": ["nowhere.jsonl"],
    "no such dimension": ["{good}", "--by", "colour"],
    "sums as lines": ["{good}", "--by", "tenant", "--format", "jsonl"],
    "parquet without a file": ["{good}", "--format", "parquet"],
    "no prices file": ["{good}", "--prices", "nowhere.yaml"],
    "unusable prices": ["{good}", "--prices", "{good}"],
    "no instant": ["{good}", "--known-at", "yesterday"],
}


@pytest.mark.parametrize("arguments", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_question_is_status_2_with_a_sentence(capsys: Captured, tmp_path: Path, arguments: list[str]) -> None:
    good = write(tmp_path, "good.jsonl", lines(event(1)))

    status, out, err = price(capsys, *(word.format(good=good) for word in arguments))

    assert (status, out) == (2, "")
    assert err.startswith("tokenledger price: ")


def test_a_file_that_is_written_appears_whole(capsys: Captured, tmp_path: Path) -> None:
    path, out = write(tmp_path, "a.jsonl", lines(event(1))), tmp_path / "rows.jsonl"

    _, printed, err = price(capsys, path, "--format", "jsonl", "--out", str(out))

    assert printed == ""
    assert "1 records found = 1 calls" in err
    assert json.loads(out.read_bytes())["event_id"] == "e1"
    assert not out.with_name("rows.jsonl.partial").exists()


@pytest.mark.slow
@pytest.mark.slow
def test_the_command_runs_as_a_program_and_prompts_are_never_printed(tmp_path: Path) -> None:
    write(tmp_path, "a.json", json.dumps(CHAT))
    write(tmp_path, "b.sse", SSE)
    write(tmp_path, "c.json", '{"content": "It rains in Ulm.')
    for output_format in ("table", "json", "jsonl", "csv"):
        command = [sys.executable, "-m", "tokenledger.cli", "price", str(tmp_path), "--format", output_format]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 1, done.stderr
        assert "rains" not in done.stdout + done.stderr


def priced_calls(count: int) -> list[PricedCall]:
    """Calls of which many share one key or another."""
    chance = random.Random(5)  # noqa: S311 - the same calls each time
    calls = []
    for number in range(count):
        reply = CHAT | {"id": chance.choice([f"chatcmpl-{chance.randrange(count // 2)}", ""])}
        reply["usage"] = {"prompt_tokens": chance.randrange(3), "completion_tokens": 1}
        headers = {
            "ce_id": f"e{chance.randrange(count // 2)}".encode(), "ce_source": b"s",
            "ce_tenantid": chance.choice([b"a", b"b"]), "ce_type": b"llm.call.v1",
        }  # fmt: skip
        value = json.dumps({"provider": "openai", "response": reply}).encode()
        result = process(RawEvent(value=value, headers=headers, offset=number, append_at_us=7), default_context())
        assert isinstance(result, PricedCall)
        calls.append(result)
    return calls


@pytest.mark.parametrize("spill_above_bytes", [0, 1 << 30])
def test_outcomes_are_those_of_the_merge_law_wherever_the_records_wait(spill_above_bytes: int) -> None:
    calls = priced_calls(600)
    expected = {}
    for resolved in resolve(candidate(call) for call in calls):
        expected[resolved.winner.record.offset] = Outcome.CALL
        expected |= {one.record.offset: Outcome.SUPERSEDED for one in resolved.losers}
        expected |= {one.record.offset: Outcome.DUPLICATE for one in resolved.duplicates}

    run = Run(spill_above_bytes)
    for call in calls:
        run.add_call(call, str(call.offset).encode())
    outcomes = run.settle()

    assert list(outcomes) == [expected[at] for at in range(600)]
    assert len(set(expected.values())) == 3
    assert [int(payload) for payload in run.payloads()] == list(range(600))
    assert run.payload(77) == b"77"
    run.close()


def test_a_record_costs_at_most_120_bytes_of_memory() -> None:
    [call] = priced_calls(2)[:1]
    count = 20_000
    calls = [
        msgspec.structs.replace(call, call=msgspec.structs.replace(call.call, event_key=f"s#{at}", response_key=None))
        for at in range(count)
    ]
    run = Run(spill_above_bytes=0)

    tracemalloc.start()
    for one in calls:
        run.add_call(one, b"x" * 200)
    run.settle()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak / count <= 120
    run.close()


def test_amounts_round_half_to_even_and_show_two_digits_of_the_smallest() -> None:
    assert [usd(amount, 2) for amount in (5_000_000_000, 15_000_000_000, -1_234_567_890_000_000)] == [
        "0.00",
        "0.02",
        "-1,234.57",
    ]
    assert [places_for([amount]) for amount in (0, 10**12, 270_000_000, 1)] == [2, 2, 5, 9]
    assert (share(1, 3), share(999_999, 1_000_000), share(0, 0)) == ("33.3 %", "99.9 %", "—")
    assert parse_by("tenant, tag:team") == ("tenant", "tag:team")
