"""What the router chose is kept once an operation, and the view says what the operation came to."""

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from infra.demo_asking import Ask, Heard, Question
from infra.demo_bill import bills, explained
from infra.demo_bill import escalated as find_escalated
from ledger import decisions
from ledger.private_postgres import Server
from serving.gateway.envelopes import raw_event
from serving.gateway.records import Intent, Outcome
from tests.ledger.books import Books
from tests.ledger.samples import NOW_US, RAW, call, decision, priced
from tests.serving.router.made import POLICY_TEXT
from tokenledger.cli import main
from tokenledger.pricing import packaged_book
from tokenledger.process import Context, process
from tokenledger.records import PricedCall
from tokenledger.records.decision import RouteDecision

_SECOND_US = 1_000_000


def attempt(number: int, role: str, *, tokens: int, reason: str | None = None, **changes: Any) -> PricedCall:
    """One attempt of operation op-1, `tokens` × 2,000 pico-USD dear, a second after the one before."""
    started_at_us = NOW_US + number * _SECOND_US
    first: RouteDecision | None = decision() if number == 1 else None
    stated = {
        "event_id": f"e{number}",
        "event_key": f"gw#e{number}",
        "operation_id": "op-1",
        "decision_id": "d-1",
        "attempt_no": number,
        "attempt_role": role,
        "attempt_reason": reason,
        "decision": first,
        "usage": {"output.text": tokens},
        "started_at_us": started_at_us,
        "ended_at_us": started_at_us + 400_000,
    }
    return priced(call(**(stated | changes)), offset=number)


def escalated() -> list[PricedCall]:
    """Small, a second opinion that disagrees, then large; 2 + 2 + 50 tokens."""
    return [
        attempt(1, "primary", tokens=2, route_tier="small"),
        attempt(2, "verify", tokens=2, route_tier="small"),
        attempt(3, "escalation", tokens=50, reason="disagreement", route_tier="large"),
    ]


def one_row(books: Books, *columns: str) -> tuple[Any, ...]:
    (row,) = books.all(f"SELECT {', '.join(columns)} FROM routing_decisions")  # noqa: S608 - column names of this file
    return row


def test_an_escalated_operation_shows_every_attempts_cost_against_the_expectation(books: Books) -> None:
    books.write(*escalated())

    found = one_row(
        books,
        *("tier", "reason", "mode", "propensity", "expected_cost_usd_pico", "strongest_cost_usd_pico"),
        *("incurred_cost_usd_pico", "saved_usd_pico", "attempts", "checks", "escalated", "escalation_reason"),
        *("served_tier", "total_us", "features", "losses"),
    )

    incurred = 54 * 2_000
    assert found == (
        *("small", "good_enough", "verify-first", 0.995, 1_000_000, 9_000_000),
        *(incurred, 9_000_000 - incurred, 3, 1, True, "disagreement"),
        *("large", 2_400_000, {"small.error_ratio": 0, "small.ttft_us_p95": None}),
        {"small": Decimal("0.02"), "large": 0},
    )


def test_a_speculation_that_served_is_the_escalation(books: Books) -> None:
    books.write(
        attempt(1, "primary", tokens=2, route_tier="small", served=False),
        attempt(2, "hedge", tokens=50, reason="speculation", route_tier="large", served=True),
    )

    found = one_row(books, "escalated", "escalation_reason", "served_tier", "attempts")

    assert found == (True, "speculation", "large", 2)


def test_a_speculation_that_was_not_needed_is_none(books: Books) -> None:
    books.write(
        attempt(1, "primary", tokens=2, route_tier="small", served=True),
        attempt(2, "hedge", tokens=50, reason="speculation", route_tier="large", served=False),
    )

    assert one_row(books, "escalated", "escalation_reason", "served_tier") == (False, None, "small")


def test_what_is_saved_is_unknown_while_one_attempts_cost_is(books: Books) -> None:
    first, *_ = escalated()
    unknown = attempt(2, "escalation", tokens=3, reason="format")
    books.write(first, priced(unknown.call, offset=2, cost_usd_pico=None))

    assert one_row(books, "incomplete_calls", "saved_usd_pico", "escalation_reason") == (1, None, "format")


def test_attempts_of_another_tenant_with_the_same_operation_are_none_of_this_one(books: Books) -> None:
    books.write(*escalated()[:1], attempt(2, "escalation", tokens=9, tenant_id="other"))

    assert one_row(books, "tenant_id", "attempts", "escalated") == ("acme", 1, False)


def test_a_decision_survives_a_better_record_of_the_same_call(books: Books) -> None:
    """The record in progress comes first and without it; the outcome replaces that record, and brings the decision."""
    outcome = attempt(1, "primary", tokens=2, route_tier="small")
    waiting = attempt(1, "primary", tokens=0, status="in_progress", usage={}, usage_source="none", decision=None)
    books.write(priced(waiting.call, offset=5))
    assert books.all("SELECT count(*) FROM routing_decisions") == [(0,)]
    books.write(outcome)

    assert one_row(books, "attempts", "served_tier", "features_age_us") == (1, "small", 60_000_000)


def test_decisions_are_read_back_for_judging_but_not_those_of_shadow_mode(books: Books) -> None:
    shadow = attempt(1, "primary", tokens=1, event_id="s1", event_key="gw#s1", operation_id="op-2",
                     decision=decision(decision_id="d-2", mode="shadow"))  # fmt: skip
    books.write(*escalated(), priced(shadow.call, offset=9))

    [found] = decisions.read(books.connection, since_us=0, route=None, most=10)

    assert found.decision == decision()
    assert (found.incurred_cost_usd_pico, found.escalated, found.total_us) == (54 * 2_000, True, 2_400_000)
    assert decisions.read(books.connection, since_us=0, route="another", most=10) == []
    assert decisions.read(books.connection, since_us=NOW_US + 3_600_000_000, route="chat", most=10) == []


def test_what_the_gateway_intends_and_learns_becomes_one_row_of_the_view(books: Books) -> None:
    """The whole path but the wires: intents and outcomes → envelopes → priced calls → ledger → view."""
    made = decision(decision_id="d-7", features={"prompt.chars": 40}, strongest_cost_usd_pico=200_000_000)
    attempts = [
        ("gpt-4.1-nano", "small", "primary", None, made),
        ("gpt-4.1", "frontier", "escalation", "format", None),
    ]
    records: list[PricedCall] = []
    for number, (model, tier, role, reason, stated) in enumerate(attempts, 1):
        intent = Intent(
            event_id=f"01-{number}", operation_id="op-7", attempt_no=number, attempt_role=role, tenant_id="acme",
            api_key_id="key", route="chat", route_tier=tier, decision_id="d-7", decision=stated, attempt_reason=reason,
            provider="openai", api="chat", request_model=model, deployment_id=tier, replica_id="127.0.0.1:1",
            stream=False, started_at_us=NOW_US + number, input_tokens_estimate=9, output_tokens_limit=9,
            reserved_usd_pico=9,
        )  # fmt: skip
        usage = {"prompt_tokens": 50, "completion_tokens": 5, "total_tokens": 55}
        reply = {"id": f"r-{number}", "object": "chat.completion", "model": model, "choices": [], "usage": usage}
        outcome = Outcome(event_id=intent.event_id, http_status=200, reply=msgspec.Raw(msgspec.json.encode(reply)),
                          ended_at_us=NOW_US + 10_000)  # fmt: skip
        for told in (None, outcome):
            raw = raw_event(intent, told, epoch="e1")
            place = {"topic": RAW, "offset": len(records), "append_at_us": NOW_US + 20_000}
            found = process(msgspec.structs.replace(raw, **place), Context(book=packaged_book()))
            assert isinstance(found, PricedCall)
            records.append(found)
    books.write(*records)

    # gpt-4.1-nano: 0.10 and 0.40 USD a million tokens; gpt-4.1: 2 and 8.
    incurred = 50 * 100_000 + 5 * 400_000 + 50 * 2_000_000 + 5 * 8_000_000
    assert one_row(
        books,
        *("operation_id", "incurred_cost_usd_pico", "saved_usd_pico", "escalation_reason", "served_tier", "features"),
    ) == ("op-7", incurred, 200_000_000 - incurred, "format", "frontier", {"prompt.chars": 40})
    assert books.all("SELECT count(*) FROM calls WHERE decision IS NOT NULL") == [(1,)]


def test_the_sql_of_the_routing_page_runs(books: Books) -> None:
    page = Path(__file__).parents[2] / "docs" / "routing.md"
    [statement] = re.findall(r"```sql\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    assert books.all(statement) == []


def test_records_with_decisions_can_lose_be_kept_as_witnesses_and_win_again(books: Books) -> None:
    """Winners and witnesses come back out of the database to be compared: a decision must survive that way too."""
    stated = [
        priced(attempt(1, "primary", tokens=tokens, revision=revision, route_tier="small").call, offset=revision)
        for revision, tokens in enumerate((2, 3, 4))
    ]
    for one in (stated[1], stated[0], stated[2]):
        books.write(one)

    assert one_row(books, "incurred_cost_usd_pico", "tier", "features_age_us") == (8_000, "small", 60_000_000)
    assert books.all("SELECT record -> 'call' -> 'decision' ->> 'decision_id' FROM witnesses") == [("d-1",), ("d-1",)]


def test_the_command_judges_another_policy_by_the_ledger(
    books: Books,
    server: Server,
    database: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    books.write(*escalated())
    monkeypatch.setenv("TOKENLEDGER_POSTGRES_SOCKET", str(server.folder))
    monkeypatch.setenv("TOKENLEDGER_POSTGRES_PORT", str(server.port))
    monkeypatch.setenv("TOKENLEDGER_POSTGRES_DATABASE", database)
    file = tmp_path / "other.toml"

    file.write_text(POLICY_TEXT + 'without_features = "prompt"\nexplore = 0.0\n', encoding="utf-8")
    assert main(["router", "judge", "--policy", str(file)]) == 0
    told = capsys.readouterr().out
    assert "1 decisions" in told
    assert "1.08e-07" in told  # 54 tokens of 2,000 pico-USD
    assert main(["router", "judge", "--policy", str(file), "--since", "2030-01-01"]) == 1


def test_the_demos_bill_is_what_the_ledger_says(books: Books, capsys: pytest.CaptureFixture[str]) -> None:
    """Two runs of one question each: one call of 90 tokens, and the escalated operation above."""
    asks = [Ask(question=Question(wordings=("What is 2 + 2?",), answer="4"))]
    runs = [Heard(name, asks, texts={0: "4"}, seconds={0: 0.5}) for name in ("frontier", "cascade")]
    plain = attempt(1, "primary", tokens=90, event_key="gw#p", operation_id="op-0", decision_id=None, decision=None,
                    user_id="r-frontier-0000")  # fmt: skip
    stated = [priced(replace(one.call, user_id="r-cascade-0000"), offset=one.offset + 10) for one in escalated()]
    books.write(plain, *stated)

    base, cascade = bills(books.connection, runs, run="r")

    assert (base.cost_usd_pico, cascade.cost_usd_pico) == (90 * 2_000, 54 * 2_000)
    assert (base.served, cascade.served) == ({"frontier": 1}, {"large": 1})
    explained(books.connection, find_escalated(books.connection, "acme"))
    told = capsys.readouterr().out
    assert "small because good_enough" in told
    assert "escalation, disagreement" in told
    assert "incurred 0.000000108000 USD" in told
