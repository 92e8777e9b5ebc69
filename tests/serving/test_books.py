"""Accounting and admission together: ready when the ledger was read once, and going on when it is away."""

import asyncio
from pathlib import Path

import psycopg
import pytest

from ledger import api_keys
from ledger.database import connect
from ledger.migrate import migrate
from ledger.private_postgres import FAST, Server, running
from serving.gateway.books import Books, BooksSettings
from serving.gateway.outbox import Outbox, OutboxLimits
from serving.gateway.records import Admitted, Refusal
from tests.serving.admissions import SECRET, bearer, key


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
