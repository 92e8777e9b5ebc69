"""The whole path of one raw event: normalise → price → attribute. Stream, backfill, gateway and CLI all call this."""

from functools import cache
from importlib.metadata import version
from typing import Final

import msgspec

from tokenledger.attribution.latency import attribute
from tokenledger.merge import fingerprint, rank
from tokenledger.normalise import normalise, reject
from tokenledger.normalise.rereading import read_again as reread
from tokenledger.pricing.book import PriceBook, packaged_book
from tokenledger.pricing.cost import AmountOverflowError, Cost, SharesExceedUsageError, price_call
from tokenledger.records.call import Call
from tokenledger.records.priced import PricedCall
from tokenledger.records.raw import RawEvent
from tokenledger.records.reasons import Reason
from tokenledger.records.rejected import Rejected

CODE_VERSION: Final = version("tokenledger")
"""Version of this code, written on every record it makes."""


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
        return msgspec.structs.replace(call, code_version=CODE_VERSION)
    cost = _price(raw, call, context)
    if isinstance(cost, Rejected):
        return msgspec.structs.replace(cost, code_version=CODE_VERSION)
    latency, latency_anomalies = attribute(call)
    facts = fingerprint(call)
    return PricedCall(  # by place, in the record's order: naming twenty fields costs as much as pricing a line
        call, cost.price_status, cost.lines, latency,
        cost.cost_usd_pico, cost.known_cost_usd_pico, cost.computed_usd_pico, _chargeable(call, cost),
        cost.priced_provider, cost.priced_model, cost.unpriced_meters, cost.rate_fallbacks, context.book.version,
        call.anomalies + cost.anomalies + latency_anomalies, facts, rank(call, facts),
        raw.topic, raw.partition, raw.offset, raw.append_at_us, CODE_VERSION,
        _saved(call, context) if call.cache_hit else None,
    )  # fmt: skip


def price_again(priced: PricedCall, context: Context) -> PricedCall:
    """The same call by another book: what depends on prices changes. What that book cannot price stays as it was."""
    return _priced_as(priced, priced.call, context) or priced


def read_again(priced: PricedCall, context: Context) -> PricedCall | Rejected | None:
    """The same record by today's reading of its stored usage, priced by a book; None where it cannot be told."""
    call = reread(priced.call)
    return _read_as(priced, call, context) if isinstance(call, Call) else call


def process_again(priced: PricedCall, raw: RawEvent, context: Context) -> PricedCall | Rejected | None:
    """The same record by today's reading of its own bytes; None where they would be another call by now.

    When it is charged stays as it is: a month must not lose a call that is read again.
    """
    now = normalise(raw)
    if isinstance(now, Rejected):
        return now
    old = priced.call
    if (now.tenant_id, now.event_key, now.response_key) != (old.tenant_id, old.event_key, old.response_key):
        return None
    times = {name: getattr(old, name) for name in ("started_at_us", "event_time_source", "received_at_us")}
    return _read_as(priced, msgspec.structs.replace(now, **times), context)


def _read_as(priced: PricedCall, call: Call, context: Context) -> PricedCall | None:
    facts = fingerprint(call)
    read = _priced_as(priced, call, context)
    return None if read is None else msgspec.structs.replace(
        read, call=call, latency=attribute(call)[0], fingerprint=facts, rank=rank(call, facts),
        code_version=CODE_VERSION,
    )  # fmt: skip


def _priced_as(priced: PricedCall, call: Call, context: Context) -> PricedCall | None:
    """What depends on prices, for these facts; None where they cannot be priced by that book."""
    try:
        cost = price_call(call, context.book, price_at_us=call.started_at_us)
    except (AmountOverflowError, SharesExceedUsageError):
        return None
    _, latency_anomalies = attribute(call)
    return msgspec.structs.replace(
        priced,
        price_status=cost.price_status,
        lines=cost.lines,
        cost_usd_pico=cost.cost_usd_pico,
        known_cost_usd_pico=cost.known_cost_usd_pico,
        computed_usd_pico=cost.computed_usd_pico,
        chargeable_usd_pico=_chargeable(call, cost),
        priced_provider=cost.priced_provider,
        priced_model=cost.priced_model,
        unpriced_meters=cost.unpriced_meters,
        rate_fallbacks=cost.rate_fallbacks,
        book_version=context.book.version,
        anomalies=call.anomalies + cost.anomalies + latency_anomalies,
        saved_usd_pico=_saved(call, context) if call.cache_hit else None,
    )


def _price(raw: RawEvent, call: Call, context: Context) -> Cost | Rejected:
    try:
        return price_call(call, context.book, price_at_us=call.started_at_us)
    except AmountOverflowError as overflow:
        return reject(raw, Reason.AMOUNT_OVERFLOW, field=overflow.meter, detail=str(overflow), stage="price")
    except SharesExceedUsageError as excess:
        return reject(raw, Reason.CONTRADICTING_USAGE, field="usage.iterations", detail=str(excess), stage="price")


def _saved(call: Call, context: Context) -> int | None:
    """What its usage costs where it is used."""
    asked = msgspec.structs.replace(call, cache_hit=None)
    try:
        return price_call(asked, context.book, price_at_us=call.started_at_us).cost_usd_pico
    except (AmountOverflowError, SharesExceedUsageError):
        return None


def _chargeable(call: Call, cost: Cost) -> int | None:
    """The customer pays for the answer that served.

    On the house are a failed attempt, a check of ours, a hedge, and a cheap answer that did not pass its check. Where
    answers were compared, `served` says which it was, whatever its role: a hedge that was needed is paid for, and an
    answer that failed is not, even if in the end it was all there was.
    """
    is_served = call.served if call.served is not None else call.attempt_role not in {"hedge", "verify"}
    return cost.cost_usd_pico if is_served and call.status != "error" else 0
