"""What a journal and a log come to, by hand: the checker's own rules, without the product."""

from typing import Any

from tests.faults.journal import Ack, Journal, Logged, expected

_HOUR_US = 3_600_000_000
_NOW_US = 500_000 * _HOUR_US + 60_000_000


def _entry(n: int, **facts: Any) -> dict[str, Any]:
    plain = {
        "n": n, "kind": "call", "tenant": "t", "event": f"e{n}", "call": f"r:{n}", "feature": "f", "model": "m",
        "at_us": _NOW_US, "lines": {"input.text": [10, 25]}, "is_complete": True, "weight": [0, 3, 2, 10],
    }  # fmt: skip
    return plain | facts


def _journal(*entries: dict[str, Any]) -> Journal:
    by_n = {one["n"]: one for one in entries}
    return Journal({}, {n: by_n[one["first"]] if "first" in one else one for n, one in by_n.items()}, [])


def _log(*numbers: int) -> list[Logged]:
    return [Logged(0, offset, _NOW_US, n) for offset, n in enumerate(numbers)]


def test_what_was_sent_twice_is_one_call_and_one_duplicate_whoever_sent_it() -> None:
    journal = _journal(_entry(0), {"n": 1, "first": 0})
    found = expected(journal, _log(0, 1, 0))
    assert found.calls.keys() == {"r:0"}
    assert found.calls["r:0"].cost_usd_pico == 25
    assert found.outcomes == {"winners": 1, "duplicates": 2}


def test_of_two_stories_the_greater_weight_counts_in_any_order() -> None:
    small = _entry(0, call="r:x")
    large = _entry(1, call="r:x", event="e0", lines={"input.text": [20, 50]}, weight=[0, 3, 2, 20])
    for log in (_log(0, 1), _log(1, 0)):
        found = expected(_journal(small, large), log)
        assert found.calls["r:x"].cost_usd_pico == 50
        assert found.outcomes == {"winners": 1, "losers": 1}


def test_a_reply_told_under_two_ids_is_one_call_and_not_a_loser() -> None:
    found = expected(_journal(_entry(0, call="r:x"), _entry(1, call="r:x")), _log(0, 1))
    assert found.outcomes == {"winners": 1, "duplicates": 1}
    assert not found.calls["r:x"].is_reused


def test_two_replies_under_one_id_are_two_calls_and_both_are_flagged_once_both_are_in_the_log() -> None:
    journal = _journal(_entry(0, event="e"), _entry(1, event="e"))
    assert [call.is_reused for call in expected(journal, _log(0, 1)).calls.values()] == [True, True]
    assert [call.is_reused for call in expected(journal, _log(0)).calls.values()] == [False]


def test_what_is_not_in_the_log_is_expected_nowhere_and_an_acknowledgement_of_it_is_a_loss() -> None:
    journal = _journal(_entry(0), _entry(1))._replace(acks=[Ack(0, 0, 0), Ack(1, 0, 7)])
    found = expected(journal, _log(0))
    assert found.calls.keys() == {"r:0"}
    assert found.lost_by_broker == [Ack(1, 0, 7)]


def test_a_time_nobody_believes_is_the_first_time_the_log_saw_it() -> None:
    far = _entry(0, at_us=_NOW_US + 400 * 24 * _HOUR_US)
    old = _entry(1, at_us=_NOW_US - 401 * 24 * _HOUR_US)
    late = _entry(2, at_us=_NOW_US - 8 * 24 * _HOUR_US)
    again = Logged(1, 0, _NOW_US + 5 * _HOUR_US, 0)
    found = expected(_journal(far, old, late), [again, *_log(0, 1, 2)])
    assert [call.hour for call in found.calls.values()] == [500_000, 500_000, 500_000 - 8 * 24]


def test_every_copy_of_what_cannot_be_read_is_a_reject_of_its_own() -> None:
    journal = _journal({"n": 0, "kind": "poison", "tenant": "t", "reason": "empty"}, {"n": 1, "first": 0})
    found = expected(journal, _log(0, 1))
    assert found.rejected == {(0, 0): "empty", (0, 1): "empty"}
    assert (found.calls, found.outcomes) == ({}, {"rejected": 2})
