"""What has moved, and whether it stayed so: per tenant and feature, with enough rows, in a row."""

from dataclasses import dataclass

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dags.core.candidacy import Judged, verdict
from dags.core.findings import Counted, Drift, Reference, Terms, Window, compared, persistent, reference
from tokenledger.drift import Bins

BINS = Bins(words=("a", "b"))
WINDOW = Window(since_us=0, until_us=1)
TERMS = Terms(threshold=0.2, least_rows=100, runs=3)


def counted(*counts: int, tenant: str = "acme", feature: str | None = "chat", column: str = "tier") -> Counted:
    """One column."""
    return Counted(tenant_id=tenant, feature=feature, column=column, bins=BINS, counts=(*counts, 0, 0))


def base(*columns: Counted) -> Reference:
    """A reference."""
    return reference(WINDOW, 1_000, columns=columns)


def drift(now: Counted, *, until_us: int = 1, terms: Terms = TERMS, of: Reference | None = None) -> Drift:
    """A report on one column."""
    window = Window(since_us=until_us - 1, until_us=until_us)
    return compared(of or base(counted(500, 500)), [now], window=window, rows=sum(now.counts), terms=terms)


@pytest.mark.parametrize(
    ("now", "moved"),
    [(counted(500, 500), False), (counted(460, 540), False), (counted(150, 850), True), (counted(9, 51), False)],
)
def test_a_column_has_moved_when_enough_rows_say_so(now: Counted, moved: object) -> None:
    [found] = drift(now).findings

    assert found.moved is moved
    assert (found.psi is None) == (sum(now.counts) < 100)


def test_a_difference_that_chance_makes_is_none() -> None:
    """Ten bins and a hundred rows: PSI of 0.2 is what a lot would give nearly as often."""
    bins = Bins(edges=tuple(map(float, range(1, 10))))
    one = Counted(tenant_id="acme", feature="chat", column="n", bins=bins, counts=(100,) * 10 + (0,))
    now = msgspec.structs.replace(one, counts=(6, 14, 6, 14, 6, 14, 6, 14, 6, 14, 0))

    [found] = compared(base(one), [now], window=WINDOW, rows=100, terms=Terms(threshold=0.1, least_rows=50)).findings

    assert found.psi is not None
    assert found.psi > 0.1
    assert not found.moved


def test_groups_the_reference_does_not_know_are_named_not_compared() -> None:
    found = drift(counted(500, 500, feature="new"))

    assert found.findings == ()
    assert found.unknown == (("acme", "new"),)


def test_the_order_of_columns_makes_no_difference_to_a_reference() -> None:
    one, two = counted(1, 2), counted(3, 4, column="model")

    assert base(one, two) == base(two, one)


@given(st.lists(st.booleans(), max_size=8), st.integers(1, 4), st.randoms())
def test_an_alert_needs_so_many_reports_in_a_row(moved: list[bool], runs: int, lot: "_Lot") -> None:
    terms = Terms(threshold=0.2, least_rows=100, runs=runs)
    reports = [drift(counted(100, 900) if one else counted(500, 500), until_us=n + 1, terms=terms)
               for n, one in enumerate(moved)]  # fmt: skip
    shuffled = [*reports, *reports]
    lot.shuffle(shuffled)

    found = persistent(shuffled, base=base(counted(500, 500)).version, terms=terms)

    assert (found is not None) == (len(moved) >= runs and all(moved[-runs:]))
    if found is not None:
        assert found.runs == tuple(one.run for one in reports[-runs:])


@dataclass
class _Lot:
    """What `st.randoms` gives."""

    def shuffle(self, what: list[Drift]) -> None:
        """In place."""


def test_reports_on_another_reference_or_by_other_terms_do_not_count() -> None:
    own = base(counted(500, 500))
    reports = [drift(counted(100, 900), until_us=n, of=own) for n in (1, 2, 3)]
    other = base(counted(400, 600))

    assert persistent(reports, base=own.version, terms=TERMS) is not None
    assert persistent(reports, base=other.version, terms=TERMS) is None
    assert persistent(reports, base=own.version, terms=Terms(threshold=0.3, least_rows=100, runs=3)) is None


def test_only_what_moved_in_every_one_of_them_is_in_the_alert() -> None:
    own = base(counted(500, 500), counted(500, 500, column="model"))
    steady, moved = counted(500, 500, column="model"), counted(100, 900, column="model")
    reports = [
        compared(
            own,
            [counted(100, 900), moved if n > 1 else steady],
            window=Window(since_us=n, until_us=n + 1),
            rows=1_000,
            terms=TERMS,
        )
        for n in (1, 2, 3)
    ]

    found = persistent(reports, base=own.version, terms=TERMS)

    assert found is not None
    assert [one.column for one in found.findings] == ["tier"]


# Candidates


def judged(apgr: float, *, low: float = 0.6, version: str = "new") -> Judged:
    """A router."""
    return Judged(version=version, apgr=apgr, low=low, calibration_error=0.1)


@pytest.mark.parametrize(
    ("candidate", "current", "pairs", "fit"),
    [
        (judged(0.7), None, 200, True),
        (judged(0.7), judged(0.65, version="old"), 200, True),
        (judged(0.7), judged(0.704, version="old"), 200, True),
        (judged(0.7), judged(0.75, version="old"), 200, False),
        (judged(0.7, low=0.49), None, 200, False),
        (judged(0.7), None, 99, False),
        (judged(0.7), judged(0.7), 200, True),
    ],
)
def test_a_candidate_must_beat_chance_and_not_be_worse_than_what_serves(
    candidate: Judged, current: Judged | None, pairs: int, fit: object
) -> None:
    found, why = verdict(candidate, current, golden_pairs=pairs, golden_gap_low=0.1)

    assert found is fit
    assert why


def test_where_the_tiers_are_alike_no_area_speaks_for_a_candidate() -> None:
    """A hundredth of a gap makes an APGR of 50 of a router that is no better than a lot."""
    found, why = verdict(judged(50.45, low=1.2), None, golden_pairs=200, golden_gap_low=-0.02)
    assert (found, "no gap to recover" in why, "-0.020" in why) == (False, True, True)
