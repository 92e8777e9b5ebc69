"""Rereading mends what an older reading got wrong, keeps every sum right, and does nothing twice."""

from decimal import Decimal

import psycopg
import pytest
from msgspec.structs import replace

from ledger import store
from ledger.as_of import standing
from ledger.compact import compact
from ledger.repricing import Wanted, begin_run, drain, left, queue
from ledger.rereading import Found, Meter, MeterSum, add_meters, from_stored, raise_versions, rereadings
from ledger.verify import verify
from tests.ledger.books import Books
from tests.normalise.test_golden_calls import FILES, read_case
from tokenledger.merge import fingerprint, rank
from tokenledger.process import default_context, process
from tokenledger.records import Call, PricedCall, RawEvent
from tokenledger.records.versions import READING_VERSIONS

pytestmark = pytest.mark.slow

AT_US = 1_760_000_000_000_000
NOVEMBER_US = 1_761_955_200_000_000  # 2025-11-01T00:00:00Z
BODY = (
    b'{"provider": "openai", "started_at_us": %d, "feature": "%s", "response": {"id": "r%d",'
    b' "object": "chat.completion", "model": "gpt-4o-2024-08-06", "choices": [],'
    b' "usage": {"prompt_tokens": 1000, "completion_tokens": 200, "total_tokens": 1200,'
    b' "prompt_tokens_details": {"cached_tokens": 600}}}}'
)
# 400 × $2.50, 600 × $1.25 and 200 × $10 a million tokens; misread, 1,000 × $2.50 for the fresh ones.
RIGHT, WRONG = 3_750_000_000, 5_250_000_000


def record(
    number: int, *, offset: int, feature: str = "chat", tenant: bytes = b"acme", at_us: int = AT_US
) -> PricedCall:
    """A call as today's code reads it."""
    headers = {"ce_id": f"e{offset}".encode(), "ce_source": b"/app", "ce_tenantid": tenant}
    made = process(
        RawEvent(
            value=BODY % (at_us, feature.encode(), number), headers=headers, topic="llm.raw.v1", offset=offset,
            append_at_us=at_us + 1_000_000,
        ),
        default_context(),
    )  # fmt: skip
    assert isinstance(made, PricedCall)
    return made


def misread(right: PricedCall) -> PricedCall:
    """The same as an older version of the reading had it: cached tokens counted on top of the fresh ones."""
    usage = {"input.text": 1000, "input.text.cache_read": 600, "output.text": 200}
    call = replace(right.call, usage=usage, input_tokens=1600)
    dear = {"quantity": 1000, "amount_usd_pico": 2_500_000_000, "list_amount_usd_pico": 2_500_000_000}
    lines = tuple(replace(line, **dear) if line.meter == "input.text" else line for line in right.lines)
    facts = fingerprint(call)
    return replace(
        right, call=call, lines=lines, cost_usd_pico=WRONG, known_cost_usd_pico=WRONG, computed_usd_pico=WRONG,
        chargeable_usd_pico=WRONG, fingerprint=facts, rank=rank(call, facts),
    )  # fmt: skip


@pytest.fixture(autouse=True)
def mended(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reading was mended since: its version is 2, and what is in the ledger was read by version 1."""
    monkeypatch.setitem(READING_VERSIONS, "openai.chat", 2)


def old(priced: PricedCall) -> PricedCall:
    return replace(priced, call=replace(priced.call, reading_version=1))


@pytest.fixture
def three(books: Books) -> Books:
    """Two calls that were misread, one of another tenant, and one that was read by version 1 as it would be today."""
    plain = record(3, offset=2)
    usage = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}
    call = replace(plain.call, raw_usage=usage, usage={"input.text": 10, "output.text": 2}, input_tokens=10)
    call = replace(call, output_tokens=2, reading_version=1, explicit_leaves=2)
    facts = fingerprint(call)
    cost = 10 * 2_500_000 + 2 * 10_000_000
    same = replace(
        plain, call=call, lines=(), cost_usd_pico=cost, known_cost_usd_pico=0, fingerprint=facts, rank=rank(call, facts)
    )
    books.write(
        old(misread(record(1, offset=0))), old(misread(record(2, offset=1, tenant=b"umbrella"))), same
    )  # fmt: skip
    books.now_us += 1_000_000
    return books


def found(books: Books, wanted: Wanted | None = None, *, every: bool = False) -> Found:
    """Everything at once."""
    [one] = rereadings(books.connection, wanted or Wanted(), read=from_stored(default_context()), every=every)
    return one


def reread(books: Books) -> int:
    """As the command and the writer do it; the number of calls queued."""
    queued = 0
    for some in rereadings(books.connection, Wanted(), read=from_stored(default_context()), every=False):
        raise_versions(books.connection, some.same)
        if some.differs:
            run_no = begin_run(books.connection, reason="a test", book_version="b", kind="reread")
            queue(books.connection, some.differs, run_no=run_no)
            queued += len(some.differs)
    while drain(books.connection, books.state, now_us=books.now_us):
        pass
    return queued


def test_the_difference_is_told_by_meter_before_anything_is_done(three: Books) -> None:
    some = found(three)
    assert (len(some.differs), len(some.same)) == (2, 1)
    meters: dict[Meter, MeterSum] = {}
    add_meters(meters, some.differs)
    changed = {
        (meter.group.tenant_id, meter.meter): (one.before, one.after, one.after_usd_pico - one.before_usd_pico)
        for meter, one in meters.items()
        if one.before != one.after
    }
    assert changed == {
        ("acme", "input.text"): (1000, 400, -1_500_000_000),
        ("umbrella", "input.text"): (1000, 400, -1_500_000_000),
    }
    assert three.all("SELECT count(*) FROM postings") == [(3,)]


def test_what_was_misread_is_charged_anew_and_all_sums_follow(three: Books) -> None:
    assert compact(three.connection)
    assert reread(three) == 2
    rows = three.all("SELECT known_cost_usd_pico, usage ->> 'input.text', reading_version FROM calls ORDER BY call_id")
    assert rows == [(RIGHT, "400", 2), (RIGHT, "400", 2), (0, "10", 2)]
    assert verify(three.connection, None) == []
    assert compact(three.connection)
    assert verify(three.connection, None) == []
    assert three.all("SELECT cause::text, calls FROM postings ORDER BY posting_id")[3:] == [
        ("reversal", -1), ("reread", 1)
    ] * 2  # fmt: skip
    assert three.all("SELECT kind, calls, (after_usd_pico - before_usd_pico)::bigint FROM repricing_runs") == [
        ("reread", 2, -3_000_000_000)
    ]


def test_rereading_twice_changes_nothing(three: Books) -> None:
    then_us = three.state.posted_at_us
    before = standing(three.connection, by=("tenant",), until_us=then_us)
    reread(three)
    postings = three.all("SELECT count(*) FROM postings")
    assert (reread(three), left(three.connection)) == (0, 0)
    assert three.all("SELECT count(*) FROM postings") == postings
    assert standing(three.connection, by=("tenant",), until_us=then_us) == before


def test_the_same_record_by_todays_code_is_a_duplicate_of_what_was_read_again(three: Books) -> None:
    reread(three)
    three.write(record(1, offset=3))
    assert three.all("SELECT sum(duplicates)::bigint, sum(losers)::bigint FROM origins") == [(1, 0)]
    assert verify(three.connection, None) == []


def test_a_witness_that_was_read_wrong_wins_when_it_is_read_right(books: Books) -> None:
    # The record with a mistaken greater total counts, though it says less: it has one explicit leaf fewer.
    right = record(1, offset=0)
    poor_call = replace(misread(record(1, offset=1)).call, feature="poor")
    facts = fingerprint(poor_call)
    poor = replace(misread(record(1, offset=1)), call=poor_call, fingerprint=facts, rank=rank(poor_call, facts))
    best_call = replace(right.call, feature="best", input_tokens=900, usage={**right.call.usage, "input.text": 300})
    facts = fingerprint(best_call)
    best = replace(right, call=best_call, fingerprint=facts, rank=rank(best_call, facts))
    books.write(old(poor), old(best))
    assert books.all("SELECT feature FROM calls") == [("poor",)]
    books.now_us += 1_000_000
    reread(books)
    assert verify(books.connection, None) == []
    # Both say 1,000 tokens now: the rank decides, whatever it is, as if both had just come.
    winner = max(process_now("poor", 1), process_now("best", 0), key=lambda one: one.rank)
    assert books.all("SELECT feature, known_cost_usd_pico FROM calls") == [(winner.call.feature, RIGHT)]
    assert books.all("SELECT count(*) FROM witnesses") == [(1,)]


def process_now(feature: str, offset: int) -> PricedCall:
    return record(1, offset=offset, feature=feature)


def test_records_that_turn_out_to_say_the_same_are_one(books: Books) -> None:
    books.write(old(misread(record(1, offset=0))), old(record(1, offset=1)))
    assert books.all("SELECT sum(winners)::bigint, sum(losers)::bigint, sum(duplicates)::bigint FROM origins") == [
        (1, 1, 0)
    ]
    books.now_us += 1_000_000
    reread(books)
    assert books.all("SELECT sum(winners)::bigint, sum(losers)::bigint, sum(duplicates)::bigint FROM origins") == [
        (1, 0, 1)
    ]
    assert books.all("SELECT known_cost_usd_pico FROM calls") == [(RIGHT,)]
    assert verify(books.connection, None) == []


def test_a_better_record_that_comes_meanwhile_is_left_alone(three: Books) -> None:
    some = found(three)
    queue(three.connection, some.differs, run_no=begin_run(three.connection, reason="r", book_version="b"))
    restated = record(1, offset=3)
    call = replace(restated.call, revision=1)
    facts = fingerprint(call)
    three.write(replace(restated, call=call, fingerprint=facts, rank=rank(call, facts)))
    assert drain(three.connection, three.state, now_us=three.now_us + 5) == 2
    assert three.all("SELECT known_cost_usd_pico FROM calls WHERE tenant_id = 'acme' AND revision = 1") == [(RIGHT,)]
    assert verify(three.connection, None) == []
    # What it superseded is a witness of the older reading, which is read again too and still counts less.
    reread(three)
    assert three.all("SELECT revision, known_cost_usd_pico FROM calls WHERE event_key = '/app#e3'") == [(1, RIGHT)]
    assert verify(three.connection, None) == []
    assert found_none(three)


def test_a_mended_reading_that_waits_is_not_lost_to_a_repricing(three: Books) -> None:
    some = found(three)
    reading = begin_run(three.connection, reason="r", book_version="b", kind="reread")
    assert queue(three.connection, some.differs, run_no=reading) == 2
    same_facts = [
        replace(one, after=replace(one.before.winner, known_cost_usd_pico=7), again=()) for one in some.differs
    ]
    for kind in ("arrival", "stale", "reprice"):
        run_no = begin_run(three.connection, reason="r", book_version="b", kind=kind)
        assert queue(three.connection, same_facts, run_no=run_no) == 0
    assert drain(three.connection, three.state, now_us=three.now_us) == 2
    assert three.all("SELECT known_cost_usd_pico FROM calls ORDER BY call_id LIMIT 2") == [(RIGHT,), (RIGHT,)]


@pytest.fixture
def across(books: Books) -> Books:
    """A call that was misread, two minutes after a record of it that says more and was made the month before."""
    right = record(1, offset=1, at_us=NOVEMBER_US - 60_000_000)
    usage = {"prompt_tokens": 1000, "completion_tokens": 250, "prompt_tokens_details": {"cached_tokens": 600}}
    call = replace(right.call, raw_usage=usage, usage={**right.call.usage, "output.text": 250}, output_tokens=250)
    facts = fingerprint(call)
    says_more = replace(right, call=call, fingerprint=facts, rank=rank(call, facts))
    books.write(old(misread(record(1, offset=0, at_us=NOVEMBER_US + 60_000_000))), old(says_more))
    books.now_us = NOVEMBER_US + 3_600_000_000
    return books


def close_october(books: Books) -> None:
    with psycopg.connect(books.connection.info.dsn, user="postgres", autocommit=True) as admin:
        admin.execute(
            "INSERT INTO periods (tenant_id, month, closed_at_us, time_zone, starts_us, ends_us) "
            "VALUES ('acme', '2025-10-01', 1, 'UTC', %s, %s)",
            (NOVEMBER_US - 31 * 86_400_000_000, NOVEMBER_US),
        )


def test_a_record_of_a_closed_month_that_would_count_now_needs_an_approval(across: Books) -> None:
    [one] = found(across).differs
    assert (one.corrects, one.after.call.started_at_us < NOVEMBER_US) == (False, True)
    close_october(across)
    [one] = found(across).differs
    assert one.corrects
    reread(across)
    assert across.all("SELECT charged_at_us < %s FROM calls", NOVEMBER_US) == [(True,)], "it was approved"
    assert across.all("SELECT cause::text, charge_class::text FROM postings ORDER BY posting_id") == [
        ("charge", None), ("reversal", None), ("correction", "correction")
    ]  # fmt: skip
    assert verify(across.connection, None) == []


def test_a_month_that_is_closed_while_a_rereading_waits_gets_no_call_of_another(across: Books) -> None:
    some = found(across)
    queue(across.connection, some.differs, run_no=begin_run(across.connection, reason="r", book_version="b"))
    close_october(across)
    assert drain(across.connection, across.state, now_us=across.now_us) == 1
    assert across.all("SELECT charged_at_us < %s FROM calls", NOVEMBER_US) == [(False,)]
    assert across.all("SELECT count(*) FROM postings") == [(1,)]
    assert verify(across.connection, None) == []


def found_none(books: Books) -> bool:
    read = from_stored(default_context())
    return not [one for one in rereadings(books.connection, Wanted(), read=read, every=False) if one.differs]


def test_every_golden_call_survives_the_ledger_with_its_fingerprint_and_exact_amounts(books: Books) -> None:
    made = []
    for offset, path in enumerate(FILES):
        _, call = read_case(path)
        if isinstance(call, Call):
            one = record(1, offset=offset)
            facts = fingerprint(call)
            priced = replace(one, call=call, lines=(), cost_usd_pico=None, known_cost_usd_pico=0)
            made.append(replace(priced, fingerprint=facts, rank=rank(call, facts)))
    books.write(*made)
    hints = books.all("SELECT call_id, charged_at_us FROM calls")
    calls = [one.winner for one in store.existing(books.connection, hints)]
    assert len(calls) > 150
    assert [one.fingerprint for one in calls] == [fingerprint(one.call) for one in calls]
    costs = [one.call.raw_usage["cost"] for one in calls if one.call.raw_usage and "cost" in one.call.raw_usage]
    assert costs
    assert not [cost for cost in costs if isinstance(cost, float)]
    assert any(isinstance(cost, Decimal) for cost in costs)
    [some] = rereadings(books.connection, Wanted(), read=from_stored(default_context()), every=True)
    assert some.differs == []
