"""One batch, one transaction, on a real Postgres."""

import pytest

from ledger import store
from tests.ledger.books import Books
from tests.ledger.samples import call, full, priced


def test_a_call_is_charged_with_its_lines(books: Books) -> None:
    books.write(priced(call(), offset=0))
    assert books.all("SELECT tenant_id, event_id, known_cost_usd_pico, usage FROM calls") == [
        ("acme", "e1", 220_000, {"input.text": 100, "output.text": 10})
    ]
    assert books.all("SELECT meter, quantity, amount_usd_pico FROM lines JOIN rates USING (rate_no) ORDER BY 1") == [
        ("input.text", 100, 200_000),
        ("output.text", 10, 20_000),
    ]
    assert books.all("SELECT cause::text, calls FROM postings") == [("charge", 1)]
    assert books.all("SELECT winners, losers, duplicates, rejected FROM origins") == [(1, 0, 0, 0)]


def test_a_record_comes_back_from_its_row_as_it_went_in(books: Books) -> None:
    record = full()
    books.write(record)
    ((call_id, at_us),) = books.all("SELECT call_id, charged_at_us FROM calls")
    (found,) = store.existing(books.connection, [(call_id, at_us)])
    assert found.winner == record


def test_a_call_that_is_no_more_is_left_out_unless_who_asks_is_writing(books: Books) -> None:
    """Whoever reads found its key in an earlier snapshot; in the writer's transaction every key leads to a call."""
    books.write(priced(call(), offset=0), priced(call(event_key="app/2"), offset=1))
    hints = books.all("SELECT call_id, charged_at_us FROM calls")
    books.write(priced(call(response_key="openai/r1"), offset=2))
    found = store.existing(books.connection, hints)
    assert [one.winner.call.event_key for one in found] == ["app/2"]
    with pytest.raises(AssertionError, match="keys lead to calls that are not there"):
        store.existing(books.connection, hints, writing=True)
