"""A call is charged by the book that was known when the log took it, whoever priced it when."""

from collections.abc import Iterator

import pytest

from ledger import repricing
from ledger.database import Connection, connect
from ledger.prices import store
from ledger.prices.changes import RATE, Plan, add
from ledger.private_postgres import Server
from ledger.stale import queue_stale, stale
from ledger.verify import verify
from tests.ledger.books import Books
from tests.ledger.samples import call, priced
from tokenledger.pricing import build_book
from tokenledger.pricing.book import Overlay
from tokenledger.pricing.rate import OWN, Row
from tokenledger.process import Context, price_again

pytestmark = pytest.mark.slow

TOKENS = 110


def _row(meter: str, pico: int) -> Row:
    return Row(layer=OWN, provider="openai", model="m-1*", meter=meter, list_pico=pico)


class Edited:
    """A ledger whose price of m-1 is edited while calls arrive."""

    def __init__(self, books: Books, keeper: Connection, server: Server, database: str) -> None:
        self.books, self._keeper = books, keeper
        self._server, self._database = server, database
        self._calls = 0
        self.made_at_us: list[int] = []

    def edit(self, pico: int) -> Context:
        """So much a token from now on, as a correction of all times; the book."""
        with self._keeper.transaction():
            at_us = store.begin(self._keeper)
            rows = [(RATE, _row(meter, pico)) for meter in ("input.text", "output.text")]
            plan: Plan = add(store.believed(store.load(self._keeper)), rows, at_us=at_us, correct=True)
            store.apply(self._keeper, plan, at_us=at_us, action="correct", reason="a test")
        self.made_at_us.append(at_us)
        self.books.now_us = at_us
        return Context(store.current(self._keeper)[1])

    def arrive(self, context: Context, *, append_at_us: int, key: str = "", response_key: str | None = None) -> str:
        """A record that the log took then, priced by this book, of a call of its own unless told; its key."""
        self._calls += 1
        key = key or f"app/{self._calls}"
        facts = call(event_key=key, response_key=response_key, started_at_us=append_at_us)
        made = priced(facts, offset=self._calls - 1, append_at_us=append_at_us)
        self.books.write(price_again(made, context))
        return key

    def queue(self) -> int:
        """As the command does it, with the writer; how many were queued."""
        with connect(self._server.settings(self._database), application="test") as reader:
            queued = queue_stale(reader, self.books.connection, since_us=0)
        self.drain()
        return queued

    def charge(self, context: Context) -> int:
        """Have every call charged by this book on purpose; how many were queued."""
        queued = self.ask(context)
        self.drain()
        return queued

    def ask(self, context: Context) -> int:
        """What `reprice --prices` does: queue every call that this book charges otherwise; how many."""
        run_no = repricing.begin_run(self.books.connection, reason="a test", book_version=context.book.version)
        queued = 0
        for some in repricing.differences(self.books.connection, repricing.Wanted(), context):
            repricing.queue(self.books.connection, some, run_no=run_no)
            queued += len(some)
        return queued

    def drain(self) -> None:
        """The writer's part."""
        while repricing.drain(self.books.connection, self.books.state, now_us=self.books.now_us + 1_000):
            pass

    def pico_per_token(self) -> dict[str, int]:
        """What each call is charged a token."""
        return {key: int(cost) // TOKENS for key, cost in self.books.all("SELECT event_key, cost_usd_pico FROM calls")}


@pytest.fixture
def edited(books: Books, server: Server, database: str) -> Iterator[Edited]:
    with connect(server.settings(database, user="keeper"), application="test") as keeper:
        yield Edited(books, keeper, server, database)


def test_calls_priced_by_an_older_book_in_the_meantime_are_charged_by_the_one_that_was_known(edited: Edited) -> None:
    seven = edited.edit(7)
    before = edited.arrive(seven, append_at_us=edited.made_at_us[0] + 1)
    edited.edit(9)
    edited_at_us = edited.made_at_us[1]
    just_before = edited.arrive(seven, append_at_us=edited_at_us - 1)
    meantime = edited.arrive(seven, append_at_us=edited_at_us)
    assert edited.queue() == 1
    assert edited.pico_per_token() == {before: 7, just_before: 7, meantime: 9}
    assert edited.queue() == 0, "twice changes nothing"
    assert verify(edited.books.connection, None) == []


def test_of_two_edits_each_call_gets_the_one_that_was_newest(edited: Edited) -> None:
    seven = edited.edit(7)
    nine = edited.edit(9)
    eleven = edited.edit(11)
    first, second, third = edited.made_at_us
    by_seven = [edited.arrive(seven, append_at_us=at_us) for at_us in (first, second, third)]
    by_nine = [edited.arrive(nine, append_at_us=at_us) for at_us in (second, third)]
    ahead = edited.arrive(eleven, append_at_us=first)
    assert edited.queue() == 3
    found = edited.pico_per_token()
    assert [found[key] for key in by_seven] == [7, 9, 11]
    assert [found[key] for key in by_nine] == [9, 11]
    assert found[ahead] == 11, "what a later book priced stays"


def test_what_was_charged_by_a_later_book_on_purpose_is_left_alone(edited: Edited) -> None:
    seven = edited.edit(7)
    nine = edited.edit(9)
    key = edited.arrive(nine, append_at_us=edited.made_at_us[0])
    assert edited.queue() == 0
    assert edited.pico_per_token() == {key: 9}
    assert seven.book.version != nine.book.version


def test_what_people_had_charged_by_a_book_of_their_own_stays(edited: Edited) -> None:
    """A file's book, or that of an earlier state of knowledge, is neither the one that was known nor a later one."""
    seven = edited.edit(7)
    edited.edit(9)
    at_us = edited.made_at_us[1]
    key = edited.arrive(seven, append_at_us=at_us)
    assert edited.queue() == 1
    rates = tuple(_row(meter, 5) for meter in ("input.text", "output.text"))
    assert edited.charge(Context(build_book(overlay=Overlay(rows=rates)))) == 1
    assert (edited.queue(), edited.pico_per_token()) == (0, {key: 5})
    assert edited.charge(seven) == 1
    assert (edited.queue(), edited.pico_per_token()) == (0, {key: 7})
    # A record that counts more is a charge of its own.
    edited.arrive(seven, append_at_us=at_us, key=key, response_key="openai/r1")
    assert (edited.queue(), edited.pico_per_token()) == (1, {key: 9})


def test_what_waits_for_what_people_asked_for_is_left_to_it(edited: Edited) -> None:
    seven = edited.edit(7)
    edited.edit(9)
    key = edited.arrive(seven, append_at_us=edited.made_at_us[1])
    rates = tuple(_row(meter, 5) for meter in ("input.text", "output.text"))
    assert edited.ask(Context(build_book(overlay=Overlay(rows=rates)))) == 1
    assert (edited.queue(), edited.pico_per_token()) == (0, {key: 5})
    assert edited.books.all("SELECT kind FROM repricing_runs") == [("reprice",)], "no run without a call"


def test_what_was_charged_too_early_by_itself_is_looked_at_again(edited: Edited) -> None:
    """A change may be made before a call came, and be committed after the call was charged for the change before."""
    seven = edited.edit(7)
    edited.edit(9)
    at_us = edited.made_at_us[1] + 60_000_000
    key = edited.arrive(seven, append_at_us=at_us)
    assert edited.queue() == 1
    edited.edit(11)
    assert edited.made_at_us[2] < at_us
    assert (edited.queue(), edited.pico_per_token()) == (1, {key: 11})
    assert edited.books.all("SELECT DISTINCT kind FROM repricing_runs") == [("stale",)]


def test_a_call_that_is_no_more_is_not_looked_for(edited: Edited) -> None:
    """Its charge and its reversal stay among the postings."""
    seven = edited.edit(7)
    edited.edit(9)
    at_us = edited.made_at_us[1]
    key = edited.arrive(seven, append_at_us=at_us)
    edited.arrive(seven, append_at_us=at_us, key=key, response_key="openai/r1")
    assert edited.books.all("SELECT count(*) FROM postings") == [(3,)], "the first call was dissolved"
    assert edited.queue() == 1
    assert edited.pico_per_token() == {key: 9}
    assert verify(edited.books.connection, None) == []


def test_the_book_after_a_change_is_the_one_that_was_current_then(edited: Edited, books: Books) -> None:
    versions = [edited.edit(pico).book.version for pico in (7, 9, 7, 11)]
    kept = store.load(books.connection)
    assert [store.book_after(kept, number).version for number in (1, 2, 3, 4)] == versions


def test_nothing_is_looked_for_where_nothing_changed(books: Books) -> None:
    assert list(stale(books.connection, since_us=0)) == []
