"""Accounting and admission together: ready when the ledger was read once, and going on when it is away."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import psycopg
import pytest
from prometheus_client import REGISTRY

from ledger import api_keys, wakeups
from ledger.api_keys import Budget
from ledger.database import connect
from ledger.migrate import migrate
from ledger.prices import store
from ledger.prices.changes import RATE, Plan
from ledger.private_postgres import FAST, Server, running
from serving.gateway.books import Books, BooksSettings
from serving.gateway.outbox import Outbox, OutboxLimits
from serving.gateway.records import Admitted, Refusal
from tests.serving.admissions import SECRET, bearer, key
from tests.serving.attempts import intent, outcome
from tokenledger.pricing.rate import OWN, Row

_AGE: Final = "tokenledger_gateway_price_book_age_seconds"


def _settings(server: Server, folder: Path) -> BooksSettings:
    secret = folder / "api-keys"
    secret.write_bytes(SECRET)
    secret.chmod(0o600)
    return BooksSettings.from_environment(
        {
            "TOKENLEDGER_STACK_ROOT": str(folder),
            "TOKENLEDGER_SECRETS": str(folder),
            "TOKENLEDGER_POSTGRES_SOCKET": str(server.folder),
            "TOKENLEDGER_POSTGRES_PORT": str(server.port),
            "TOKENLEDGER_POSTGRES_DATABASE": "later",
            "TOKENLEDGER_OUTBOX_SEGMENT_BYTES": str(1 << 20),
        }
    )


def _own(meter: str, pico: int) -> Row:
    return Row(layer=OWN, provider="openai", model="gpt-4o-mini*", meter=meter, list_pico=pico)


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - what it awaits is told by no event
            await asyncio.sleep(0.02)


def _admitted(books: Books) -> Admitted | Refusal:
    return books.admission.admit(authorization=bearer(), api="chat", model="m", feature=None)


@pytest.mark.slow
def test_a_gateway_waits_for_the_ledger_at_its_start_and_goes_on_without_it_afterwards(tmp_path: Path) -> None:
    async def played(server: Server) -> None:
        settings = _settings(server, tmp_path)
        outbox = Outbox(settings.outbox_folder, OutboxLimits(capacity_bytes=1 << 30, segment_bytes=1 << 20))
        await outbox.start()
        books = Books(settings, outbox)
        assert not await books.refresh()
        refused = _admitted(books)
        assert isinstance(refused, Refusal)
        assert (refused.http_status, books.ready()) == (503, False)

        server.create("later")
        with psycopg.connect(server.dsn("postgres", "later"), autocommit=True) as admin:
            migrate(admin)
        with connect(server.settings("later", user="keeper"), application="test") as keeper:
            api_keys.add(keeper, key())
        assert await books.refresh()
        assert books.ready()
        assert isinstance(_admitted(books), Admitted)

        server.drop("later")
        assert not await books.refresh()
        assert books.ready()
        assert isinstance(_admitted(books), Admitted)
        books.close()
        await outbox.close()

    with running(FAST) as server:
        asyncio.run(played(server))


@pytest.mark.slow
def test_reservations_and_costs_go_by_the_ledgers_book_which_stays_when_the_ledger_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wakeups, "LOOK_EVERY_S", 0.1)

    async def played(server: Server) -> None:
        settings = replace(_settings(server, tmp_path), prices=server.settings("later", user="pricing"))
        server.create("later")
        with psycopg.connect(server.dsn("postgres", "later"), autocommit=True) as admin:
            migrate(admin)
        budget = Budget(tenant_id="acme", period="month", limit_usd_pico=10**15)
        with connect(server.settings("later", user="keeper"), application="test") as keeper:
            api_keys.add(keeper, key())
            api_keys.set_budget(keeper, budget, now_us=0)
        outbox = Outbox(settings.outbox_folder, OutboxLimits(capacity_bytes=1 << 30, segment_bytes=1 << 20))
        await outbox.start()
        books = Books(settings, outbox)
        assert await books.refresh()

        async def cost(event_id: str) -> int | None:
            await books.accounting.intend(intent(event_id))
            return books.accounting.settle(intent(event_id), outcome(event_id))

        assert await cost("e1") == 1000 * 150_000 + 100 * 600_000, "the catalogue's"
        with connect(server.settings("later", user="keeper"), application="test") as keeper, keeper.transaction():
            rates = tuple((RATE, _own(meter, pico)) for meter, pico in (("input.text", 7), ("output.text", 11)))
            store.apply(keeper, Plan(added=rates), at_us=store.begin(keeper), action="add", reason="a test")

        def reserved(event_id: str) -> int:
            found = books.keyed.reserve(intent(event_id))
            assert isinstance(found, int)
            return found

        # A bound rounds up, a little for each meter there might be.
        await _until(lambda: 8_100 <= reserved("e2") < 8_500)
        assert await cost("e2") == 1000 * 7 + 100 * 11

        server.drop("later")
        aged_s = REGISTRY.get_sample_value(_AGE) or 0.0
        await _until(lambda: (REGISTRY.get_sample_value(_AGE) or 0.0) > aged_s)
        assert await cost("e3") == 1000 * 7 + 100 * 11
        books.close()
        await outbox.close()

    with running(FAST) as server:
        asyncio.run(played(server))
