"""The gateway's accounting and admission, opened together: one outbox, one price book, one set of keys and budgets.

`async with opened(settings) as books:` in the process's wiring; `books.accounting` and `books.admission` are what the
hot path calls, on the event loop that opened them.
"""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg

from ledger.api_keys import read_secret, secret_file
from ledger.database import Connection, TooPowerfulError, connect
from ledger.observing import logger
from ledger.prices.following import Following
from ledger.settings import Settings as LedgerSettings
from serving.gateway import spending
from serving.gateway.account_metrics import BOOK_AGE, OPEN_INTENTS, OUTBOX_ROOM, REFRESHED, REFRESHES
from serving.gateway.accounting import OutboxAccounting
from serving.gateway.admission import KeyedAdmission
from serving.gateway.budgets import ASKED_AT_ONCE, Budgets
from serving.gateway.outbox import Outbox, OutboxLimits
from serving.gateway.records import Accounting, Admission
from serving.gateway.restoring import unsettled
from serving.gateway.spending import Access
from tokenledger.pricing.bound import Bounds
from tokenledger.process import Context, default_context

log = logger("serving.gateway.books")

MIB: Final = 1024 * 1024
_CATCHING_UP_MS: Final = 50
_BOOK_WITHIN_S: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BooksSettings:
    """What accounting and admission of one gateway process need to know."""

    outbox_folder: Path
    """Where intents and outcomes are kept until they are shipped; one folder for all gateway processes of a machine."""
    outbox_capacity_bytes: int
    """The most the outbox may take of the disk, all processes together."""
    outbox_segment_bytes: int
    """Size of one segment file."""
    key_secret_file: Path
    """The secret that keys are hashed with, 32 bytes or more, readable by its owner alone."""
    refuse_unpriced: bool
    """Whether a tenant with a budget may not call models the book has no price for."""
    refresh_interval_ms: int
    """Pause between two looks at keys, budgets and spending."""
    ledger: LedgerSettings
    """Where Postgres is; logs in as role `gateway`."""
    prices: LedgerSettings | None
    """Where the price book is followed, as role `pricing`; None prices by the packaged one."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "BooksSettings":
        """Read `TOKENLEDGER_…`."""
        root = Path(environment.get("TOKENLEDGER_STACK_ROOT", ".local/stack"))
        folder = environment.get("TOKENLEDGER_OUTBOX_FOLDER")
        return cls(
            outbox_folder=Path(folder) if folder else root / "data" / "outbox",
            outbox_capacity_bytes=int(environment.get("TOKENLEDGER_OUTBOX_CAPACITY_BYTES", str(1024 * MIB))),
            outbox_segment_bytes=int(environment.get("TOKENLEDGER_OUTBOX_SEGMENT_BYTES", str(8 * MIB))),
            key_secret_file=secret_file(environment),
            refuse_unpriced=environment.get("TOKENLEDGER_UNPRICED", "allow") == "refuse",
            refresh_interval_ms=int(environment.get("TOKENLEDGER_KEYS_REFRESH_MS", "2000")),
            ledger=LedgerSettings.from_environment(environment, user="gateway"),
            prices=LedgerSettings.from_environment(environment, user="pricing") if _follows(environment) else None,
        )


def _follows(environment: Mapping[str, str]) -> bool:
    return environment.get("TOKENLEDGER_PRICE_BOOK", "packaged") == "ledger"


class Books:
    """What `opened` gives: accounting, admission, and a look at the ledger every two seconds."""

    def __init__(self, settings: BooksSettings, outbox: Outbox) -> None:
        self._settings = settings
        self._outbox = outbox
        self._budgets = Budgets()
        self._connection: Connection | None = None
        self._version: tuple[object, ...] | None = None
        self._since_us: int | None = None
        self._tenants: list[str] = []
        self._restored = False
        context = default_context()
        self.keyed = KeyedAdmission(
            secret=read_secret(settings.key_secret_file),
            epoch=outbox.epoch.name,
            bounds=Bounds(context.book),
            budgets=self._budgets,
            clock_us=clock_us,
            refuse_unpriced=settings.refuse_unpriced,
        )
        self._behind = False
        """Whether the ledger may have charged more than it was asked about."""
        self.stale = False
        """Whether nobody looks at the ledger any more."""
        self.admission: Admission = self.keyed
        self._accounting = OutboxAccounting(outbox, self.keyed, context=context)
        self.accounting: Accounting = self._accounting
        self._prices = self._following(settings.prices) if settings.prices is not None else None
        self.folder = outbox.epoch.folder
        """Where this process keeps what it tells."""
        OUTBOX_ROOM.set_function(lambda: outbox.room_bytes)
        OPEN_INTENTS.set_function(lambda: outbox.open_intents)

    def _following(self, ledger: LedgerSettings) -> Following:
        prices = Following(ledger, say=log.info, loaded=self._price_by)
        BOOK_AGE.set_function(lambda: prices.age_s)
        prices.start_with(self._accounting.context)
        return prices

    def _price_by(self, context: Context) -> None:
        """In the thread that follows: what was reserved by another book is settled by this one."""
        self.keyed.bounds = Bounds(context.book)
        self._accounting.context = context

    def ready(self) -> bool:
        """Whether prices, keys, budgets and spending were loaded once and the outbox takes intents: `/readyz`."""
        return self.keyed.open and self._outbox.room_bytes > 0 and not self.stale

    async def refresh(self) -> bool:
        """One look at the ledger; whether it answered. What was seen before holds on if not."""
        if self._prices is not None and not await asyncio.to_thread(self._prices.wait_loaded, _BOOK_WITHIN_S):
            return False  # what is unsettled is held by the ledger's prices, not by others
        try:
            await self._look()
        except (psycopg.Error, TooPowerfulError, OSError) as error:
            REFRESHES.labels("failed").inc()
            log.warning("the ledger was not read", extra={"facts": {"error": str(error).strip()}})
            await asyncio.to_thread(self._disconnect)
            return False
        REFRESHES.labels("done").inc()
        REFRESHED.set(time.time())
        return True

    async def _look(self) -> None:
        access = await asyncio.to_thread(self._read_access)
        if access is not None:
            await self._apply_access(access)
        pending = self._budgets.settled()
        self._behind = False
        charges = await asyncio.to_thread(self._read_charges, pending)
        if charges.whole:
            self._budgets.replace(charges.spent, clock_us())
        else:
            self._budgets.add(charges.spent)
        self._budgets.charged(charges.final)
        self._behind = len(pending) == ASKED_AT_ONCE and 2 * len(charges.final) >= ASKED_AT_ONCE
        self._budgets.forget(clock_us())
        self._since_us = charges.posted_at_us
        self.keyed.open = True

    async def _apply_access(self, access: Access) -> None:
        self._version = access.version
        self.keyed.set_keys(access.keys)
        self._budgets.set_limits(access.budgets)
        self._tenants = sorted({budget.tenant_id for budget in access.budgets})
        self._since_us = None  # a budget that is new has to learn what was spent before it
        if not self._restored:
            await self._restore()
            self._restored = True

    async def _restore(self) -> None:
        own = self._outbox.epoch.name
        for attempt in await asyncio.to_thread(
            unsettled, self._settings.outbox_folder, own, context=self._accounting.context
        ):
            self._budgets.restore(
                attempt.event_key,
                attempt.amount_usd_pico,
                tenant_id=attempt.tenant_id,
                feature=attempt.feature,
                at_us=attempt.at_us,
            )

    # In a thread

    def _connected(self) -> Connection:
        if self._connection is None or self._connection.closed:
            self._connection = connect(self._settings.ledger, application="tokenledger-gateway")
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _read_access(self) -> Access | None:
        return spending.access(self._connected(), self._version)

    def _read_charges(self, pending: spending.Pending) -> spending.Charges:
        return spending.charges(
            self._connected(), pending, since_us=self._since_us, tenants=self._tenants, now_us=clock_us()
        )

    async def keep_fresh(self) -> None:
        """Look again and again, until cancelled."""
        try:
            while True:
                await self.refresh()
                pause_ms = self._settings.refresh_interval_ms
                await asyncio.sleep(min(pause_ms, _CATCHING_UP_MS) / 1000 if self._behind else pause_ms / 1000)
        finally:
            self.stale = True

    def close(self) -> None:
        """Leave the ledger."""
        if self._prices is not None:
            self._prices.close()
        self._disconnect()


def clock_us() -> int:
    """Now, µs UTC."""
    return time.time_ns() // 1000


@asynccontextmanager
async def opened(settings: BooksSettings) -> AsyncIterator[Books]:
    """Everything running until the block ends; while Postgres was never there, `ready` says so.

    Raises WeakSecretError and, where the outbox's folder cannot be made, OSError.
    """
    outbox = Outbox(
        settings.outbox_folder,
        OutboxLimits(capacity_bytes=settings.outbox_capacity_bytes, segment_bytes=settings.outbox_segment_bytes),
    )
    await outbox.start()
    # The default 5 ms is how long a thread whose disk has answered may wait for one that handles requests.
    sys.setswitchinterval(0.000_5)
    books = Books(settings, outbox)
    refreshing = asyncio.create_task(books.keep_fresh(), name="refresh keys and budgets")
    try:
        yield books
    finally:
        refreshing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await refreshing
        await asyncio.to_thread(books.close)
        await outbox.close()
