"""A change of the price book touches what it says and nothing else, and the past stays what it was."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ledger.prices.changes import CONTRACT, RATE, ChangeError, Entry, Kept, Plan, add, end, overlay_of, undo
from tokenledger.pricing import build_book
from tokenledger.pricing.book import Contract
from tokenledger.pricing.catalogue import Catalogue
from tokenledger.pricing.cost import price_call
from tokenledger.pricing.rate import END_US, OWN, Row
from tokenledger.records import Call

DAY_US = 86_400_000_000
JAN, FEB, MAR, APR = (
    day * DAY_US for day in (20_454, 20_485, 20_513, 20_544)
)  # 2026, by `date -d @$((20454 * 86400))`
NOW, LATER = JAN + 1, JAN + 2
NOTHING = Catalogue(name="none", known_from_us=0, rows={}, version="0", find=lambda *_: None)


def rate(
    usd_per_million: int, start: int = 0, stop: int = END_US, *, model: str = "m", meter: str = "input.text"
) -> Row:
    return Row(
        layer=OWN, provider="acme-ai", model=model, meter=meter, valid_from_us=start, valid_to_us=stop,
        list_pico=usd_per_million * 10**6,
    )  # fmt: skip


class Book:
    """The tables, in memory: every row that ever was."""

    def __init__(self) -> None:
        self.kept: list[Kept] = []
        self.change_no = 0

    @property
    def believed(self) -> list[Kept]:
        """What was not withdrawn."""
        return [one for one in self.kept if one.withdrawn_by is None]

    def apply(self, plan: Plan, at_us: int) -> int:
        """Carry a plan out; the number of the change."""
        self.change_no += 1
        gone = {one.row_no for one in plan.withdrawn}
        self.kept = [
            Kept(
                row_no=one.row_no, kind=one.kind, change_no=one.change_no, withdrawn_by=self.change_no,
                entry=_until(one.entry, at_us),
            )
            if one.row_no in gone
            else one
            for one in self.kept
        ]  # fmt: skip
        for kind, entry in plan.added:
            self.kept.append(Kept(row_no=len(self.kept), kind=kind, entry=entry, change_no=self.change_no))
        return self.change_no

    def add(self, *rows: Row, at_us: int = NOW, correct: bool = False) -> int:
        """State rates."""
        return self.apply(add(self.believed, [(RATE, row) for row in rows], at_us=at_us, correct=correct), at_us)

    def usd_per_million(self, at_us: int, known_at_us: int | None = None) -> int | None:
        """What a million tokens cost at an instant, by the real book."""
        book = build_book(NOTHING, overlay_of(self.kept))
        book = book if known_at_us is None else book.as_of(known_at_us)
        call = Call(
            tenant_id="t", event_id="e", event_key="k", provider="acme-ai", request_model="m", started_at_us=at_us,
            usage={"input.text": 10**6}, event_time_source="started_at",
        )  # fmt: skip
        cost = price_call(call, book).cost_usd_pico
        return None if cost is None else cost // 10**12


def _until(entry: Entry, at_us: int) -> Entry:
    return replace(entry, known_to_us=at_us)


def test_a_future_dated_rate_does_not_price_today() -> None:
    book = Book()
    book.add(rate(2, stop=MAR), rate(3, MAR))
    assert (book.usd_per_million(FEB), book.usd_per_million(MAR - 1), book.usd_per_million(MAR)) == (2, 2, 3)


def test_a_rate_that_overlaps_another_is_refused_and_both_are_named() -> None:
    book = Book()
    book.add(rate(2))
    with pytest.raises(
        ChangeError, match=r"m input.text \(from 2026-03-01 on\) overlaps .* \(from ever on\).*--correct"
    ):
        book.add(rate(3, MAR))


def test_what_is_believed_already_changes_nothing() -> None:
    book = Book()
    book.add(rate(2))
    assert add(book.believed, [(RATE, rate(2))], at_us=LATER, correct=False) == Plan(unchanged=1)


def test_a_correction_learned_late_changes_only_its_interval() -> None:
    book = Book()
    book.add(rate(2))
    book.add(rate(5, FEB, MAR), at_us=LATER, correct=True)
    assert [book.usd_per_million(at) for at in (JAN, FEB - 1, FEB, MAR - 1, MAR, APR)] == [2, 2, 5, 5, 2, 2]


def test_as_known_before_the_correction_the_past_answers_as_it_did() -> None:
    book = Book()
    book.add(rate(2))
    book.add(rate(5, FEB, MAR), at_us=LATER, correct=True)
    assert book.usd_per_million(FEB, known_at_us=NOW) == 2
    assert book.usd_per_million(FEB, known_at_us=LATER) == 5
    assert book.usd_per_million(FEB, known_at_us=NOW - 1) is None


def test_an_announced_rise_can_be_withdrawn_and_the_old_price_goes_on() -> None:
    book = Book()
    book.add(rate(2))
    announced = book.add(rate(9, MAR), at_us=NOW + 10, correct=True)
    assert book.usd_per_million(APR) == 9
    book.apply(undo(announced, book.kept, at_us=NOW + 20), NOW + 20)
    assert book.usd_per_million(APR) == 2
    assert book.usd_per_million(APR, known_at_us=NOW + 15) == 9


def test_a_change_that_another_built_upon_is_undone_after_that_one() -> None:
    book = Book()
    book.add(rate(2))
    first = book.add(rate(3, MAR), at_us=NOW + 10, correct=True)
    second = book.add(rate(4, APR), at_us=NOW + 20, correct=True)
    with pytest.raises(ChangeError, match=f"changed again by change {second}; undo that one first"):
        undo(first, book.kept, at_us=NOW + 30)
    book.apply(undo(second, book.kept, at_us=NOW + 30), NOW + 30)
    assert book.usd_per_million(APR) == 3


def test_a_change_that_never_was_cannot_be_undone() -> None:
    with pytest.raises(ChangeError, match="change 7: there is no such change"):
        undo(7, [], at_us=NOW)


def test_a_rate_ends_where_it_is_said_to_and_one_that_ends_before_its_start_never_applied() -> None:
    book = Book()
    book.add(rate(2, FEB))
    [one] = book.believed
    book.apply(end(one, valid_to_us=MAR, at_us=LATER), LATER)
    assert (book.usd_per_million(MAR - 1), book.usd_per_million(MAR)) == (2, None)
    [one] = book.believed
    with pytest.raises(ChangeError, match="ends before that already"):
        end(one, valid_to_us=APR, at_us=LATER + 1)
    book.apply(end(one, valid_to_us=JAN, at_us=LATER + 1), LATER + 1)
    assert book.usd_per_million(FEB) is None


def test_a_correction_of_other_context_sizes_is_refused() -> None:
    book = Book()
    book.add(rate(2))
    with pytest.raises(ChangeError, match="covers other context sizes or hours"):
        book.add(replace(rate(3), above_tokens=200_000), at_us=LATER, correct=True)


def test_two_contracts_for_the_same_are_refused() -> None:
    one = Contract(tenant_id="acme", provider="openai", discount_ppm=1, valid_from_us=JAN)
    other = Contract(tenant_id="acme", provider="OpenAI", discount_ppm=2, valid_from_us=FEB)
    with pytest.raises(ChangeError, match="contract of acme with"):
        add([], [(CONTRACT, one), (CONTRACT, other)], at_us=NOW, correct=False)


_days = st.integers(20_454, 20_500)
_spans = st.tuples(_days, _days).filter(lambda pair: pair[0] != pair[1]).map(sorted)


@pytest.mark.slow
@given(st.lists(st.tuples(_spans, st.integers(1, 9)), min_size=1, max_size=8))
def test_corrections_answer_as_if_they_were_painted_over_each_other(steps: list[tuple[list[int], int]]) -> None:
    book = Book()
    painted: dict[int, int] = {}
    pictures: list[tuple[int, dict[int, int]]] = []
    for number, ((start, stop), usd) in enumerate(steps):
        at_us = NOW + 10 * number
        book.add(rate(usd, start * DAY_US, stop * DAY_US), at_us=at_us, correct=True)
        painted |= dict.fromkeys(range(start, stop), usd)
        pictures.append((at_us, dict(painted)))
    for known_at_us, picture in pictures:
        for day in range(20_453, 20_502):
            assert book.usd_per_million(day * DAY_US, known_at_us=known_at_us) == picture.get(day)


@pytest.mark.slow
@given(st.lists(st.tuples(_spans, st.integers(1, 9)), min_size=2, max_size=6))
def test_taking_back_the_last_change_gives_the_book_before_it(steps: list[tuple[list[int], int]]) -> None:
    book = Book()
    for number, ((start, stop), usd) in enumerate(steps):
        before = [book.usd_per_million(day * DAY_US) for day in range(20_453, 20_502)]
        last = book.add(rate(usd, start * DAY_US, stop * DAY_US), at_us=NOW + 10 * number, correct=True)
    if any(one.change_no == last for one in book.kept):
        book.apply(undo(last, book.kept, at_us=LATER + 1_000), LATER + 1_000)
    assert [book.usd_per_million(day * DAY_US) for day in range(20_453, 20_502)] == before
