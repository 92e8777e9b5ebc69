"""A process that prices has a whole book before it prices, the newest soon after, and keeps it in an outage."""

import time
from collections.abc import Callable, Iterator

import msgspec
import psycopg
import pytest

from ledger import wakeups
from ledger.database import connect
from ledger.prices import changes, following, store
from ledger.prices.changes import RATE, Plan
from ledger.prices.following import Following, NoBookError
from ledger.private_postgres import Server
from tests.ledger.samples import call
from tokenledger.pricing import packaged_book
from tokenledger.pricing.cost import price_call
from tokenledger.pricing.rate import OWN, Row

pytestmark = pytest.mark.slow

ROW = Row(layer=OWN, provider="acme-ai", model="acme-large", meter="input.text", list_pico=7)
ASKED = call(provider="acme-ai", request_model="acme-large", response_model=None, usage={"input.text": 100})


def until(holds: Callable[[], bool]) -> None:
    """Within ten seconds."""
    end_s = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end_s
        time.sleep(0.02)


@pytest.fixture
def followed(server: Server, database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Following]:
    monkeypatch.setattr(wakeups, "LOOK_EVERY_S", 0.05)
    one = Following(server.settings(database, user="pricing"), say=lambda _: None)
    one.start()
    yield one
    one.close()


def add(server: Server, database: str) -> None:
    """The company's own price of acme-large."""
    with connect(server.settings(database, user="keeper"), application="test") as keeper, keeper.transaction():
        store.apply(keeper, Plan(added=((RATE, ROW),)), at_us=store.begin(keeper), action="add", reason="a test")


def test_without_anything_imported_the_packaged_book_prices(followed: Following) -> None:
    assert followed.context.book.version == packaged_book().version


def test_a_committed_price_is_at_work_soon_after(followed: Following, server: Server, database: str) -> None:
    assert price_call(ASKED, followed.context.book).cost_usd_pico is None
    add(server, database)
    until(lambda: price_call(ASKED, followed.context.book).cost_usd_pico == 700)


def test_in_an_outage_the_book_stays_and_afterwards_it_follows_again(
    followed: Following, server: Server, database: str
) -> None:
    before = followed.context
    with psycopg.connect(server.dsn("postgres", database), autocommit=True) as admin:
        for _ in range(5):
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'pricing'")
            time.sleep(0.05)
    assert followed.context is before
    add(server, database)
    until(lambda: price_call(ASKED, followed.context.book).cost_usd_pico == 700)


def test_without_a_database_nothing_may_be_priced(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "_FIRST_WITHIN_S", 0.2)
    monkeypatch.setattr(following, "_AGAIN_AFTER_S", 0.1)
    with pytest.raises(NoBookError, match="no price book within 0 s"):
        Following(server.settings("no_such_ledger", user="pricing"), say=lambda _: None).start()


def test_who_prices_reads_the_book_and_nothing_else(server: Server, database: str) -> None:
    with connect(server.settings(database, user="pricing"), application="test") as reader:
        assert reader.execute("SELECT count(*) FROM contracts").fetchone() == (0,)
        for statement in (b"SELECT FROM calls", b"SELECT FROM api_keys", b"UPDATE prices SET known_us = 'empty'"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader.execute(statement)


def test_what_is_followed_change_by_change_is_the_book_that_is_loaded_whole(server: Server, database: str) -> None:
    one, other = ROW, msgspec.structs.replace(ROW, model="acme-small")
    corrected = msgspec.structs.replace(ROW, list_pico=9)
    known: dict[tuple[str, int], changes.Kept] = {}
    after = 0
    with connect(server.settings(database, user="keeper"), application="test") as keeper:
        for stated in ([one], [other], [corrected], None, [one]):
            with keeper.transaction():
                at_us, kept = store.begin(keeper), store.load(keeper)
                plan = (
                    changes.add(store.believed(kept), [(RATE, row) for row in stated], at_us=at_us, correct=True)
                    if stated
                    else changes.undo(after, kept, at_us=at_us)
                )
                store.apply(keeper, plan, at_us=at_us, action="add", reason="a test")
            after = store.load_newer(keeper, known, after=after)
            assert (after, store.book_now(list(known.values())).version) == (
                store.current(keeper)[0],
                store.current(keeper)[1].version,
            )
            assert sorted(known.values(), key=lambda kept: kept.row_no) == store.load(keeper)


def test_a_row_withdrawn_in_the_instant_it_was_added_is_followed_too(server: Server, database: str) -> None:
    known: dict[tuple[str, int], changes.Kept] = {}
    with connect(server.settings(database, user="keeper"), application="test") as keeper:
        with keeper.transaction():
            at_us = store.begin(keeper)
            store.apply(keeper, Plan(added=((RATE, ROW),)), at_us=at_us, action="add", reason="a test")
        after = store.load_newer(keeper, known, after=0)
        assert len(known) == 1
        with keeper.transaction():
            undo = Plan(withdrawn=tuple(known.values()))
            store.apply(keeper, undo, at_us=known["Row", 1].entry.known_from_us, action="withdraw", reason="a test")
        store.load_newer(keeper, known, after=after)
    assert known == {}
