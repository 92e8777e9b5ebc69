"""Calls without a price wait as unknown, and are charged by themselves once there is one."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from ledger import repricing
from ledger.arrivals import Arrivals, Step
from ledger.closed import Closed
from ledger.database import Connection, connect
from ledger.periods import close
from ledger.prices import store
from ledger.prices.changes import RATE, add
from ledger.private_postgres import Server
from ledger.store import existing
from ledger.verify import verify
from tests.ledger.books import Books
from tests.ledger.samples import call, priced
from tokenledger.pricing import build_book
from tokenledger.pricing.book import Overlay
from tokenledger.pricing.rate import OWN, Row
from tokenledger.process import Context
from tokenledger.records import PricedCall

pytestmark = pytest.mark.slow


def unpriced(number: int, *, model: str = "m-9", tenant_id: str = "acme") -> PricedCall:
    """A call of 110 tokens whose model no book has."""
    return priced(
        call(event_key=f"app/{number}", request_model=model, response_model=model, tenant_id=tenant_id), offset=number,
        lines=(), cost_usd_pico=None, known_cost_usd_pico=0, price_status="unpriced", priced_model=None,
        unpriced_meters=("input.text", "output.text"), computed_usd_pico=None, chargeable_usd_pico=None,
    )  # fmt: skip


def rates(model: str, pico: int, meters: tuple[str, ...] = ("input.text", "output.text")) -> list[Row]:
    """So much a token of that model."""
    return [Row(layer=OWN, provider="openai", model=model, meter=meter, list_pico=pico) for meter in meters]


class Waiting:
    """A ledger with calls that wait for a price, and who looks at them."""

    def __init__(self, books: Books, keeper: Connection, follower: Connection) -> None:
        self.books, self.keeper, self.follower = books, keeper, follower
        self.arrivals = Arrivals(follower)

    def price(self, model: str, pico: int, meters: tuple[str, ...] = ("input.text", "output.text")) -> None:
        """So much a token of that model, for all times."""
        with self.keeper.transaction():
            at_us = store.begin(self.keeper)
            rows = [(RATE, row) for row in rates(model, pico, meters)]
            plan = add(store.believed(store.load(self.keeper)), rows, at_us=at_us, correct=True)
            store.apply(self.keeper, plan, at_us=at_us, action="add", reason="a test")

    def drain(self) -> list[Step]:
        """As the thread and the writer do it, until nothing is left."""
        steps = []
        while step := self.arrivals.look(at_once=3):
            steps.append(step)
        self.books.now_us += 1_000_000
        while repricing.drain(self.books.connection, self.books.state, now_us=self.books.now_us):
            pass
        return steps

    def costs(self) -> list[tuple[Any, ...]]:
        """Tenant, status, cost and number of calls."""
        return self.books.all(
            "SELECT tenant_id, price_status, sum(cost_usd_pico)::bigint, count(*) FROM calls "
            "GROUP BY 1, 2 ORDER BY 1, 2"
        )


@pytest.fixture
def waiting(server: Server, database: str, books: Books) -> Iterator[Waiting]:
    with (
        connect(server.settings(database, user="keeper"), application="test") as keeper,
        connect(server.settings(database), application="test") as follower,
    ):
        yield Waiting(books, keeper, follower)


def test_when_a_price_arrives_what_waited_for_it_is_charged_and_the_rest_waits_on(waiting: Waiting) -> None:
    waiting.books.write(*(unpriced(n) for n in range(8)), unpriced(8, model="m-8"), priced(call(), offset=9))
    assert waiting.costs() == [("acme", "priced", 220_000, 1), ("acme", "unpriced", None, 9)]
    assert sum(step.queued for step in waiting.drain()) == 0
    waiting.price("m-9", 1_000)
    steps = waiting.drain()
    assert (sum(step.looked_at for step in steps), sum(step.queued for step in steps)) == (9, 8)
    # 8 × 110 tokens × 1,000 pico-USD beside the one that had its price; the other model is still unknown, not zero.
    assert waiting.costs() == [("acme", "priced", 880_000 + 220_000, 9), ("acme", "unpriced", None, 1)]
    assert waiting.books.all("SELECT sum(incomplete_calls)::bigint FROM cost_daily") == [(1,)]
    assert verify(waiting.books.connection, None) == []
    [(kind, reason, calls, after)] = waiting.books.all(
        "SELECT kind, reason, calls, after_usd_pico::bigint FROM repricing_runs"
    )
    assert (kind, reason, calls, after) == ("arrival", "a price arrived: change 1 of the book", 8, 880_000)


def test_a_call_that_waits_for_what_people_asked_for_is_left_to_it(waiting: Waiting) -> None:
    waiting.books.write(*(unpriced(n) for n in range(2)))
    first = waiting.books.all("SELECT call_id, charged_at_us FROM calls ORDER BY call_id LIMIT 1")
    context = Context(build_book(overlay=Overlay(rows=tuple(rates("m-9", 3_000)))))
    asked = repricing.differing([(one, context) for one in existing(waiting.books.connection, first)], Closed())
    run_no = repricing.begin_run(waiting.books.connection, reason="a test", book_version="b", kind="reread")
    assert repricing.queue(waiting.books.connection, asked, run_no=run_no) == 1
    waiting.price("m-9", 1_000)
    assert waiting.drain() == [Step(2, 1, 0)]
    assert waiting.books.all("SELECT cost_usd_pico FROM calls ORDER BY call_id") == [(330_000,), (110_000,)]
    assert waiting.books.all("SELECT kind, calls FROM repricing_runs ORDER BY run_no") == [
        ("reread", 1), ("arrival", 1)
    ]  # fmt: skip


def test_nothing_is_looked_at_twice_for_one_state_of_the_book(waiting: Waiting) -> None:
    waiting.books.write(*(unpriced(n) for n in range(5)))
    waiting.price("m-8", 1_000)
    assert sum(step.looked_at for step in waiting.drain()) == 5
    assert waiting.drain() == []
    waiting.books.write(unpriced(5))
    assert [step.looked_at for step in waiting.drain()] == [1]


def test_a_part_that_has_its_price_is_charged_and_the_call_waits_for_the_other(waiting: Waiting) -> None:
    waiting.books.write(unpriced(0))
    waiting.price("m-9", 1_000, meters=("input.text",))
    waiting.drain()
    assert waiting.books.all("SELECT price_status, cost_usd_pico, known_cost_usd_pico FROM calls") == [
        ("partly_priced", None, 100_000)
    ]
    waiting.price("m-9", 2_000, meters=("output.text",))
    waiting.drain()
    assert waiting.books.all("SELECT price_status, cost_usd_pico FROM calls") == [("priced", 120_000)]
    assert verify(waiting.books.connection, None) == []


def test_who_looks_is_killed_between_two_steps_and_another_goes_on(waiting: Waiting) -> None:
    waiting.books.write(*(unpriced(n) for n in range(7)))
    waiting.price("m-9", 1_000)
    assert waiting.arrivals.look(at_once=3) == Step(3, 3, 0)
    waiting.arrivals = Arrivals(waiting.follower)
    assert [step.queued for step in waiting.drain()] == [3, 1]
    assert waiting.costs() == [("acme", "priced", 770_000, 7)]
    assert waiting.books.all("SELECT calls FROM repricing_runs") == [(7,)]


def test_a_call_of_a_closed_month_is_left_to_people(waiting: Waiting) -> None:
    waiting.books.write(unpriced(0), unpriced(1, tenant_id="umbrella"))
    close(waiting.keeper, "acme", "2025-10", reason="invoice", now=datetime(2025, 11, 5, tzinfo=UTC))
    waiting.price("m-9", 1_000)
    assert waiting.drain() == [Step(2, 1, 1)]
    assert waiting.costs() == [("acme", "unpriced", None, 1), ("umbrella", "priced", 110_000, 1)]


def test_it_waits_while_the_writer_has_enough_to_do(waiting: Waiting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger.arrivals.MOST_WAITING", 3)
    waiting.books.write(*(unpriced(n) for n in range(7)))
    waiting.price("m-9", 1_000)
    assert waiting.arrivals.look(at_once=3) == Step(3, 3, 0)
    assert waiting.arrivals.look(at_once=3) is None
    repricing.drain(waiting.books.connection, waiting.books.state, now_us=waiting.books.now_us + 1_000_000)
    assert waiting.arrivals.look(at_once=3) == Step(3, 3, 0)
    assert waiting.arrivals.count() == 4
