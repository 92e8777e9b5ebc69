"""What one call cost: exact integer lines out of its usage and the price book, and what is not known about them.

A line rounds once, half to even. Unknown is not zero: `cost_usd_pico` is None while any part of it has no rate.
"""

from typing import Final

import msgspec

from tokenledger.pricing.book import PriceBook
from tokenledger.pricing.lookup import Card, Slot, card
from tokenledger.pricing.providers import is_self_hosted
from tokenledger.records.call import Call, ModelShare
from tokenledger.records.meters import BILLED_ADJUSTMENT, METERS
from tokenledger.records.priced import Line
from tokenledger.records.reasons import Anomaly

AMOUNT_LIMIT: Final = 2**63
"""Amounts are int64."""

_INPUT_METERS: Final = frozenset(meter for meter in METERS if meter.startswith("input."))


class AmountOverflowError(ArithmeticError):
    """An amount beyond int64: the record is to be rejected as `amount_overflow`."""

    def __init__(self, meter: str, amount_usd_pico: int) -> None:
        super().__init__(f"{meter}: {amount_usd_pico} pico-USD; an amount must stay below 2^63")
        self.meter = meter
        self.amount_usd_pico = amount_usd_pico


class SharesExceedUsageError(ValueError):
    """Other models consumed more than the whole call: the record is to be rejected as `contradicting_usage`."""

    def __init__(self, meter: str, rest: int) -> None:
        super().__init__(f"{meter}: {rest} left after the shares of other models; parts may not exceed the whole")
        self.meter = meter


class Cost(msgspec.Struct, frozen=True, gc=False):
    """The cost of one call; the fields are those of PricedCall."""

    price_status: str
    """`priced`, `provider_billed`, `not_billable`, `unpriced`, `partly_priced`, `unmetered` or `self_hosted`."""
    lines: tuple[Line, ...] = ()
    """Cost lines; their sum is `known_cost_usd_pico`."""
    cost_usd_pico: int | None = None
    """What the call cost, 10⁻¹² USD; None while it is not wholly known."""
    known_cost_usd_pico: int = 0
    """Sum of the lines, 10⁻¹² USD."""
    computed_usd_pico: int | None = None
    """What the book alone says, 10⁻¹² USD; None if incomplete."""
    priced_provider: str | None = None
    """Provider whose price was used."""
    priced_model: str | None = None
    """Model whose price was used, by the book's name."""
    unpriced_meters: tuple[str, ...] = ()
    """Meters without a rate."""
    rate_fallbacks: tuple[str, ...] = ()
    """Conditions dropped and stand-ins used."""
    anomalies: tuple[str, ...] = ()
    """What is odd about the cost."""


class _Bill(msgspec.Struct, gc=False):
    """Lines as they are written, and what was missing."""

    lines: list[Line] = []
    unpriced: list[str] = []
    fallbacks: list[str] = []
    total_usd_pico: int = 0
    list_usd_pico: int = 0


def price_call(call: Call, book: PriceBook, *, price_at_us: int | None = None) -> Cost:
    """The call priced as of `price_at_us`, which is its own start unless the caller knows better.

    Raises AmountOverflowError for an amount beyond int64.
    """
    if call.cache_hit:
        return Cost(price_status="not_billable", cost_usd_pico=0, computed_usd_pico=0)
    at_us = call.started_at_us if price_at_us is None else price_at_us
    found = _card(book, call)
    bill = _Bill()
    usage = _less_shares(call) if call.shares else call.usage
    slot = found.slot(at_us, _input_total(usage) if found.tier_breaks else 0)
    _write_lines(bill, slot, usage, None)
    for share in call.shares:
        _write_share(bill, book, call, share, at_us)
    if found.surcharge is not None:
        _write_surcharge(bill, found.surcharge.slot(at_us, _input_total(call.usage)), call.usage)
    return _judge(call, bill, slot)


def _card(book: PriceBook, call: Call) -> Card:
    tenant_id = call.tenant_id if call.tenant_id in book.tenants else ""
    key = (
        tenant_id, call.provider, call.host_provider, call.response_model, call.request_model,
        call.deployment_id, call.engine, call.processing, call.service_tier_served, call.service_tier_requested,
        call.region, call.data_region, call.speed,
    )  # fmt: skip
    return book.cards.get(key) or card(book, key)


def _input_total(usage: dict[str, int]) -> int:
    """The whole prompt, cached and written tokens too: what a context tier looks at."""
    total = 0
    for meter, quantity in usage.items():
        if meter in _INPUT_METERS:
            total += quantity
    return total


def _write_lines(bill: _Bill, slot: Slot, usage: dict[str, int], model: str | None) -> None:
    rates, lines = slot.rates, bill.lines
    total_usd_pico = list_usd_pico = 0
    for meter, quantity in usage.items():
        if quantity == 0:
            continue
        rate = rates.get(meter) or slot.rate(meter)
        if rate is None:
            bill.unpriced.append(meter)
            continue
        billed = quantity if quantity > rate.minimum_quantity else rate.minimum_quantity  # noqa: FURB136 - a call to max costs more than the rest of the line
        per = rate.contracted_per
        amount = billed * rate.contracted_pico
        if per != 1:
            amount = _divide(amount, per)
        listed = _divide(billed * rate.list_pico, rate.list_per) if rate.discounted else amount
        total_usd_pico += amount
        list_usd_pico += listed
        if rate.fallbacks:
            bill.fallbacks += rate.fallbacks
        lines.append(
            Line(
                meter, billed, amount, listed, rate.list_pico, rate.list_per, rate.contracted_pico, per,
                rate.price_id, model, rate.matched,
            )
        )  # fmt: skip
    bill.total_usd_pico += total_usd_pico
    bill.list_usd_pico += list_usd_pico
    if "request" in rates and usage and "request" not in usage and rates["request"] is not None:
        _write_lines(bill, slot, {"request": 1}, model)


def _divide(amount: int, per: int) -> int:
    """Rounded half to even."""
    whole, rest = divmod(amount, per)
    return whole + (2 * rest > per or (2 * rest == per and whole & 1))


# Shares: parts of the call that another model consumed


def _less_shares(call: Call) -> dict[str, int]:
    rest = dict(call.usage)
    for share in call.shares:
        for meter, quantity in share.usage.items():
            rest[meter] = rest.get(meter, 0) - quantity
            if rest[meter] < 0:
                raise SharesExceedUsageError(meter, rest[meter])
    return rest


def _write_share(bill: _Bill, book: PriceBook, call: Call, share: ModelShare, at_us: int) -> None:
    found = _card(book, msgspec.structs.replace(call, response_model=share.model, request_model=None,
                                                deployment_id=None))  # fmt: skip
    slot = found.slot(at_us, _input_total(share.usage))
    _write_lines(bill, slot, share.usage, slot.model or share.model)


def _write_surcharge(bill: _Bill, slot: Slot, usage: dict[str, int]) -> None:
    """Only on the meters it names; nothing is unpriced because a surcharge does not name it."""
    named = {meter: quantity for meter, quantity in usage.items() if slot.rate(meter) is not None}
    _write_lines(bill, slot, named, slot.model)


# The verdict


def _judge(call: Call, bill: _Bill, slot: Slot) -> Cost:
    metered = bool(bill.lines or bill.unpriced)
    if call.billed_usd_pico is not None:
        return _billed(call, bill, slot, call.billed_usd_pico)
    if not metered and (call.status == "error" or not call.usage):
        return _without_usage(call, slot)
    _check_limit(bill)
    lines, known = tuple(bill.lines), bill.total_usd_pico
    status = "priced" if lines and not bill.unpriced else _status(call, bill, slot)
    cost = known if status == "priced" else None
    unpriced_meters = _once(bill.unpriced) if bill.unpriced and status != "self_hosted" else ()
    rate_fallbacks = _once((*slot.notes, *bill.fallbacks)) if lines and (slot.notes or bill.fallbacks) else ()
    anomalies = () if call.claimed_usd_pico is None or cost is None else _claim(call.claimed_usd_pico, cost)
    return Cost(
        status, lines, cost, known, cost, slot.provider, slot.model, unpriced_meters, rate_fallbacks, anomalies,
    )  # fmt: skip


def _status(call: Call, bill: _Bill, slot: Slot) -> str:
    if not bill.unpriced and slot.is_known:
        return "priced"  # whatever was used, zero of it
    if bill.lines:
        return "partly_priced"
    return "self_hosted" if is_self_hosted(call.provider, call.engine) else "unpriced"


def _without_usage(call: Call, slot: Slot) -> Cost:
    """Nothing to price; the model is named all the same, so that it stands with its other calls."""
    if call.status == "error":
        status, cost = "not_billable", 0
    else:
        status, cost = "self_hosted" if is_self_hosted(call.provider, call.engine) else "unmetered", None
    return Cost(
        price_status=status,
        cost_usd_pico=cost,
        computed_usd_pico=cost,
        priced_provider=slot.provider,
        priced_model=slot.model,
    )


def _billed(call: Call, bill: _Bill, slot: Slot, billed_usd_pico: int) -> Cost:
    """The provider's own amount is the cost; a line keeps the sum of lines equal to it."""
    _check_limit(bill)
    if billed_usd_pico >= AMOUNT_LIMIT:
        raise AmountOverflowError(BILLED_ADJUSTMENT, billed_usd_pico)
    complete = bool(call.usage) and not bill.unpriced and (bool(bill.lines) or slot.is_known)
    computed = bill.total_usd_pico if complete else None
    adjustment = billed_usd_pico - bill.total_usd_pico
    if adjustment:
        bill.lines.append(
            Line(meter=BILLED_ADJUSTMENT, quantity=1, amount_usd_pico=adjustment, list_amount_usd_pico=adjustment,
                 list_pico=adjustment, contracted_pico=adjustment, matched="billed by the provider, less the lines")
        )  # fmt: skip
    differs = computed is not None and abs(adjustment) * 100 > computed
    claims = () if call.claimed_usd_pico is None else _claim(call.claimed_usd_pico, billed_usd_pico)
    return Cost(
        lines=tuple(bill.lines),
        price_status="provider_billed",
        cost_usd_pico=billed_usd_pico,
        known_cost_usd_pico=billed_usd_pico,
        computed_usd_pico=computed,
        priced_provider=slot.provider,
        priced_model=slot.model,
        unpriced_meters=_once(bill.unpriced),
        rate_fallbacks=_once((*slot.notes, *bill.fallbacks)),
        anomalies=(*((Anomaly.BILLED_DIFFERS.value,) if differs else ()), *claims),
    )


def _claim(claimed_usd_pico: int, cost_usd_pico: int) -> tuple[str, ...]:
    differs = abs(claimed_usd_pico - cost_usd_pico) * 10**6 > cost_usd_pico
    return (Anomaly.CLAIMED_DIFFERS.value,) if differs else ()


def _check_limit(bill: _Bill) -> None:
    if bill.total_usd_pico >= AMOUNT_LIMIT or bill.list_usd_pico >= AMOUNT_LIMIT:
        worst = max(bill.lines, key=lambda line: line.list_amount_usd_pico)
        raise AmountOverflowError(worst.meter, max(worst.amount_usd_pico, worst.list_amount_usd_pico))


def _once(words: list[str] | tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(words)) if words else ()
