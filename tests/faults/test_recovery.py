"""What counts as recovered, by hand."""

from tests.faults.recovery import Sample, recovered


def test_it_has_recovered_when_the_lag_is_small_for_good() -> None:
    samples = [Sample(100.0, 0.3), Sample(101.0, 5.0), Sample(102.0, 1.0), Sample(103.0, 7.5), Sample(104.0, 4.9)]
    assert recovered(samples, 100.5) == (2.5, 7.5)


def test_a_lag_that_never_grew_needs_no_recovery() -> None:
    assert recovered([Sample(1.0, 0.4), Sample(2.0, 4.9)], 1.0) == (0.0, 4.9)
