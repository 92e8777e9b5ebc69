"""`tokenledger explain` and `tokenledger models`: what a finance person can check by hand."""

import json
from pathlib import Path

import pytest

from tests.readers.recordings import CHAT, cloud_event, lines, write
from tokenledger import cli

Captured = pytest.CaptureFixture[str]


def test_a_cost_is_explained_line_by_line_and_adds_up(capsys: Captured, tmp_path: Path) -> None:
    counts = CHAT["usage"] | {"prompt_tokens_details": {"cached_tokens": 400}}
    call = cloud_event({"provider": "openai", "request_model": "gpt-4o-mini", "response": CHAT | {"usage": counts}})
    path = write(tmp_path, "a.jsonl", lines(call, call))

    status = cli.main(["explain", "e1", path])

    out = capsys.readouterr().out
    assert status == 0
    assert "asked for gpt-4o-mini, answered by gpt-4o-mini-2024-07-18" in out
    assert "600 input.text × 0.15 USD per million tokens = 0.000090000000 USD" in out
    assert "400 input.text.cache_read × 0.075 USD per million tokens = 0.000030000000 USD" in out
    assert "200 output.text × 0.6 USD per million tokens = 0.000120000000 USD" in out
    assert "= 0.000240000000 USD" in out
    assert f"Another record, {path} line 2, repeats it; it costs nothing more." in out
    assert "rains" not in out


def test_a_call_is_found_by_the_providers_id_and_a_contract_is_shown(capsys: Captured, tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", lines(cloud_event({"provider": "openai", "response": CHAT})))
    prices = write(tmp_path, "p.json", '{"contracts": [{"tenant": "acme", "discount_ppm": 500000}]}')

    cli.main(["explain", "chatcmpl-A1", path, "--prices", prices])

    out = capsys.readouterr().out
    assert "1,000 input.text × 0.075 USD per million tokens = 0.000075000000 USD" in out
    assert "contract; at list price 0.15 USD per million: 0.000150000000 USD" in out


def test_an_unknown_price_is_called_unknown(capsys: Captured, tmp_path: Path) -> None:
    reply = CHAT | {"model": "gpt-unheard-of"}
    path = write(tmp_path, "a.jsonl", lines(cloud_event({"provider": "openai", "response": reply})))

    cli.main(["explain", "e1", path])

    out = capsys.readouterr().out
    assert "the cost is unknown, not zero" in out
    assert "1,000 input.text: no price" in out
    assert "= unknown" in out


def test_a_rejected_record_is_explained_too(capsys: Captured, tmp_path: Path) -> None:
    usage = {"prompt_tokens": -1}
    path = write(tmp_path, "a.jsonl", lines(cloud_event({"provider": "openai", "response": CHAT | {"usage": usage}})))

    cli.main(["explain", "e1", path])

    assert "rejected, invalid_count" in capsys.readouterr().out


def test_an_id_that_no_record_has_is_status_1(capsys: Captured, tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", lines(cloud_event({"response": CHAT})))

    assert cli.main(["explain", "nobody", path]) == 1
    assert "no record has the id 'nobody'" in capsys.readouterr().err


def test_prices_are_listed_with_conditions_and_dates(capsys: Captured) -> None:
    assert cli.main(["models", "openai/gpt-4o-mini", "--format", "json"]) == 0

    prices = json.loads(capsys.readouterr().out)
    plain = {one["meter"]: one["rate_usd"] for one in prices if one["model"] == "gpt-4o-mini" and not one["condition"]}
    assert plain["input.text"] == "0.15"
    assert plain["output.text"] == "0.6"
    assert cli.main(["models", "gpt-4o-mini"]) == 0
    assert "gpt-4o-mini" in capsys.readouterr().out


def test_a_pattern_that_fits_nothing_is_status_1(capsys: Captured) -> None:
    assert cli.main(["models", "no-such-model"]) == 1
    assert "no price fits 'no-such-model'" in capsys.readouterr().err
