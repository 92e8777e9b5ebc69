"""One batch, one transaction, on a real Postgres."""

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
