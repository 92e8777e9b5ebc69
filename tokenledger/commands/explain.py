"""How one call's cost came about: what was counted, which price was found and why, line by line.

EVENT_ID is the record's event id or the provider's response id. All records of that call are shown, the one that counts
first.

exit status: 0 explained; 1 no such record; 2 unusable options.
"""

import argparse
import sys
from datetime import UTC, datetime
from decimal import Decimal

import msgspec
from rich.console import Console

from tokenledger.commands.books import add_book_arguments, book_for
from tokenledger.commands.cost_table import usd
from tokenledger.commands.progress import bytes_bar
from tokenledger.commands.reading import add_reading_arguments, reading_options
from tokenledger.merge import candidate, resolve
from tokenledger.process import Context, process
from tokenledger.readers import Found, Unreadable, expand, read
from tokenledger.records.meters import METERS
from tokenledger.records.priced import Line, PricedCall
from tokenledger.records.rejected import Rejected

_EXIT_NOT_FOUND = 1
_PICO_PER_USD = 10**12
_STATUSES = {
    "priced": "every meter has a price",
    "provider_billed": "the provider's own reply says what it billed; that is the cost",
    "not_billable": "nothing is billed for such a reply",
    "unpriced": "no price is known for this model at that time; the cost is unknown, not zero",
    "partly_priced": "some meters have no price; the amount is a lower bound",
    "unmetered": "the reply reports no usage; the cost is unknown, not zero",
    "self_hosted": "paid by GPU time, which is shared out later",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("event_id", metavar="EVENT_ID", help="event id, or the provider's response id")
    add_reading_arguments(parser)
    add_book_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Find the records and explain them."""
    problems: list[Unreadable] = []
    paths = expand(options.files, problems.append)
    context = Context(book_for(options))
    priced: list[tuple[PricedCall, Found]] = []
    refused: list[tuple[Rejected, Found]] = []
    with bytes_bar("looking", paths, quiet=options.quiet) as on_bytes:
        reading = reading_options(options)
        for found in read(paths, reading, on_problem=problems.append, on_bytes=on_bytes):
            result = process(found.raw, context)
            if isinstance(result, Rejected):
                if result.event_id == options.event_id:
                    refused.append((result, found))
            elif options.event_id in {result.call.event_id, result.call.response_id}:
                priced.append((result, found))
    for problem in problems:
        print(f"not read: {problem.source_file}: {problem.detail}", file=sys.stderr)
    if not priced and not refused:
        print(f"no record has the id {options.event_id!r}; ids are `event_id` in --format jsonl", file=sys.stderr)
        return _EXIT_NOT_FOUND
    console = Console(highlight=False, markup=False, soft_wrap=True)
    _explain_all(priced, console)
    for rejected, found in refused:
        console.print(f"{found.source_file}, line {found.line}: rejected, {rejected.reason.value}")
        console.print(f"  at {rejected.field or 'the record itself'}: {rejected.detail}")
    return 0


def _explain_all(priced: list[tuple[PricedCall, Found]], console: Console) -> None:
    places = {id(one): found for one, found in priced}
    for resolved in resolve(candidate(one) for one, _ in priced):
        winner = resolved.winner.record
        explain(winner, places[id(winner)], console=console)
        for loser in (*resolved.losers, *resolved.duplicates):
            found = places[id(loser.record)]
            why = "repeats it" if loser in resolved.duplicates else "says something else and counts less"
            console.print(f"Another record, {found.source_file} line {found.line}, {why}; it costs nothing more.")


def explain(priced: PricedCall, found: Found, *, console: Console) -> None:
    """One call in words."""
    call = priced.call
    console.print(f"Call {call.event_id}  ({found.source_file}, line {found.line})")
    console.print(f"  tenant {call.tenant_id}, {call.provider} {call.api or ''}".rstrip())
    console.print(f"  asked for {call.request_model or 'no named model'}, answered by {call.response_model or '—'}")
    moment = datetime.fromtimestamp(call.started_at_us / 1_000_000, UTC)
    console.print(f"  at {moment:%Y-%m-%d %H:%M:%S} UTC, which is its {_TIME_SOURCES[call.event_time_source]}")
    console.print(f"  status {call.status}{f', HTTP {call.http_status}' if call.http_status else ''}")
    _usage(priced, console)
    _cost(priced, console)
    for fallback in priced.rate_fallbacks:
        console.print(f"  Note: no price for {fallback}; the price without it was used.")
    for anomaly in priced.anomalies:
        console.print(f"  Odd: {anomaly.replace('_', ' ')}.")


_TIME_SOURCES = {
    "started_at": "start",
    "created": "creation time at the provider",
    "ce_time": "event time",
    "append": "append time: the record states no other",
}


def _usage(priced: PricedCall, console: Console) -> None:
    call = priced.call
    if call.usage_source == "none":
        console.print("Usage: the reply reports none.")
        return
    console.print(f"Usage, {call.usage_source}, read as {call.usage_reading}:")
    console.print(f"  {call.input_tokens or 0:,} tokens in, {call.output_tokens or 0:,} tokens out, made of")
    for meter, quantity in call.usage.items():
        known = METERS.get(meter)
        console.print(f"    {quantity:>12,}  {meter:<28} {known.meaning if known else ''}".rstrip())
    if call.raw_usage:
        stated = msgspec.json.Encoder(decimal_format="number").encode(call.raw_usage).decode()
        console.print(f"  The provider's own words: {stated}")


def _cost(priced: PricedCall, console: Console) -> None:
    console.print(f"Cost: {_STATUSES[priced.price_status]}.")
    if priced.priced_model:
        console.print(f"  Price list entry: {priced.priced_provider} {priced.priced_model}, book {priced.book_version}")
    for line in priced.lines:
        for text in _line(line):
            console.print(f"  {text}")
    for meter in priced.unpriced_meters:
        console.print(f"  {priced.call.usage.get(meter, 0):,} {meter}: no price")
    known = f"{usd(priced.known_cost_usd_pico, 12)} USD"
    if priced.cost_usd_pico is None:
        console.print(f"  = unknown; the part that is known is {known}")
    else:
        console.print(f"  = {usd(priced.cost_usd_pico, 12)} USD")


def _line(line: Line) -> list[str]:
    """`quantity × rate = amount`, and below it why this rate."""
    if not line.price_id:
        return [f"{line.meter}: {usd(line.amount_usd_pico, 12)} USD, so that the sum is what the provider billed"]
    unit = METERS[line.meter].unit if line.meter in METERS else "units"
    rate = _per_million(line.contracted_pico, line.contracted_per)
    texts = [f"{line.quantity:,} {line.meter} × {rate} USD per million {unit} = {usd(line.amount_usd_pico, 12)} USD"]
    if line.amount_usd_pico != line.list_amount_usd_pico:
        listed = _per_million(line.list_pico, line.list_per)
        texts.append(f"    contract; at list price {listed} USD per million: {usd(line.list_amount_usd_pico, 12)} USD")
    texts.append(f"    price {line.price_id}: {line.matched}")
    return texts


def _per_million(pico: int, per: int) -> str:
    exact = Decimal(pico) * 1_000_000 / (Decimal(per) * _PICO_PER_USD)
    return f"{exact.normalize():f}"
