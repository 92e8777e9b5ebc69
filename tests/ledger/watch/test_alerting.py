"""Alerts open once, stay while their trouble does, and close by themselves; what nobody judged stays as it is."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.watch.alerting import Finding, Open, Subject, changes

_A, _B = Subject("rejects", "a"), Subject("gap", "b")
_BOTH = {"rejects": 50, "gap": 50}


def test_a_new_trouble_opens_an_alert_and_an_old_one_is_seen_again() -> None:
    found = [Finding(_A, "5 of 20"), Finding(_B, "1 number")]
    changed = changes({_A: Open(7, 100)}, found, judged=_BOTH, now_us=200)
    assert (changed.opened, changed.seen, changed.closed) == ([found[1]], [(7, found[0])], [])


def test_a_lesser_trouble_opens_none_but_keeps_one_open() -> None:
    lesser = Finding(_A, "3 of 100", opens=False)
    assert changes({}, [lesser], judged=_BOTH, now_us=200).opened == []
    assert changes({_A: Open(7, 100)}, [lesser], judged=_BOTH, now_us=200).closed == []


@pytest.mark.parametrize(("now_us", "closed"), [(149, []), (150, [7])])
def test_an_alert_closes_when_its_trouble_was_away_for_long_enough(now_us: int, closed: list[int]) -> None:
    assert changes({_A: Open(7, 100)}, [], judged=_BOTH, now_us=now_us).closed == closed


def test_an_alert_of_a_kind_that_nobody_judged_stays_open() -> None:
    assert changes({_A: Open(7, 0)}, [], judged={"gap": 50}, now_us=900).closed == []


_Rounds = st.lists(st.tuples(st.sampled_from(["bad", "lesser", "fine"]), st.integers(1, 40)), max_size=30)


def _lived(rounds: list[tuple[str, int]], hold_us: int) -> Iterator[bool]:
    """Whether an alert is open after each round."""
    known: dict[Subject, Open] = {}
    at_us = 0
    for found, later_us in rounds:
        at_us += later_us
        findings = [] if found == "fine" else [Finding(_A, "", opens=found == "bad")]
        changed = changes(known, findings, judged={"rejects": hold_us}, now_us=at_us)
        if changed.opened or changed.seen:
            known[_A] = Open(1, at_us)
        if changed.closed:
            del known[_A]
        yield _A in known


@given(_Rounds, st.integers(0, 60))
def test_an_alert_is_open_from_the_bad_round_until_quiet_has_lasted(
    rounds: list[tuple[str, int]], hold_us: int
) -> None:
    opened, quiet_us = False, 0
    for (found, later_us), is_open in zip(rounds, _lived(rounds, hold_us), strict=True):
        quiet_us = quiet_us + later_us if found == "fine" else 0
        opened = found == "bad" or (opened and (found == "lesser" or quiet_us < hold_us))
        assert is_open == opened
