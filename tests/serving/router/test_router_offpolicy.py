"""Another router's value, from calls it did not serve."""

import random

import pytest

from serving.router.offpolicy import Served, value


def test_calls_are_weighed_by_how_much_likelier_the_other_router_makes_them() -> None:
    """Weights 1 ÷ 0.5 = 2 and 0.5 ÷ 0.25 = 2 and 0: (2 · 1 + 2 · 0) ÷ 4."""
    told = value(
        [
            Served(propensity=0.5, outcome=1, other=1),
            Served(propensity=0.25, outcome=0, other=0.5),
            Served(propensity=0.9, outcome=1, other=0),
        ]
    )
    assert told is not None
    assert told.mean == pytest.approx(0.5)
    assert told.effective_calls == pytest.approx(2)


def test_the_same_router_is_worth_what_was_seen() -> None:
    told = value([Served(propensity=0.3, outcome=float(n % 4 == 0), other=0.3) for n in range(100)])
    assert told is not None
    assert told.mean == pytest.approx(0.25)
    assert told.effective_calls == pytest.approx(100)


@pytest.mark.slow
def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    """The log tries the better tier (right 8 of 10) once in ten calls; 200 logs of 2,000 calls each."""
    draw, held = random.Random(5), 0  # noqa: S311  (a simulation, not a secret)
    for _ in range(200):
        served = []
        for _ in range(2000):
            better = draw.random() < 0.1
            right = draw.random() < (0.8 if better else 0.6)
            served.append(Served(propensity=0.1 if better else 0.9, outcome=float(right), other=float(better)))
        told = value(served)
        assert told is not None
        held += told.low <= 0.8 <= told.high
    assert 180 <= held <= 200


def test_a_router_that_never_chooses_what_was_served_has_no_value() -> None:
    assert value([Served(propensity=1, outcome=1, other=0)]) is None


def test_a_propensity_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="log the propensity"):
        value([Served(propensity=0, outcome=1, other=1)])
