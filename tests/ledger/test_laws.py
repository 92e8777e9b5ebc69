"""Superseding, joining, sharing of ids, refusals and second writers, one by one, with figures by hand."""

import psycopg
import pytest
from msgspec.structs import replace

from ledger import store
from ledger.compact import compact
from ledger.costs import DIMENSIONS, table
from ledger.private_postgres import Server
from ledger.received import Received
from ledger.verify import verify
from ledger.writer import write
from tests.ledger.books import PLACE, Books, through_the_wire
from tests.ledger.samples import NOW_US, call, line, priced
from tokenledger.commands import cost_table
from tokenledger.records import Reason, Rejected

pytestmark = pytest.mark.slow

_POSTINGS = """
SELECT cause::text, calls, sum(amount_usd_pico)::bigint FROM postings JOIN lines USING (posting_id)
GROUP BY posting_id, 1, 2 ORDER BY posting_id
"""


def test_a_greater_record_reverses_the_first_and_is_charged(books: Books) -> None:
    books.write(priced(call(usage_source="estimated"), offset=0))
    books.write(priced(call(usage={"input.text": 50}), offset=1))
    assert books.all(_POSTINGS) == [("charge", 1, 220_000), ("reversal", -1, -220_000), ("charge", 1, 100_000)]
    assert books.all("SELECT known_cost_usd_pico, usage_source FROM calls") == [(100_000, "reported")]
    assert books.all("SELECT record -> 'call' ->> 'usage_source' FROM witnesses") == [("estimated",)]
    assert verify(books.connection, None) == []


def test_a_lesser_record_becomes_a_witness_and_costs_nothing(books: Books) -> None:
    books.write(priced(call(), offset=0))
    books.write(priced(call(usage_source="estimated", usage={"input.text": 999}), offset=1))
    assert books.all(_POSTINGS) == [("charge", 1, 220_000)]
    assert books.all("SELECT meter, winner_quantity, loser_quantity FROM conflicts") == [("input.text", 100, 999)]
    assert books.all("SELECT winners, losers FROM origins") == [(1, 1)]


def test_a_record_that_knows_both_keys_joins_what_only_the_event_key_knew(books: Books) -> None:
    books.write(priced(call(usage_source="estimated"), offset=0))
    books.write(priced(call(response_key="openai/r1", usage={"input.text": 50}), offset=1))
    books.write(priced(call(response_key="openai/r1", event_key="file/9", usage={"input.text": 50}), offset=2))
    assert books.all("SELECT known_cost_usd_pico, id_reuse FROM calls") == [(100_000, False)]
    assert books.all("SELECT winners, losers, duplicates FROM origins") == [(1, 1, 1)]
    assert verify(books.connection, None) == []


def test_two_replies_under_one_event_are_both_charged_and_flagged(books: Books) -> None:
    books.write(priced(call(response_key="openai/r1"), offset=0))
    books.write(priced(call(response_key="openai/r2"), offset=1))
    assert books.all("SELECT known_cost_usd_pico, id_reuse FROM calls") == [(220_000, True), (220_000, True)]
    assert verify(books.connection, None) == []


def test_an_origin_that_comes_again_is_counted_apart(books: Books) -> None:
    books.write(priced(call(), offset=0))
    books.write(priced(call(), offset=0))
    assert books.all("SELECT winners, duplicates, redelivered FROM origins") == [(1, 0, 1)]


def test_a_record_postgres_refuses_is_found_and_rejected_alone(books: Books) -> None:
    good = [priced(call(event_key=f"app/{offset}"), offset=offset) for offset in range(5)]
    good[3] = priced(call(event_key="app/3", tags={"team": "\0"}), offset=3)
    good[4] = priced(call(event_key="app/4", input_tokens=2**63), offset=4)
    batch = [Received(*PLACE, offset, record) for offset, record in enumerate(good)]
    write(books.connection, books.state, batch, decode=through_the_wire, now_us=NOW_US)
    assert books.all('SELECT reason, stage, "offset", kept_offset FROM rejected ORDER BY 3') == [
        ("unstorable", "store", 3, 3),
        ("unstorable", "store", 4, 4),
    ]
    assert books.all("SELECT winners, rejected FROM origins") == [(3, 2)]
    assert books.state.offsets == {PLACE: 5}
    assert verify(books.connection, None) == []


def test_a_second_writer_is_refused_and_changes_nothing(books: Books) -> None:
    other = store.load_state(books.connection)
    books.write(priced(call(), offset=0))
    books.state, first = other, books.state
    with pytest.raises(store.AnotherWriterError, match="only one may run"):
        books.write(priced(call(), offset=0))
    books.state = first
    assert books.all("SELECT winners, duplicates, redelivered FROM origins") == [(1, 0, 0)]


def test_a_batch_that_fails_leaves_no_trace_in_memory_either(books: Books) -> None:
    record = priced(call(), offset=0)
    with pytest.raises(psycopg.DataError):
        books.write(record, priced(call(event_key="app/2", tags={"a": "\0"}), offset=1))
    books.write(record)
    assert books.all("SELECT dim_no FROM dimensions") == [(1,)]
    assert books.all("SELECT call_id FROM calls") == [(1,)]
    assert verify(books.connection, None) == []


def test_compacting_changes_no_sum_whenever_it_happens(books: Books) -> None:
    books.write(priced(call(), offset=0), priced(call(event_key="app/2", feature="search"), offset=1))
    before = books.contents()
    assert compact(books.connection)
    assert books.contents() == before
    assert not compact(books.connection)
    books.write(priced(call(event_key="app/2", feature="chat", revision=1), offset=2))
    changed = books.contents()
    assert changed["rollups"] != before["rollups"]
    assert compact(books.connection)
    assert books.contents() == changed
    assert books.all("SELECT count(*) FROM rollup_deltas") == [(0,)]
    assert verify(books.connection, None) == []


def test_an_event_time_nobody_can_believe_is_charged_to_the_append_time(books: Books) -> None:
    books.write(priced(call(started_at_us=1), offset=0))
    books.write(priced(call(event_key="app/2", started_at_us=253_402_300_799_000_000), offset=1))
    assert books.all("SELECT charged_at_us - append_at_us FROM calls") == [(0,), (0,)]
    assert books.all("SELECT DISTINCT bucket_start::text FROM rollups") == [("2025-10-09 08:45:00+00",)]


def test_latency_percentiles_are_within_one_per_cent(books: Books) -> None:
    for offset, total_us in enumerate([100_000, 200_000, 300_000, 400_000]):
        record = priced(call(event_key=f"app/{offset}"), offset=offset)
        assert record.latency is not None
        books.write(replace(record, latency=replace(record.latency, total_us=total_us)))
    ((calls, p50, p99),) = books.all("SELECT calls, us_p50, us_p99 FROM latency_percentiles WHERE metric = 'total'")
    assert calls == 4
    assert abs(p50 - 200_000) <= 2_000
    assert abs(p99 - 400_000) <= 4_000


def test_money_views_count_the_calls_they_miss(books: Books) -> None:
    books.write(
        priced(call(), offset=0),
        priced(
            call(event_key="app/2"), offset=1, lines=(line("input.text", 100),), cost_usd_pico=None,
            known_cost_usd_pico=200_000, price_status="partly_priced", unpriced_meters=("output.text",),
        ),
    )  # fmt: skip
    assert books.all("SELECT calls, incomplete_calls, known_cost_usd_pico FROM cost_daily") == [(2, 1, 420_000)]
    assert books.all("SELECT calls, incomplete_calls FROM cost_by_feature") == [(2, 1)]
    assert books.all("SELECT meter, quantity, amount_usd_pico, incomplete_calls FROM cost_by_meter ORDER BY 1") == [
        ("input.text", 200, 400_000, 1),
        ("output.text", 10, 20_000, 1),
    ]
    assert books.all("SELECT price_status, incomplete_calls FROM unpriced_calls") == [("partly_priced", 1)]


def test_provider_gap_compares_what_was_billed_with_our_book(books: Books) -> None:
    books.write(priced(call(billed_usd_pico=230_000), offset=0))
    assert books.all("SELECT calls, billed_usd_pico, computed_usd_pico, gap_usd_pico FROM provider_gap") == [
        (1, 230_000, 220_000, 10_000)
    ]


def test_the_cost_table_has_calls_tokens_cost_and_what_was_rejected(books: Books) -> None:
    cached = call(event_key="app/2", tenant_id="umbrella", usage={"input.text": 60, "input.text.cache_read": 40})
    books.write(
        priced(call(), offset=0),
        priced(cached, offset=1, cost_usd_pico=None),
        Rejected(reason=Reason.INVALID_JSON, tenant_id="acme", topic="llm.raw.v1", offset=2),
    )
    acme, umbrella = table(books.connection, by=["tenant"])
    assert (acme.group, acme.calls, acme.cost_usd_pico, acme.rejected) == (("acme",), 1, 220_000, 1)
    assert (umbrella.cost_usd_pico, umbrella.known_cost_usd_pico, umbrella.incomplete_calls) == (None, 200_000, 1)
    assert umbrella.cache_share == 0.4
    by_model = table(books.connection)
    assert [(row.group, row.calls, row.rejected) for row in by_model] == [(("openai", "m-1"), 2, 0), (("", ""), 0, 1)]


def test_verify_names_what_is_wrong(server: Server, database: str, books: Books) -> None:
    books.write(priced(call(), offset=0), priced(call(event_key="app/2"), offset=2))
    (gap,) = verify(books.connection, None)
    assert str(gap) == "raw records without outcome: llm.raw.v1/0 offsets [1, 2): expected 1, found 0"
    with psycopg.connect(server.dsn("postgres", database), autocommit=True) as admin:
        admin.execute("UPDATE calls SET known_cost_usd_pico = known_cost_usd_pico + 1 WHERE call_id = 1")
        admin.execute("UPDATE origins SET winners = winners + 1")
    wrong = {difference.what for difference in verify(books.connection, None)}
    assert wrong == {"raw records without outcome", "sums differ", "outcomes of raw records", "lines of a call"}


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_every_dimension_of_the_cost_table_can_be_asked_for(books: Books, dimension: str) -> None:
    books.write(priced(call(), offset=0))
    (row,) = table(books.connection, by=[dimension])
    assert row.calls == 1


def test_the_ledger_and_the_files_are_grouped_by_the_same_dimensions() -> None:
    assert set(DIMENSIONS) == set(cost_table.DIMENSIONS)
