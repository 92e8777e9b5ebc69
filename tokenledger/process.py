"""The whole path of one raw event: normalise → price → attribute. Stream, backfill, gateway and CLI all call this."""

from functools import cache
from importlib.metadata import version
from typing import Final

import msgspec

from tokenledger.attribution.latency import attribute
from tokenledger.merge import fingerprint, rank
from tokenledger.normalise import normalise, reject
from tokenledger.pricing.book import PriceBook, packaged_book
from tokenledger.pricing.cost import AmountOverflowError, Cost, price_call
from tokenledger.records.call import Call
from tokenledger.records.priced import PricedCall
from tokenledger.records.raw import RawEvent
from tokenledger.records.reasons import Anomaly, Reason
from tokenledger.records.rejected import Rejected

CODE_VERSION: Final = version("tokenledger")
"""Version of this code, written on every record it makes."""

_CLAIM_TOLERANCE: Final = 1_000_000
_BILL_TOLERANCE: Final = 100


class Context(msgspec.Struct, frozen=True):
    """Everything `process` needs besides the record."""

    book: PriceBook
    """The prices, at one version."""


@cache
def default_context() -> Context:
    """The packaged catalogue and nothing else."""
    return Context(packaged_book())


def process(raw: RawEvent, context: Context) -> PricedCall | Rejected:
    """One raw event, priced or rejected. Total: any bytes and headers give a value, never an exception."""
    call = normalise(raw)
    if isinstance(call, Rejected):
        return call
    try:
        cost = price_call(call, context.book, price_at_us=call.started_at_us)
    except AmountOverflowError as overflow:
        return reject(raw, Reason.AMOUNT_OVERFLOW, field=overflow.meter, detail=str(overflow), stage="price")
    latency, latency_anomalies = attribute(call)
    print_ = fingerprint(call)
    return PricedCall(
        call=call,
        lines=cost.lines,
        price_status=cost.price_status,
        cost_usd_pico=cost.cost_usd_pico,
        known_cost_usd_pico=cost.known_cost_usd_pico,
        computed_usd_pico=cost.computed_usd_pico,
        chargeable_usd_pico=_chargeable(call, cost),
        priced_provider=cost.priced_provider,
        priced_model=cost.priced_model,
        unpriced_meters=cost.unpriced_meters,
        rate_fallbacks=cost.rate_fallbacks,
        book_version=context.book.version,
        latency=latency,
        anomalies=_anomalies(call, cost, latency_anomalies),
        fingerprint=print_,
        rank=rank(call, print_),
        topic=raw.topic,
        partition=raw.partition,
        offset=raw.offset,
        append_at_us=raw.append_at_us,
        code_version=CODE_VERSION,
    )


def _chargeable(call: Call, cost: Cost) -> int | None:
    """The customer pays for what was answered; a failed attempt, a hedge and a check of ours are on the house."""
    if call.status == "error" or call.attempt_role in {"hedge", "verify"}:
        return 0
    return cost.cost_usd_pico


def _anomalies(call: Call, cost: Cost, latency_anomalies: tuple[str, ...]) -> tuple[str, ...]:
    found = call.anomalies
    if cost.anomalies or latency_anomalies:
        found = (*found, *cost.anomalies, *latency_anomalies)
    if call.claimed_usd_pico is not None and _differ(call.claimed_usd_pico, cost.cost_usd_pico, _CLAIM_TOLERANCE):
        found = (*found, Anomaly.CLAIMED_DIFFERS.value)
    if call.billed_usd_pico is not None and _differ(call.billed_usd_pico, cost.computed_usd_pico, _BILL_TOLERANCE):
        found = (*found, Anomaly.BILLED_DIFFERS.value)
    return found


def _differ(stated_usd_pico: int, ours_usd_pico: int | None, one_part_in: int) -> bool:
    """Whether two amounts differ by more than one part in `one_part_in`."""
    return ours_usd_pico is not None and abs(stated_usd_pico - ours_usd_pico) * one_part_in > ours_usd_pico
