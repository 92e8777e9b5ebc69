"""How long a source may be quiet: figures by hand."""

from hypothesis import given
from hypothesis import strategies as st

from ledger.watch.arrivals import PERIOD_US, Patience, Source, allowed_us, heard, usual_us

_MIN, _HOUR, _DAY = 60_000_000, 3_600_000_000, 86_400_000_000
PATIENCE = Patience(factor=3, floor_us=10 * _MIN, ceiling_us=3 * _DAY, history_us=30 * _MIN, records=30)


def steady(pause_us: int, count: int, *, from_us: int = 0) -> list[int]:
    return [from_us + pause_us * number for number in range(count)]


def test_a_source_that_speaks_every_second_may_be_quiet_for_the_floor() -> None:
    assert allowed_us(heard(None, steady(1_000_000, 3_600)), PATIENCE) == 10 * _MIN


def test_a_source_that_speaks_every_hour_may_be_quiet_for_three_hours() -> None:
    assert allowed_us(heard(None, steady(_HOUR, 40)), PATIENCE) == 3 * _HOUR


def test_a_source_of_one_burst_is_never_missed() -> None:
    assert allowed_us(heard(None, steady(1_000, 10_000)), PATIENCE) is None


def test_one_outage_does_not_teach_that_outages_are_normal_but_two_nights_teach_the_night() -> None:
    day = steady(_MIN, 600)
    two = day + [at + _DAY for at in day]
    assert allowed_us(heard(None, two), PATIENCE) == 10 * _MIN
    three = two + [at + 2 * _DAY for at in day]
    # From 9 h 59 min to the next day's beginning.
    assert usual_us(heard(None, three)) == _DAY - 599 * _MIN
    assert allowed_us(heard(None, three), PATIENCE) == 3 * (_DAY - 599 * _MIN)


def test_no_source_may_be_quiet_for_longer_than_the_ceiling() -> None:
    assert allowed_us(heard(None, steady(2 * _DAY, 40)), PATIENCE) == 3 * _DAY


def test_what_was_usual_a_month_ago_is_forgotten() -> None:
    source = heard(None, steady(_HOUR, 40))
    source = heard(source, steady(_MIN, 3 * PERIOD_US // _MIN, from_us=source.last_at_us + _MIN))
    assert usual_us(source) == _MIN


@given(st.lists(st.integers(0, 20 * _DAY), min_size=1), st.data())
def test_records_in_one_batch_or_in_many_teach_the_same(times: list[int], data: st.DataObject) -> None:
    times.sort()
    cut = data.draw(st.integers(1, len(times)))
    split = heard(None, times[:cut])
    split = heard(split, times[cut:]) if times[cut:] else split
    assert split == heard(None, times)
    assert isinstance(split, Source)
