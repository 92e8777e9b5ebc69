"""Which record of a call counts: hand-made cases, and laws that hold for any set of records in any order."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenledger.merge import Candidate, Resolved, candidate, fingerprint, rank, resolve
from tokenledger.records import Call, PricedCall

_BASE = Call(
    tenant_id="acme",
    event_id="e1",
    event_key="app/e1",
    provider="openai",
    usage={"input.text": 10, "output.text": 5},
    input_tokens=10,
    output_tokens=5,
    usage_source="reported",
    explicit_leaves=2,
    started_at_us=1_760_000_000_000_000,
    event_time_source="started_at",
)


def _call(**changes: object) -> Call:
    return msgspec.structs.replace(_BASE, **changes)


def _rank(**changes: object) -> str:
    call = _call(**changes)
    return rank(call, fingerprint(call))


def _record(call: Call, *, offset: int = 0) -> Candidate[PricedCall]:
    print_ = fingerprint(call)
    return candidate(
        PricedCall(
            call=call, price_status="priced", fingerprint=print_, rank=rank(call, print_), topic="raw", offset=offset
        )
    )


def test_ids_origin_and_the_raw_object_do_not_change_the_fingerprint() -> None:
    keyed = _call(response_key="openai/r1")
    again = msgspec.structs.replace(
        keyed, event_id="e9", event_key="file/e9", received_at_us=5, raw_usage={"x": 1}, trace_id="t", ce_sequence=3
    )
    assert fingerprint(keyed) == fingerprint(again)


def test_a_time_taken_from_the_log_does_not_change_the_fingerprint_but_a_stated_one_does() -> None:
    assert fingerprint(_call(event_time_source="append", started_at_us=1)) == fingerprint(
        _call(event_time_source="append", started_at_us=2)
    )
    assert fingerprint(_call(started_at_us=1)) != fingerprint(_call(started_at_us=2))


def test_the_order_in_which_meters_were_read_does_not_change_the_fingerprint() -> None:
    assert fingerprint(_call(usage={"input.text": 10, "output.text": 5})) == fingerprint(
        _call(usage={"output.text": 5, "input.text": 10})
    )


def test_money_time_and_attribution_each_change_the_fingerprint() -> None:
    changes: list[dict[str, object]] = [
        {"usage": {"input.text": 11}},
        {"feature": "search"},
        {"tags": {"team": "a"}},
        {"ended_at_us": 7},
        {"response_model": "m"},
        {"billed_usd_pico": 0},
        {"status": "aborted"},
        {"revision": 1},
        {"explicit_leaves": 1},
    ]
    assert len({fingerprint(_call(**change)) for change in changes} | {fingerprint(_BASE)}) == len(changes) + 1


def test_rank_compares_revision_then_source_then_finality_then_leaves_then_total() -> None:
    ascending = [
        _rank(usage_source="none"),
        _rank(usage_source="estimated"),
        _rank(usage_source="counted"),
        _rank(status="in_progress"),
        _rank(status="aborted"),
        _rank(explicit_leaves=1, input_tokens=10**12),
        _rank(input_tokens=9),
        _rank(),
        _rank(input_tokens=2**53),
        _rank(explicit_leaves=16),
        _rank(revision=1, usage_source="none"),
        _rank(revision=2**63 - 1),
    ]
    assert ascending == sorted(ascending)
    assert len(set(ascending)) == len(ascending)


def test_a_call_that_failed_is_as_final_as_one_that_succeeded() -> None:
    assert _rank(status="error")[:36] == _rank(status="ok")[:36]


def test_rank_has_one_width_whatever_the_numbers() -> None:
    assert {
        len(_rank(revision=revision, explicit_leaves=leaves, input_tokens=tokens))
        for revision in (-1, 0, 2**63)
        for leaves in (-1, 0, 300)
        for tokens in (None, -5, 2**63)
    } == {68}


def test_a_record_with_only_an_event_key_belongs_to_the_response_that_shares_it() -> None:
    estimate = _record(_call(usage_source="estimated"))
    reply = _record(_call(response_key="openai/r1"))
    (call,) = resolve([estimate, reply])
    assert (call.winner, call.losers, call.duplicates, call.id_reuse) == (reply, (estimate,), (), False)


def test_two_responses_under_one_event_are_two_calls_and_both_are_flagged() -> None:
    first, second = _record(_call(response_key="openai/r1")), _record(_call(response_key="openai/r2"))
    bare = _record(_call(usage_source="estimated"))
    calls = resolve([second, bare, first])
    assert [(call.winner, call.losers, call.id_reuse) for call in calls] == [(first, (bare,), True), (second, (), True)]


def test_one_response_read_again_under_another_event_is_one_call() -> None:
    first = _record(_call(response_key="openai/r1"), offset=1)
    again = _record(_call(response_key="openai/r1", event_key="file/7"), offset=2)
    (call,) = resolve([again, first])
    assert (call.winner, call.duplicates, call.id_reuse) == (first, (again,), False)


def test_two_tenants_never_share_a_call() -> None:
    assert len(resolve([_record(_call()), _record(_call(tenant_id="umbrella"))])) == 2


def _records() -> st.SearchStrategy[list[Candidate[PricedCall]]]:
    """Few keys and few facts, so that joins, reuse, losers and duplicates all happen."""
    call = st.builds(
        _call,
        tenant_id=st.sampled_from(["a", "b"]),
        event_key=st.sampled_from(["e1", "e2", "e3"]),
        response_key=st.sampled_from([None, "r1", "r2", "r3"]),
        revision=st.integers(0, 1),
        input_tokens=st.integers(0, 2),
    )
    return st.lists(call, max_size=12).map(
        lambda calls: [_record(call, offset=offset) for offset, call in enumerate(calls)]
    )


def _members(call: Resolved[PricedCall]) -> list[Candidate[PricedCall]]:
    return [call.winner, *call.losers, *call.duplicates]


@given(_records(), st.randoms())
def test_any_order_gives_the_same_calls(records: list[Candidate[PricedCall]], random: object) -> None:
    shuffled = list(records)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert resolve(shuffled) == resolve(records)


@given(_records())
def test_every_record_has_exactly_one_outcome(records: list[Candidate[PricedCall]]) -> None:
    outcomes = [one.origin for call in resolve(records) for one in _members(call)]
    assert sorted(outcomes) == [one.origin for one in records]


@pytest.mark.slow
@given(_records(), st.integers(0, 12))
def test_merging_in_two_steps_gives_the_same_calls(records: list[Candidate[PricedCall]], cut: int) -> None:
    """What the first step keeps (all that was not dropped) plus the rest decides as the whole does."""
    kept = [one for call in resolve(records[:cut]) for one in _members(call)]
    assert resolve(kept + records[cut:]) == resolve(records)


@given(_records())
def test_merging_again_changes_nothing(records: list[Candidate[PricedCall]]) -> None:
    once = resolve(records)
    twice = resolve([one for call in once for one in _members(call)] + records)
    assert [(call.winner, call.losers, call.id_reuse) for call in twice] == [
        (call.winner, call.losers, call.id_reuse) for call in once
    ]


@pytest.mark.slow
@given(_records())
def test_the_winner_is_greater_than_every_loser(records: list[Candidate[PricedCall]]) -> None:
    assert all(call.winner.rank > loser.rank for call in resolve(records) for loser in call.losers)
