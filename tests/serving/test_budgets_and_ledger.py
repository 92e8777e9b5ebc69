"""Budgets and the ledger agree: an attempt counts once, in memory or by the ledger, and so it does after a restart."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ledger import api_keys
from ledger.api_keys import Budget
from ledger.database import connect
from ledger.private_postgres import Server
from serving.gateway import spending
from serving.gateway.accounting import OutboxAccounting
from serving.gateway.budgets import Budgets, Spent
from serving.gateway.envelopes import event_key, orphaned, raw_event
from serving.gateway.outbox import Outbox, OutboxLimits
from serving.gateway.records import Intent, Outcome, Refusal
from serving.gateway.restoring import unsettled
from tests.ledger.books import Books
from tests.ledger.conftest import books, database, server, template
from tests.serving.admissions import NOW_US, Clock, admission, key
from tests.serving.attempts import COST_USD_PICO, STARTED_AT_US, intent, outcome
from tokenledger.process import default_context, process
from tokenledger.records import PricedCall

pytestmark = pytest.mark.slow

__all__ = ["books", "database", "server", "template"]

_LIMITS = OutboxLimits(capacity_bytes=1 << 30, segment_bytes=1 << 20)


def _reserved(one: Intent, door: Any) -> Intent | None:
    """The intent with what was reserved for it, or None if it was refused."""
    amount = door.reserve(one)
    return None if isinstance(amount, Refusal) else msgspec.structs.replace(one, reserved_usd_pico=amount)


class AgreesWithTheLedger(RuleBasedStateMachine):
    """Attempts come and go and the ledger takes them in at its own pace; an account always holds each exactly once."""

    def __init__(self) -> None:
        super().__init__()
        self.budgets = Budgets()
        self.budgets.set_limits([Budget(tenant_id="acme", period="month", limit_usd_pico=1000)])
        self.attempts: dict[str, int] = {}
        self.unsettled: list[str] = []
        self.unknown: set[str] = set()
        self.unledgered: list[str] = []
        self.unseen: list[Spent] = []
        self.final: list[tuple[str, bool]] = []
        self.number = 0

    @rule(amount=st.integers(0, 400))
    def reserve(self, amount: int) -> None:
        self.number += 1
        name = f"e{self.number}"
        room = sum(self.attempts.values()) + amount <= 1000
        full = self.budgets.reserve(name, amount, tenant_id="acme", feature=None, at_us=NOW_US)
        assert (full is None) == room
        if full is None:
            self.attempts[name] = amount
            self.unsettled.append(name)

    @rule(part=st.floats(0, 1), known=st.booleans())
    def settle(self, part: float, known: bool) -> None:  # noqa: FBT001
        if self.unsettled:
            name = self.unsettled.pop(0)
            cost = int(self.attempts[name] * part) if known else None
            self.budgets.settle(name, cost)
            if cost is None:
                self.unknown.add(name)
            else:
                self.attempts[name] = cost
            self.unledgered.append(name)

    @rule()
    def release(self) -> None:
        if self.unsettled:
            name = self.unsettled.pop()
            self.budgets.release(name)
            del self.attempts[name]

    @rule()
    def the_ledger_takes_one_in(self) -> None:
        if self.unledgered:
            name = self.unledgered.pop(0)
            known = name not in self.unknown
            self.unseen.append(Spent("acme", None, NOW_US, self.attempts[name] if known else 0))
            self.final.append((name, known))

    @rule(whole=st.booleans())
    def look(self, whole: bool) -> None:  # noqa: FBT001
        asked = {name for name, _ in self.budgets.settled()}
        if whole:
            charged = [amount for name, amount in self.attempts.items() if self._charged(name)]
            self.budgets.replace([Spent("acme", None, NOW_US, sum(charged))], NOW_US)
        else:
            self.budgets.add(self.unseen)
        self.unseen.clear()
        self.budgets.charged([(name, known) for name, known in self.final if name in asked])

    def _charged(self, name: str) -> bool:
        return any(name == one and known for one, known in self.final)

    @invariant()
    def each_counts_once(self) -> None:
        used = self.budgets.used()
        assert sum(used.values()) == sum(self.attempts.values())


TestAgreesWithTheLedger = AgreesWithTheLedger.TestCase
TestAgreesWithTheLedger.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def _ledgered(one: Intent, ended: Outcome | None, *, offset: int) -> PricedCall:
    raw = raw_event(one, ended, epoch="x")
    at = msgspec.structs.replace(raw, topic="llm.raw.v1", offset=offset, append_at_us=STARTED_AT_US + 1_000_000)
    priced = process(at, default_context())
    assert isinstance(priced, PricedCall)
    return priced


def test_the_ledgers_sums_and_the_attempts_in_them_come_from_one_snapshot(
    server: Server, database: str, books: Books
) -> None:
    """In progress, a call is charged nothing and still held; ended, it is charged and held no more; once each."""
    with connect(server.settings(database, user="keeper"), application="test") as keeper:
        api_keys.set_budget(keeper, Budget(tenant_id="acme", period="month", limit_usd_pico=10**15), now_us=1)
    budgets = Budgets()
    door = admission([key()], budgets=budgets, limits=[(None, "month", 10**15)], clock=Clock())
    attempts = [_reserved(intent(name), door) for name in ("told", "orphan", "under_way")]
    told, orphan, under_way = (one for one in attempts if one is not None)
    door.settle(told, COST_USD_PICO, tokens=1100)
    door.settle(orphan, None, tokens=None)
    held = COST_USD_PICO + orphan.reserved_usd_pico + under_way.reserved_usd_pico
    since_us = None

    def look() -> int:
        nonlocal since_us
        with connect(server.settings(database, user="gateway"), application="test") as connection:
            charges = spending.charges(
                connection, budgets.settled(), since_us=since_us, tenants=["acme"], now_us=STARTED_AT_US
            )
        if charges.whole:
            budgets.replace(charges.spent, STARTED_AT_US)
        else:
            budgets.add(charges.spent)
        budgets.charged(charges.final)
        since_us = charges.posted_at_us
        [used] = budgets.used().values()
        return used

    books.write(*(_ledgered(one, None, offset=number) for number, one in enumerate((told, orphan, under_way))))
    assert look() == held
    assert len(budgets.settled()) == 2
    books.write(_ledgered(told, outcome("told"), offset=3))
    assert look() == held
    assert [name for name, _ in budgets.settled()] == [event_key("x", "orphan")]
    books.write(_ledgered(orphan, orphaned(orphan), offset=4))
    assert look() == held
    assert budgets.settled() == []
    # A late truth about another call, charged by no gateway of ours.
    books.write(_ledgered(intent("elsewhere"), outcome("elsewhere"), offset=5))
    assert look() == held + COST_USD_PICO
    since_us = None
    assert look() == held + COST_USD_PICO


def test_a_gateway_that_starts_again_knows_what_was_spent_and_counts_nothing_twice(
    server: Server, database: str, books: Books, tmp_path: Path
) -> None:
    async def before() -> str:
        outbox = Outbox(tmp_path, _LIMITS)
        await outbox.start()
        door = admission([key()], limits=[(None, "month", 10**15)])
        door.epoch = outbox.epoch.name
        accounting = OutboxAccounting(outbox, door, context=default_context())
        for name in ("ledgered", "shipped", "open"):
            one = _reserved(intent(name), door)
            assert one is not None
            await accounting.intend(one)
            if name != "open":
                accounting.settle(one, outcome(name))
        await outbox.close()
        return outbox.epoch.name

    epoch = asyncio.run(before())
    raw = raw_event(intent("ledgered"), outcome("ledgered"), epoch=epoch)
    at = msgspec.structs.replace(raw, topic="llm.raw.v1", append_at_us=STARTED_AT_US + 1)
    priced = process(at, default_context())
    assert isinstance(priced, PricedCall)
    books.write(priced)
    budgets = Budgets()
    budgets.set_limits([Budget(tenant_id="acme", period="month", limit_usd_pico=10**15)])
    for one in unsettled(tmp_path, own="me", context=default_context()):
        budgets.restore(
            one.event_key, one.amount_usd_pico, tenant_id=one.tenant_id, feature=one.feature, at_us=one.at_us
        )
    with connect(server.settings(database, user="gateway"), application="test") as connection:
        charges = spending.charges(connection, budgets.settled(), since_us=None, tenants=["acme"], now_us=STARTED_AT_US)
    budgets.replace(charges.spent, STARTED_AT_US)
    budgets.charged(charges.final)
    [used] = budgets.used().values()
    bound = admission([key()], limits=[(None, "month", 10**15)]).reserve(intent())
    assert isinstance(bound, int)
    assert used == COST_USD_PICO + COST_USD_PICO + bound
