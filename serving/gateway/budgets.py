"""What tenants have spent against what they may, in memory: reserve before, settle after, agree with the ledger later.

An account's use is what the ledger has charged plus what it cannot know yet. An attempt is *held* from its reservation
until the ledger has its final record; a held amount is first the most the attempt can cost, then what it did cost. It
leaves in the same step in which the ledger's sum that contains it comes in, so nothing is counted twice or not at all.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from typing import Final, NamedTuple

from ledger.api_keys import Budget

_PERIODS_KEPT: Final = 3
_MOST_KEPT: Final = 4_096
ASKED_AT_ONCE: Final = 1_000
"""Attempts in one question to the ledger: all of an answer is taken over in one turn of the loop, so it is short."""


class AccountKey(NamedTuple):
    """One budget in one of its periods."""

    tenant_id: str
    feature: str | None
    period: str
    start_us: int


class Account:
    """What is used of one budget in one period, 10⁻¹² USD."""

    __slots__ = ("held_usd_pico", "key", "ledger_usd_pico", "unknown_usd_pico")

    def __init__(self, key: AccountKey) -> None:
        self.key = key
        self.ledger_usd_pico = 0
        self.held_usd_pico = 0
        self.unknown_usd_pico = 0

    @property
    def used_usd_pico(self) -> int:
        """Charged, held, and reserved for attempts whose cost nobody will know."""
        return self.ledger_usd_pico + self.held_usd_pico + self.unknown_usd_pico


class _Hold:
    """One attempt in the accounts it counts against."""

    __slots__ = ("accounts", "amount_usd_pico", "settled", "tenant_id")

    def __init__(self, tenant_id: str, accounts: tuple[Account, ...], *, amount_usd_pico: int) -> None:
        self.tenant_id = tenant_id
        self.accounts = accounts
        self.amount_usd_pico = amount_usd_pico
        self.settled = False


class Exhausted(NamedTuple):
    """The budget that does not have room."""

    budget: Budget
    used_usd_pico: int


class _Matching(NamedTuple):
    """What one tenant's feature counts against on one day."""

    day_no: int
    budgets: tuple[Budget, ...]
    accounts: tuple[Account, ...]


class Spent(NamedTuple):
    """Sums of the ledger in one quarter-hour; a change may be negative."""

    tenant_id: str
    feature: str | None
    at_us: int
    amount_usd_pico: int


class Budgets:
    """All accounts. Used from one thread."""

    def __init__(self) -> None:
        self._limits: dict[str, tuple[Budget, ...]] = {}
        self._accounts: dict[AccountKey, Account] = {}
        self._holds: dict[str, _Hold] = {}
        self._settled: dict[str, _Hold] = {}
        """Of these, those the ledger is asked about; the one it was not asked about for longest comes first."""
        self._today: dict[tuple[str, str | None], _Matching] = {}
        """Tenant and feature → what they count against, as long as the day lasts."""

    def set_limits(self, budgets: Iterable[Budget]) -> None:
        """These limits hold from now on; attempts under way count against the budgets there were."""
        limits: dict[str, list[Budget]] = {}
        for budget in budgets:
            limits.setdefault(budget.tenant_id, []).append(budget)
        self._limits = {tenant_id: tuple(held) for tenant_id, held in limits.items()}
        self._today.clear()

    def limited(self, tenant_id: str) -> bool:
        """Whether the tenant has a budget at all."""
        return tenant_id in self._limits

    def _account(self, budget: Budget, at_us: int) -> Account:
        key = AccountKey(budget.tenant_id, budget.feature, budget.period, period_start_us(budget.period, at_us))
        found = self._accounts.get(key)
        if found is None:
            found = self._accounts[key] = Account(key)
        return found

    def _matching(self, tenant_id: str, feature: str | None) -> list[Budget]:
        return [budget for budget in self._limits.get(tenant_id, ()) if budget.feature in {None, feature}]

    def _counted(self, tenant_id: str, feature: str | None, *, at_us: int) -> "_Matching":
        """What an attempt counts against: months and days alike begin with a day."""
        found = self._today.get((tenant_id, feature))
        if found is None or found.day_no != at_us // _DAY_US:
            if len(self._today) >= _MOST_KEPT:
                self._today.clear()
            budgets = tuple(self._matching(tenant_id, feature))
            accounts = tuple(self._account(budget, at_us) for budget in budgets)
            found = self._today[tenant_id, feature] = _Matching(at_us // _DAY_US, budgets, accounts)
        return found

    # Attempts

    def reserve(
        self, event_id: str, amount_usd_pico: int, *, tenant_id: str, feature: str | None, at_us: int
    ) -> Exhausted | None:
        """Holds the amount in every account it counts against; in none if one of them has no room for it."""
        _, budgets, accounts = self._counted(tenant_id, feature, at_us=at_us)
        for account, budget in zip(accounts, budgets, strict=True):
            if account.used_usd_pico + amount_usd_pico > budget.limit_usd_pico:
                return Exhausted(budget, account.used_usd_pico)
        for account in accounts:
            account.held_usd_pico += amount_usd_pico
        self._holds[event_id] = _Hold(tenant_id, accounts, amount_usd_pico=amount_usd_pico)
        return None

    def settle(self, event_id: str, cost_usd_pico: int | None) -> None:
        """The attempt came to its end: its cost is held instead, or still the reservation where that is not known."""
        hold = self._holds.get(event_id)
        if hold is None or hold.settled:
            return
        hold.settled = True
        if not hold.accounts:
            del self._holds[event_id]
            return
        self._settled[event_id] = hold
        if cost_usd_pico is not None:
            self._change(hold, cost_usd_pico)

    def release(self, event_id: str) -> None:
        """The attempt was never sent."""
        hold = self._holds.pop(event_id, None)
        if hold is not None:
            self._settled.pop(event_id, None)
            self._change(hold, 0)

    def restore(self, event_id: str, amount_usd_pico: int, *, tenant_id: str, feature: str | None, at_us: int) -> None:
        """Holds what an earlier process spent or reserved and the ledger may not have yet, room or not."""
        accounts = tuple(self._account(budget, at_us) for budget in self._matching(tenant_id, feature))
        if not accounts or event_id in self._holds:
            return
        hold = self._holds[event_id] = self._settled[event_id] = _Hold(tenant_id, accounts, amount_usd_pico=0)
        hold.settled = True
        self._change(hold, amount_usd_pico)

    def _change(self, hold: _Hold, amount_usd_pico: int) -> None:
        for account in hold.accounts:
            account.held_usd_pico += amount_usd_pico - hold.amount_usd_pico
        hold.amount_usd_pico = amount_usd_pico

    # The ledger

    def settled(self) -> list[tuple[str, str]]:
        """Event and tenant of attempts to ask the ledger about: those that were not asked about for longest."""
        asked = list(islice(self._settled.items(), ASKED_AT_ONCE))
        if len(asked) < len(self._settled):
            for event_id, hold in asked:
                del self._settled[event_id]
                self._settled[event_id] = hold
        return [(event_id, hold.tenant_id) for event_id, hold in asked]

    def replace(self, spent: Iterable[Spent], now_us: int) -> None:
        """The ledger's sums since the month began, whole."""
        for account in self._accounts.values():
            account.ledger_usd_pico = 0
        for budgets in self._limits.values():
            for budget in budgets:
                self._account(budget, now_us)
        self.add(spent)

    def add(self, spent: Iterable[Spent]) -> None:
        """What the ledger charged since it was last asked."""
        for change in spent:
            for budget in self._matching(change.tenant_id, change.feature):
                self._account(budget, change.at_us).ledger_usd_pico += change.amount_usd_pico

    def charged(self, final: Iterable[tuple[str, bool]]) -> None:
        """The ledger has the final record of these events; whether with a known cost. Goes with `add` or `replace`."""
        freed_usd_pico: dict[tuple[Account, ...], int] = {}
        for event_id, cost_known in final:
            hold = self._holds.pop(event_id, None)
            if hold is None:
                continue
            self._settled.pop(event_id, None)
            if not cost_known:
                for account in hold.accounts:
                    account.unknown_usd_pico += hold.amount_usd_pico
            freed_usd_pico[hold.accounts] = freed_usd_pico.get(hold.accounts, 0) + hold.amount_usd_pico
        for accounts, amount_usd_pico in freed_usd_pico.items():
            for account in accounts:
                account.held_usd_pico -= amount_usd_pico

    def forget(self, now_us: int) -> None:
        """Periods that are over and hold nothing are gone."""
        for key, account in list(self._accounts.items()):
            if not account.held_usd_pico and key.start_us < _long_ago_us(key.period, now_us):
                del self._accounts[key]
                self._today.clear()

    def used(self) -> dict[AccountKey, int]:
        """What is used of each account."""
        return {key: account.used_usd_pico for key, account in self._accounts.items()}


def period_start_us(period: str, at_us: int) -> int:
    """When the UTC day or month of an instant began."""
    if period == "day":
        return at_us - at_us % _DAY_US
    return _month_start_us(at_us // _DAY_US)


@lru_cache(maxsize=64)
def _month_start_us(day_no: int) -> int:
    moment = datetime.fromtimestamp(day_no * 86_400, UTC)
    return int(datetime(moment.year, moment.month, 1, tzinfo=UTC).timestamp()) * 1_000_000


_DAY_US: Final = 86_400_000_000


def _long_ago_us(period: str, now_us: int) -> int:
    span_us = _DAY_US if period == "day" else 31 * _DAY_US
    return now_us - _PERIODS_KEPT * span_us
