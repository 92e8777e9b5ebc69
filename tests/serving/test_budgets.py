"""Budgets: known cost never passes a limit in one process, and every call counts once, in memory or by the ledger."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.api_keys import Budget
from serving.gateway.accounting import OutboxAccounting
from serving.gateway.budgets import ASKED_AT_ONCE, Budgets, period_start_us
from serving.gateway.envelopes import raw_event
from serving.gateway.outbox import Outbox, OutboxLimits
from serving.gateway.records import Intent, Refusal
from serving.gateway.restoring import unsettled
from tests.serving.admissions import admission, key
from tests.serving.attempts import COST_USD_PICO, STARTED_AT_US, intent, outcome, reply
from tokenledger.pricing.bound import Bounds
from tokenledger.process import default_context, process
from tokenledger.records import PricedCall

_DAY_US = 86_400_000_000
_LIMITS = OutboxLimits(capacity_bytes=1 << 30, segment_bytes=1 << 20)


def _reserved(one: Intent, door: Any) -> Intent | None:
    """The intent with what was reserved for it, or None if it was refused."""
    amount = door.reserve(one)
    return None if isinstance(amount, Refusal) else msgspec.structs.replace(one, reserved_usd_pico=amount)


# Bounds


def test_the_bound_of_a_plain_model_is_its_price_for_the_most_tokens() -> None:
    door = admission([key()], limits=[(None, "day", 10**15)])
    amount = door.reserve(intent())
    assert isinstance(amount, int)
    # 0.15 USD a million tokens in (audio and writes have no price of their own there), 0.60 out; then rounding.
    assert COST_USD_PICO <= amount <= COST_USD_PICO + 1000


_MODELS = ("gpt-4o-mini", "gpt-4o", "gpt-5", "claude-sonnet-4-5", "gemini-2.5-pro", "text-embedding-3-small", "o3")


@settings(deadline=None)
@given(
    model=st.sampled_from(_MODELS),
    most=st.tuples(st.integers(0, 400_000), st.integers(0, 50_000)),
    shares=st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)),
)
def test_no_call_within_its_tokens_costs_more_than_its_bound(
    model: str, most: tuple[int, int], shares: tuple[float, float, float, float]
) -> None:
    provider = {"c": "anthropic", "g": "openai"}.get(model[0], "openai")
    provider = "gcp.gemini" if model.startswith("gemini") else provider
    one = intent(provider=provider, request_model=model, input_tokens_estimate=most[0], output_tokens_limit=most[1])
    prompt, cached = int(most[0] * shares[0]), int(most[0] * shares[0] * shares[1])
    answer = int(most[1] * shares[2])
    usage = {
        "prompt_tokens": prompt,
        "completion_tokens": answer,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": int(answer * shares[3])},
    }
    body = {"id": "r", "object": "chat.completion", "model": model, "choices": [], "usage": usage}
    ended = outcome(reply=msgspec.Raw(msgspec.json.encode(body)))
    priced = process(raw_event(one, ended, epoch="x"), default_context())
    assert isinstance(priced, PricedCall)
    asked = (one.tenant_id, provider, None, None, model, None, None, None, None, None, None, None, None)
    bound = Bounds(default_context().book).most_usd_pico(
        asked, at_us=one.started_at_us, input_tokens=most[0], output_tokens=most[1]
    )
    assert bound is not None
    assert priced.known_cost_usd_pico <= bound


def test_an_unpriced_model_goes_uncounted_or_is_refused_by_policy() -> None:
    unknown = intent(request_model="my-own-model", deployment_id="mine")
    assert admission([key()], limits=[(None, "day", 1)]).reserve(unknown) == 0
    refused = admission([key()], limits=[(None, "day", 1)], refuse_unpriced=True).reserve(unknown)
    assert isinstance(refused, Refusal)
    assert (refused.http_status, refused.code) == (403, "model_not_priced")
    # Without a budget there is nothing to hold.
    assert admission([key()], refuse_unpriced=True).reserve(unknown) == 0


# Overshoot


@pytest.mark.parametrize("affordable", [0, 1, 8, 37])
def test_a_hundred_concurrent_requests_spend_no_more_than_a_tiny_budget(tmp_path: Path, affordable: int) -> None:
    """Each may cost 210,000,000 pico-USD and does cost half of it; the budget has room for a few."""
    limit = affordable * (COST_USD_PICO + 200)
    door = admission([key()], limits=[("search", "day", limit), (None, "month", 10**15)])

    async def played() -> tuple[list[int], list[Refusal]]:
        outbox = Outbox(tmp_path, _LIMITS)
        await outbox.start()
        accounting = OutboxAccounting(outbox, door, context=default_context())
        door.epoch = outbox.epoch.name
        costs: list[int] = []
        refusals: list[Refusal] = []
        under_way: set[str] = set()

        async def request(number: int) -> None:
            one = intent(f"e{number}")
            amount = door.reserve(one)
            if isinstance(amount, Refusal):
                refusals.append(amount)
                return
            one = msgspec.structs.replace(one, reserved_usd_pico=amount)
            under_way.add(one.event_id)
            assert sum(costs) + len(under_way) * amount <= limit
            await accounting.intend(one)
            await asyncio.sleep(number % 7 / 1000)
            half = outcome(one.event_id, reply=reply(one.event_id, input_tokens=500, output_tokens=50))
            cost = accounting.settle(one, half)
            under_way.discard(one.event_id)
            assert cost is not None
            costs.append(cost)

        await asyncio.gather(*(request(number) for number in range(100)))
        # What was not used can be spent by who comes later, until not one more fits.
        number = 100
        while len(refusals) < 200 and number < 300:
            await request(number)
            number += 1
        await outbox.close()
        return costs, refusals

    costs, refusals = asyncio.run(played())
    assert sum(costs) <= limit
    assert limit - sum(costs) < COST_USD_PICO + 200  # refused only where the most it may cost does not fit
    assert {(one.http_status, one.code) for one in refusals} == {(429, "insufficient_quota")}
    assert {dict(one.headers)[b"x-should-retry"] for one in refusals} == {b"false"}
    assert len(costs) == max(2 * affordable - 1, 0)


def test_a_budget_of_a_feature_binds_that_feature_and_one_of_the_tenant_binds_all() -> None:
    door = admission([key()], limits=[("search", "day", 3 * 10**8), (None, "day", 5 * 10**8)])
    assert _reserved(intent("a"), door)
    refused = door.reserve(intent("b"))
    assert isinstance(refused, Refusal)
    assert "feature 'search'" in refused.message
    assert _reserved(intent("c", feature="chat"), door)
    refused = door.reserve(intent("d", feature=None))
    assert isinstance(refused, Refusal)
    assert "the tenant" in refused.message
    assert door.reserve(intent("e", tenant_id="umbrella")) == 0


def test_an_unknown_cost_stays_what_was_reserved_and_a_released_attempt_nothing(tmp_path: Path) -> None:
    budgets = Budgets()
    door = admission([key()], budgets=budgets, limits=[(None, "day", 10**15)])

    async def played() -> None:
        outbox = Outbox(tmp_path, _LIMITS)
        await outbox.start()
        door.epoch = outbox.epoch.name
        accounting = OutboxAccounting(outbox, door, context=default_context())
        lost = _reserved(intent("lost"), door)
        assert lost is not None
        await accounting.intend(lost)
        assert accounting.settle(lost, outcome("lost", reply=None, http_status=None, aborted=True)) is None
        assert list(budgets.used().values()) == [lost.reserved_usd_pico]
        refused = _reserved(intent("refused"), door)
        assert refused is not None
        await accounting.intend(refused)
        error = msgspec.Raw(b'{"error":{"message":"slow down","type":"rate_limit_error"}}')
        assert accounting.settle(refused, outcome("refused", http_status=429, reply=error)) == 0
        never = _reserved(intent("never"), door)
        assert never is not None
        door.release(never)
        door.release(never)
        assert list(budgets.used().values()) == [lost.reserved_usd_pico]
        await outbox.close()

    asyncio.run(played())


def test_an_attempt_cancelled_before_it_is_sent_leaves_an_outcome_that_cost_nothing(tmp_path: Path) -> None:
    door = admission([key()])

    async def played() -> None:
        outbox = Outbox(tmp_path, _LIMITS)
        await outbox.start()
        accounting = OutboxAccounting(outbox, door, context=default_context())
        waiting = asyncio.create_task(accounting.intend(intent()))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert outbox.open_intents == 0
        await outbox.close()

    asyncio.run(played())
    [attempt] = unsettled(tmp_path, own="another", context=default_context())
    assert attempt.amount_usd_pico == 0


# Periods


@pytest.mark.parametrize("now", ["2026-01-01", "2026-02-28T23:59:59.999999", "2024-02-29", "2026-12-31T23:59:59"])
def test_a_period_begins_at_midnight_utc_of_its_day_or_of_the_first_of_its_month(now: str) -> None:
    moment = datetime.fromisoformat(now).replace(tzinfo=UTC)
    at_us = round(moment.timestamp() * 1_000_000)
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    assert period_start_us("day", at_us) == round(day.timestamp()) * 1_000_000
    assert period_start_us("month", at_us) == round(day.replace(day=1).timestamp()) * 1_000_000


def test_a_new_day_has_the_whole_limit_and_a_late_settlement_counts_in_the_day_it_began() -> None:
    budgets = Budgets()
    door = admission([key()], budgets=budgets, limits=[(None, "day", 3 * 10**8)])
    late = _reserved(intent("late"), door)
    assert late is not None
    assert isinstance(door.reserve(intent("b")), Refusal)
    assert _reserved(intent("c", started_at_us=STARTED_AT_US + _DAY_US), door)
    door.settle(late, 7, tokens=None)
    used = {account.start_us: amount for account, amount in budgets.used().items()}
    assert used[period_start_us("day", STARTED_AT_US)] == 7


def test_more_attempts_than_one_question_holds_are_asked_about_in_turn() -> None:
    budgets = Budgets()
    budgets.set_limits([Budget(tenant_id="acme", period="month", limit_usd_pico=10**9)])
    names = [f"e{number}" for number in range(2 * ASKED_AT_ONCE + 500)]
    for name in names:
        assert budgets.reserve(name, 1, tenant_id="acme", feature=None, at_us=STARTED_AT_US) is None
        budgets.settle(name, 1)
    asked = [name for _ in range(3) for name, _ in budgets.settled()]
    assert len(asked) == 3 * ASKED_AT_ONCE
    assert set(asked) == set(names)
    budgets.charged([(name, True) for name in asked[:ASKED_AT_ONCE]])
    assert sum(budgets.used().values()) == len(names) - ASKED_AT_ONCE
