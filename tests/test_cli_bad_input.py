"""Bad input on the command line: each record rejected with its reason or priced with an anomaly, the rest untouched."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.readers.recordings import CHAT, CHAT_USD_PICO, cloud_event, lines, write
from tokenledger import cli

GOOD = lines(cloud_event({"provider": "openai", "response": CHAT}, "good"))


def usage(**counts: Any) -> str:
    """A line with other counts, numbers spelled as given."""
    stated = {"prompt_tokens": 1000, "completion_tokens": 200, "total_tokens": 1200} | counts
    return lines(cloud_event({"provider": "openai", "response": CHAT | {"usage": stated}}, "bad"))


def spelled(old: str, new: str) -> bytes:
    """The good line under another id, with one piece of its text replaced."""
    assert old in GOOD
    return GOOD.replace('"good"', '"bad"').replace(old, new).encode()


REJECTED: dict[str, tuple[str | bytes, str, str]] = {
    "truncated JSON": (GOOD[:200] + "\n", "invalid_json", ""),
    "NaN": (spelled("1000,", "NaN,"), "invalid_json", ""),
    "Infinity": (spelled("1000,", "Infinity,"), "invalid_json", ""),
    "invalid UTF-8": (spelled("rains", "XX").replace(b"XX", b"\xff\xfe"), "invalid_utf8", ""),
    "NUL byte": (spelled("rains", "XX").replace(b"XX", b"\x00"), "invalid_json", ""),
    "depth bomb": (b'{"response":' + b"[" * 100_000 + b"]" * 100_000 + b"}\n", "too_deep", ""),
    "negative": (usage(prompt_tokens=-1), "invalid_count", "usage.prompt_tokens"),
    "fractional": (usage(prompt_tokens=1.5), "invalid_count", "usage.prompt_tokens"),
    "text": (usage(prompt_tokens="1000"), "invalid_count", "usage.prompt_tokens"),
    "beyond 2^53": (usage(prompt_tokens=2**53 + 1), "invalid_count", "usage.prompt_tokens"),
    "1e400": (spelled("1000,", "1e400,"), "invalid_count", "usage.prompt_tokens"),
    "cached exceeds prompt": (usage(prompt_tokens_details={"cached_tokens": 1001}), "contradicting_usage", "usage"),
    "reasoning exceeds output": (
        usage(completion_tokens_details={"reasoning_tokens": 201}), "contradicting_usage", "usage",
    ),
    "unknown ce_type": (spelled("llm.call.v1", "llm.call.v9"), "unknown_type", "ce_type"),
    "null data": (lines(cloud_event({}, "bad") | {"data": None}), "tombstone", ""),
    "5 MB without a meaning": (lines({"id": "bad", "x" * 5_000_000: 1}), "too_large", ""),
}  # fmt: skip


def rows_of(capsys: pytest.CaptureFixture[str], path: str) -> tuple[int, list[dict[str, Any]]]:
    status = cli.main(["price", path, "--format", "jsonl"])
    return status, [json.loads(row) for row in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(("bad", "reason", "field"), REJECTED.values(), ids=REJECTED.keys())
def test_a_bad_record_is_rejected_with_its_reason_and_its_neighbours_are_priced(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, bad: str | bytes, reason: str, field: str
) -> None:
    content = GOOD.encode() + (bad.encode() if isinstance(bad, str) else bad)
    after = GOOD.replace('"good"', '"after"').replace("chatcmpl-A1", "chatcmpl-A2")

    status, rows = rows_of(capsys, write(tmp_path, "a.jsonl", content + after.encode()))

    assert status == 1
    assert [row.get("cost_usd_pico") for row in rows] == [str(CHAT_USD_PICO), None, str(CHAT_USD_PICO)]
    assert rows[1]["rejected"]["reason"] == reason
    assert field in rows[1]["rejected"]["field"]
    assert rows[1]["event_id"]
    assert "rains" not in json.dumps(rows[1])


PRICED: dict[str, tuple[str | bytes, str]] = {
    "totals that differ": (usage(total_tokens=1199), "total_mismatch"),
    "tokens nobody explains": (usage(total_tokens=5000), "unexplained_tokens"),
    "another tenant in the body": (
        lines(cloud_event({"provider": "openai", "response": CHAT, "tenant_id": "other"}, "bad")), "tenant_mismatch",
    ),
    "an end before the start": (
        lines(cloud_event({"provider": "openai", "response": CHAT, "started_at_us": 1_760_000_000_000_000,
                           "ended_at_us": 1_750_000_000_000_000}, "bad")), "ended_before_start",
    ),
    "an escaped NUL": (
        lines(cloud_event({"provider": "openai", "response": CHAT, "feature": "a\u0000b"}, "bad")), "text_bounded",
    ),
    "the year 9999": (
        lines(cloud_event({"provider": "openai", "response": CHAT, "started_at_us": 253_402_200_000_000_000}, "bad")),
        "time_clamped",
    ),
    "an unknown provider": (lines(cloud_event({"provider": "nobody", "response": CHAT}, "bad")), "unknown_provider"),
}  # fmt: skip


@pytest.mark.parametrize(("odd", "anomaly"), PRICED.values(), ids=PRICED.keys())
def test_an_odd_record_is_a_call_that_says_so(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, odd: str, anomaly: str
) -> None:
    status, [row] = rows_of(capsys, write(tmp_path, "a.jsonl", odd))

    assert status == 0
    assert anomaly in row["anomalies"]


def test_of_equal_keys_of_an_object_the_last_one_wins(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    line = spelled('"prompt_tokens": 1000,', '"prompt_tokens": 7, "prompt_tokens": 1000,')

    _, [row] = rows_of(capsys, write(tmp_path, "a.jsonl", line))

    assert row["usage"]["input.text"] == 1000


def test_a_long_answer_fits_the_limit_once_its_texts_are_gone(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    line = spelled("It rains in Ulm.", "It rains. " * 600_000)

    status, [row] = rows_of(capsys, write(tmp_path, "a.jsonl", line))

    assert (status, row["cost_usd_pico"]) == (0, str(CHAT_USD_PICO))


def test_a_missing_tenant_is_the_one_the_command_line_states(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = write(tmp_path, "a.jsonl", lines(cloud_event({"provider": "openai", "response": CHAT}, tenant=None)))

    cli.main(["price", path, "--format", "jsonl", "--tenant", "acme"])

    assert json.loads(capsys.readouterr().out)["tenant_id"] == "acme"
