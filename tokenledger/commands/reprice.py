"""Charge calls that are in the ledger by today's price book: the difference first, then reversals and new charges.

  tokenledger reprice --dry-run                               what would change, by model, tenant and day
  tokenledger reprice --since 2026-11-01 --model gpt-4o --reason "rate corrected"
  tokenledger reprice --tenant acme --reason "contract 2026, signed late" --correct-closed
  tokenledger reprice --stale      calls that were priced in the seconds before a committed price reached the stream

The book is the one in the ledger, or the packaged catalogue where nothing was imported; --prices FILE takes a file's
instead. Months that are closed are left alone unless --correct-closed approves a correction. Twice changes nothing.

exit status: 0 done; 1 calls were left alone (of closed months, or waiting to be read again), or the writer is not done;
2 it could not be done.
"""

import argparse
import sys
import time
from datetime import UTC, datetime
from typing import Final

import psycopg
from rich import box
from rich.console import Console
from rich.table import Table

from ledger import repricing
from ledger.bills.report import dollars
from ledger.database import Connection, connect
from ledger.prices import store as prices
from ledger.repricing import Group, Sum, Wanted
from ledger.settings import Settings
from ledger.stale import REASON, Queue, stale
from tokenledger.commands.books import add_book_arguments, book_for, instant_us
from tokenledger.commands.stack import environment
from tokenledger.pricing import PriceBook
from tokenledger.process import Context

_NOT_ALL: Final = 1
_FAILED: Final = 2
_PLAIN_WIDTH: Final = 160
_SHOWN: Final = 40
_DAY_S: Final = 86_400
_STALE_S: Final = 7 * _DAY_S
_STALE: Final = "tokenledger-stale"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `tokenledger reprice` takes."""
    add_range_arguments(parser)
    parser.add_argument(
        "--stale",
        action="store_true",
        help="what an older book priced than was known; changes since --since, or a week",
    )
    add_book_arguments(parser)


def add_range_arguments(parser: argparse.ArgumentParser) -> None:
    """Which calls, why, and how far it may go."""
    add = parser.add_argument
    add("--since", metavar="TIME", help="calls charged from then on: 2026-01-31 or 2026-01-31T16:00:00Z")
    add("--until", metavar="TIME", help="calls charged before then")
    add("--tenant", metavar="T", help="of this tenant")
    add("--model", metavar="M", help="priced as, answered by or asked of this model")
    add("--reason", help="why, for those who read the list of runs")
    add("--dry-run", action="store_true", help="show what would change")
    add("--correct-closed", action="store_true", help="approve corrections of closed months")
    add("--wait", type=float, default=600.0, metavar="S", help="longest wait for the writer (default: 600)")


def run(options: argparse.Namespace) -> int:
    """Find, show, and have the writer do it."""
    if options.stale:
        return _run_stale(options)
    if not options.dry_run and not options.reason:
        return _failed("--reason says why; or look first with --dry-run")
    wanted = asked(options)
    settings = Settings.from_environment(environment(), user="writer")
    name = "tokenledger-reprice"
    try:
        with connect(settings, application=name) as reader, connect(settings, application=name) as writer:
            return _reprice(reader, writer, wanted=wanted, context=Context(book(options)), options=options)
    except psycopg.OperationalError as error:
        return _failed(f"cannot reach the ledger: {str(error).strip()}; is the stack up? `make up`")


def _run_stale(options: argparse.Namespace) -> int:
    """The same for what was priced by an older book than was known."""
    if options.tenant or options.model or options.until or options.prices or options.known_at:
        return _failed("--stale looks at all calls since a change of the price book; --since says how far back")
    since_us = instant_us(options.since, "--since") if options.since else (int(time.time()) - _STALE_S) * 1_000_000
    settings = Settings.from_environment(environment(), user="writer")
    sums: dict[Group, Sum] = {}
    try:
        with connect(settings, application=_STALE) as reader, connect(settings, application=_STALE) as writer:
            queue = Queue(writer, reason=options.reason or REASON, corrects=options.correct_closed)
            for differs in stale(reader, since_us=since_us):
                repricing.add_up(sums, differs)
                if not options.dry_run:
                    queue.take(differs)
            show(sums, "of the instant the log took each call")
            closed = sum(one.closed for one in sums.values())
            last = max(queue.runs.values(), default=None)
            return finished(writer, last, closed=closed, options=options)
    except psycopg.OperationalError as error:
        return _failed(f"cannot reach the ledger: {str(error).strip()}; is the stack up? `make up`")


def asked(options: argparse.Namespace) -> Wanted:
    """Which calls. Raises ValueError for what is no time."""
    return Wanted(
        since_us=instant_us(options.since, "--since") if options.since else Wanted().since_us,
        until_us=instant_us(options.until, "--until") if options.until else Wanted().until_us,
        tenant_id=options.tenant,
        model=options.model,
    )


def _failed(message: str) -> int:
    print(f"tokenledger reprice: {message}", file=sys.stderr)
    return _FAILED


def book(options: argparse.Namespace) -> PriceBook:
    """The file's, else the ledger's, else the packaged one."""
    if options.prices:
        return book_for(options)
    with connect(Settings.from_environment(environment(), user="keeper"), application="tokenledger-book") as connection:
        if options.known_at:
            return prices.book_of(prices.load(connection), instant_us(options.known_at, "--known-at"))
        return prices.current(connection)[1]


def _reprice(
    reader: Connection, writer: Connection, *, wanted: Wanted, context: Context, options: argparse.Namespace
) -> int:
    sums: dict[Group, Sum] = {}
    run_no, queued, kept = None, 0, 0
    for differs in repricing.differences(reader, wanted, context):
        repricing.add_up(sums, differs)
        chosen = [one for one in differs if options.correct_closed or not one.corrects]
        if options.dry_run or not chosen:
            continue
        if run_no is None:
            run_no = repricing.begin_run(writer, reason=options.reason, book_version=context.book.version)
        taken = repricing.queue(writer, chosen, run_no=run_no)
        queued += taken
        kept += len(chosen) - taken
    show(sums, context.book.version)
    if kept:
        print(f"{kept} calls wait to be read again and are left to that; reprice again once the writer has done it")
    closed = sum(one.closed for one in sums.values())
    status = finished(writer, run_no if queued else None, closed=closed, options=options)
    return _NOT_ALL if kept else status


def finished(connection: Connection, run_no: int | None, *, closed: int, options: argparse.Namespace) -> int:
    """Wait for the writer; the exit status."""
    if closed and not options.correct_closed:
        print(f"{closed} calls of closed months are left alone; --correct-closed approves their correction")
    if run_no is None:
        return _NOT_ALL if closed and not options.dry_run else 0
    is_done = _waited(connection, run_no, options.wait)
    return 0 if is_done and (options.correct_closed or not closed) else _NOT_ALL


def _waited(connection: Connection, run_no: int, longest_s: float) -> bool:
    """Whether the writer took everything; it goes on by itself where it did not."""
    until_s = time.monotonic() + longest_s
    while left := repricing.left(connection, run_no):
        if time.monotonic() > until_s:
            print(f"run {run_no}: {left} calls wait for the writer, which charges them as soon as it runs")
            return False
        time.sleep(0.2)
    print(f"run {run_no}: the writer has charged them anew")
    return True


def show(sums: dict[Group, Sum], book_version: str) -> None:
    """Print what changes by model, tenant and day."""
    table = Table("model", "tenant", "day", box=box.SIMPLE_HEAD)
    for heading in ("calls", "before, USD", "after, USD", "difference, USD", "newly priced", "closed"):
        table.add_column(heading, justify="right")
    order = sorted(sums.items(), key=lambda item: -abs(item[1].after_usd_pico - item[1].before_usd_pico))
    for group, one in order[:_SHOWN]:
        day = datetime.fromtimestamp(group.day_no * _DAY_S, UTC)
        table.add_row(
            group.model, group.tenant_id, f"{day:%Y-%m-%d}", str(one.calls), dollars(one.before_usd_pico),
            dollars(one.after_usd_pico), dollars(one.after_usd_pico - one.before_usd_pico), str(one.priced),
            str(one.closed),
        )  # fmt: skip
    if sums:
        Console(highlight=False, width=None if sys.stdout.isatty() else _PLAIN_WIDTH).print(table)
    if len(order) > _SHOWN:
        print(f"and {len(order) - _SHOWN} groups more")
    difference = sum(one.after_usd_pico - one.before_usd_pico for one in sums.values())
    print(f"book {book_version}: {sum(one.calls for one in sums.values())} calls change by {dollars(difference)} USD")
