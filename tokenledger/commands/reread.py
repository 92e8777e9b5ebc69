"""Read calls that are in the ledger again by today's code, once a misreading was mended; then charge them anew.

  tokenledger reread --dry-run                              what would change, by model, tenant, day and meter
  tokenledger reread --since 2026-11-01 --reason "cached tokens of groq were counted twice"
  tokenledger reread --all --dry-run                        look at every call, not only at those of an older reading

Records are read from their own bytes where the log still holds them, else from the usage that is stored with them
(--stored: always from that). A call that is read otherwise is charged anew by today's price book, which --prices FILE
replaces; the others stay as they are. Months that are closed are left alone unless --correct-closed approves a
correction. Twice changes nothing.

exit status: 0 done; 1 closed months were left alone, or the writer is not done; 2 it could not be done.
"""

import argparse
import sys
from collections import Counter
from contextlib import closing, nullcontext
from datetime import UTC, datetime
from typing import Final

import psycopg
from confluent_kafka import KafkaException
from rich import box
from rich.console import Console
from rich.table import Table

from ledger import repricing
from ledger.bills.report import dollars
from ledger.database import Connection, connect
from ledger.fetching import Fetcher
from ledger.repricing import Group, Sum
from ledger.rereading import Meter, MeterSum, Read, add_meters, from_log, from_stored, raise_versions, rereadings
from ledger.settings import Settings
from tokenledger.commands.books import add_book_arguments
from tokenledger.commands.reprice import add_range_arguments, asked, book, finished, show
from tokenledger.commands.stack import environment
from tokenledger.process import Context

_FAILED: Final = 2
_PLAIN_WIDTH: Final = 160
_SHOWN: Final = 60
_DAY_S: Final = 86_400
_NAME: Final = "tokenledger-reread"


class _Totals:
    """What was found so far."""

    def __init__(self) -> None:
        self.sums: dict[Group, Sum] = {}
        self.meters: dict[Meter, MeterSum] = {}
        self.same = 0
        self.refused: Counter[str] = Counter()
        self.unreadable: Counter[str] = Counter()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `tokenledger reread` takes."""
    add_range_arguments(parser)
    parser.add_argument("--all", action="store_true", help="look at every call, whatever version it was read by")
    parser.add_argument("--stored", action="store_true", help="read only what is stored in the ledger, not the log")
    add_book_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Find, show, and have the writer do it."""
    if not options.dry_run and not options.reason:
        return _failed("--reason says why; or look first with --dry-run")
    settings = Settings.from_environment(environment(), user="writer")
    try:
        with (
            connect(settings, application=_NAME) as reader,
            connect(settings, application=_NAME) as writer,
            nullcontext() if options.stored else closing(Fetcher(settings.kafka_bootstrap)) as log,
        ):
            context = Context(book(options))
            read = from_stored(context) if log is None else from_log(context, log)
            return _reread(reader, writer, read=read, context=context, options=options)
    except psycopg.OperationalError as error:
        return _failed(f"cannot reach the ledger: {str(error).strip()}; is the stack up? `make up`")
    except KafkaException as error:
        return _failed(f"cannot read the log: {error.args[0].str()}; `make up` starts it, --stored does without it")


def _failed(message: str) -> int:
    print(f"tokenledger reread: {message}", file=sys.stderr)
    return _FAILED


def _reread(
    reader: Connection, writer: Connection, *, read: Read, context: Context, options: argparse.Namespace
) -> int:
    totals, run_no = _Totals(), None
    for found in rereadings(reader, asked(options), read=read, every=options.all):
        repricing.add_up(totals.sums, found.differs)
        add_meters(totals.meters, found.differs)
        totals.same += len(found.same)
        totals.refused += found.refused
        totals.unreadable += found.unreadable
        if options.dry_run:
            continue
        raise_versions(writer, found.same)
        chosen = [one for one in found.differs if options.correct_closed or not one.corrects]
        if not chosen:
            continue
        if run_no is None:
            version = context.book.version
            run_no = repricing.begin_run(writer, reason=options.reason, book_version=version, kind="reread")
        repricing.queue(writer, chosen, run_no=run_no)
    _show_meters(totals.meters)
    show(totals.sums, context.book.version)
    _show_rest(totals)
    closed = sum(one.closed for one in totals.sums.values())
    return finished(writer, run_no, closed=closed, options=options)


def _show_meters(meters: dict[Meter, MeterSum]) -> None:
    changed = {
        meter: one
        for meter, one in meters.items()
        if (one.before, one.before_usd_pico) != (one.after, one.after_usd_pico)
    }
    if not changed:
        return
    table = Table("model", "tenant", "day", "meter", box=box.SIMPLE_HEAD)
    for heading in ("quantity before", "after", "before, USD", "after, USD", "difference, USD"):
        table.add_column(heading, justify="right")
    order = sorted(changed.items(), key=lambda item: -abs(item[1].after_usd_pico - item[1].before_usd_pico))
    for (group, meter), one in order[:_SHOWN]:
        day = datetime.fromtimestamp(group.day_no * _DAY_S, UTC)
        table.add_row(
            group.model, group.tenant_id, f"{day:%Y-%m-%d}", meter, f"{one.before:,}", f"{one.after:,}",
            dollars(one.before_usd_pico), dollars(one.after_usd_pico),
            dollars(one.after_usd_pico - one.before_usd_pico),
        )  # fmt: skip
    Console(highlight=False, width=None if sys.stdout.isatty() else _PLAIN_WIDTH).print(table)
    if len(order) > _SHOWN:
        print(f"and {len(order) - _SHOWN} meters more")


def _show_rest(totals: _Totals) -> None:
    if totals.same:
        print(f"{totals.same} calls of an older reading are read as they were")
    for reason, count in totals.refused.most_common():
        print(f"{count} records would be rejected today ({reason}); they stay as they are")
    for reading, count in totals.unreadable.most_common():
        print(f"{count} records of reading {reading or '(none)'} cannot be read again from what is stored; they stay")
