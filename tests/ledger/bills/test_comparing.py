"""Every difference between a bill and the ledger has a name, and the names add up to it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.bills.comparing import Cause, Cell, Ours, Place, causes, compare
from ledger.bills.lines import BillLine
from ledger.bills.report import MEANING

USD = 10**12
MONDAY, TUESDAY = "2026-11-02", "2026-11-03"


def billed(usd_pico: int | None, quantity: int | None = None, **changes: object) -> BillLine:
    plain: dict[str, object] = {"day": MONDAY, "provider": "openai", "model": "m", "meter": "input.text"}
    return BillLine(amount_usd_pico=usd_pico, quantity=quantity, **(plain | changes))  # type: ignore[arg-type]


def held(
    usd_pico: int, quantity: int = 1_000, *, day: str = MONDAY, model: str = "m", meter: str = "input.text"
) -> Ours:
    return Ours(place=Place(day, "openai", model, meter), quantity=quantity, amount_usd_pico=usd_pico)


def why(bill: list[BillLine], ours: list[Ours], **incomplete: int) -> dict[Cause, int]:
    missing = {(MONDAY, "openai", model): calls for model, calls in incomplete.items()}
    return causes(compare(bill, ours, incomplete=missing, name=lambda _, model: model))


def test_the_same_quantity_and_amount_match() -> None:
    [cell] = compare([billed(5 * USD, 1_000)], [held(5 * USD)], incomplete={}, name=lambda _, model: model)
    assert cell.matches
    assert cell.causes == {}


def test_what_only_the_bill_has_never_came_through() -> None:
    assert why([billed(5 * USD, 1_000)], []) == {Cause.MISSING_HERE: 5 * USD}


def test_what_only_the_ledger_has_is_missing_on_the_bill_of_a_day_it_covers() -> None:
    bill = [billed(5 * USD, 1_000, meter="output.text")]
    assert why(bill, [held(2 * USD), held(5 * USD, meter="output.text")]) == {Cause.MISSING_THERE: -2 * USD}
    assert why(bill, [held(2 * USD, day=TUESDAY), held(5 * USD, meter="output.text")]) == {}


def test_another_count_is_valued_at_our_price_and_what_is_left_is_another_price() -> None:
    # We: 1,000 tokens for 10 USD, so 0.01 a token. They: 1,100 tokens for 12 USD. 100 more tokens are 1 USD.
    assert why([billed(12 * USD, 1_100)], [held(10 * USD)]) == {Cause.QUANTITY: USD, Cause.PRICE: USD}


def test_the_same_count_at_another_amount_is_another_price() -> None:
    assert why([billed(9 * USD, 1_000)], [held(10 * USD)]) == {Cause.PRICE: -USD}


def test_without_a_quantity_another_amount_is_unexplained() -> None:
    assert why([billed(9 * USD)], [held(10 * USD)]) == {Cause.UNEXPLAINED: -USD}


def test_half_of_the_last_digit_is_rounding_and_a_pico_more_is_not() -> None:
    cent = USD // 100
    line = billed(10 * USD, 1_000, precision_usd_pico=cent // 2)
    assert why([line], [held(10 * USD + cent // 2)]) == {Cause.ROUNDING: -(cent // 2)}
    assert why([line], [held(10 * USD + cent // 2 + 2)]) == {Cause.PRICE: -(cent // 2) - 2}


def test_calls_without_a_price_explain_what_the_bill_has_more() -> None:
    assert why([billed(10 * USD, 2_000)], [held(5 * USD, 1_000)], m=3) == {Cause.UNPRICED: 5 * USD}
    assert why([billed(10 * USD, 2_000)], [], m=3) == {Cause.UNPRICED: 10 * USD}
    assert why([billed(4 * USD, 1_000)], [held(5 * USD)], m=3) == {Cause.PRICE: -USD}


def test_what_moved_over_midnight_is_timing_and_adds_up_to_nothing() -> None:
    bill = [billed(8 * USD, 800), billed(12 * USD, 1_200, day=TUESDAY)]
    cells = compare(bill, [held(10 * USD), held(10 * USD, day=TUESDAY)], incomplete={}, name=lambda _, model: model)
    assert [cell.causes for cell in cells] == [{Cause.TIMING: -2 * USD}, {Cause.TIMING: 2 * USD}]


def test_only_what_both_days_have_in_common_moved() -> None:
    bill = [billed(8 * USD, 800), billed(13 * USD, 1_300, day=TUESDAY)]
    cells = compare(bill, [held(10 * USD), held(10 * USD, day=TUESDAY)], incomplete={}, name=lambda _, model: model)
    assert cells[1].causes == {Cause.TIMING: 2 * USD, Cause.QUANTITY: USD}


def test_tax_credit_purchase_and_adjustment_stand_for_themselves() -> None:
    apart = [billed(USD, category=name) for name in ("tax", "purchase", "adjustment")]
    found = why([billed(10 * USD, 1_000), *apart, billed(-3 * USD, category="credit")], [held(10 * USD)])
    assert found == {Cause.TAX: USD, Cause.CREDIT: -3 * USD, Cause.PURCHASE: USD, Cause.ADJUSTMENT: USD}


def test_a_usage_report_and_a_cost_report_are_one_bill() -> None:
    # The money comes from one, the quantity from the other; the quantity of the cost report is the same once more.
    bill = [billed(None, 1_100), billed(11 * USD, 1_100)]
    assert why(bill, [held(10 * USD)]) == {Cause.QUANTITY: USD}


def test_reasoning_counts_as_output_because_bills_do_not_tell_it_apart() -> None:
    bill = [billed(10 * USD, 1_000, meter="output.text")]
    assert why(bill, [held(6 * USD, 600, meter="output.text"), held(4 * USD, 400, meter="output.reasoning")]) == {}


def test_a_bill_is_compared_as_finely_as_it_tells() -> None:
    ours = [held(1 * USD), held(2 * USD, meter="output.text"), held(4 * USD, model="n")]
    assert why([billed(7 * USD, model="", meter="")], ours) == {}
    assert why([billed(3 * USD, meter=""), billed(4 * USD, 1_000, model="n")], ours) == {}
    searches = held(8 * USD, 800, meter="tool.web_search")
    other = held(8 * USD, 800, model="n", meter="tool.web_search")
    bill = [
        billed(16 * USD, 1_600, model="", meter="tool.web_search"),
        billed(3 * USD, meter=""),
        billed(4 * USD, model="n"),
    ]
    assert why(bill, [*ours, searches, other]) == {}


def test_another_spelling_of_a_model_is_the_same_model() -> None:
    cells = compare(
        [billed(USD, 1_000, model="m-2026-01-01")], [held(USD)], incomplete={}, name=lambda _, model: model[:1]
    )
    assert [cell.matches for cell in cells] == [True]


def test_a_usage_report_alone_compares_quantities_and_no_money() -> None:
    [cell] = compare([billed(None, 900)], [held(10 * USD)], incomplete={}, name=lambda _, model: model)
    assert (cell.matches, cell.difference_usd_pico, cell.causes) == (False, 0, {})
    assert (cell.billed_quantity, cell.our_quantity) == (900, 1_000)


_days = st.sampled_from([MONDAY, TUESDAY, "2026-11-04"])
_models = st.sampled_from(["", "m", "n"])
_meters = st.sampled_from(["", "input.text", "output.text", "output.reasoning", "tool.web_search"])
_amounts = st.integers(-(10**15), 10**15)
_lines = st.builds(
    BillLine,
    day=_days,
    provider=st.just("openai"),
    model=_models,
    meter=_meters,
    category=st.sampled_from(["usage"] * 6 + ["tax", "credit", "purchase", "adjustment"]),
    quantity=st.none() | st.integers(0, 10**9),
    amount_usd_pico=_amounts,
    precision_usd_pico=st.integers(0, 10**10),
)
_ours = st.builds(
    held, st.integers(0, 10**15), st.integers(0, 10**9), day=_days, model=_models, meter=_meters.filter(bool)
)


@pytest.mark.slow
@given(st.lists(_lines, min_size=1, max_size=12), st.lists(_ours, max_size=12), st.integers(0, 2))
def test_the_causes_add_up_to_the_difference_to_the_pico(bill: list[BillLine], ours: list[Ours], calls: int) -> None:
    cells = compare(bill, ours, incomplete={(MONDAY, "openai", "m"): calls}, name=lambda _, model: model)
    days = {line.day for line in bill if line.category == "usage"}
    theirs = sum(line.amount_usd_pico or 0 for line in bill)
    mine = sum(one.amount_usd_pico for one in ours if one.place.day in days)
    assert sum(causes(cells).values()) == theirs - mine
    assert causes(cells).get(Cause.TIMING, 0) == 0
    assert all(sum(cell.causes.values()) == cell.difference_usd_pico for cell in cells)


@pytest.mark.slow
@given(st.lists(_ours, min_size=1, max_size=12))
def test_a_bill_that_says_what_the_ledger_says_matches(ours: list[Ours]) -> None:
    bill = [BillLine(**one.place._asdict(), quantity=one.quantity, amount_usd_pico=one.amount_usd_pico) for one in ours]
    cells: list[Cell] = compare(bill, ours, incomplete={}, name=lambda _, model: model)
    assert causes(cells) == {}


def test_every_cause_is_explained_in_the_report() -> None:
    assert set(MEANING) == set(Cause)
