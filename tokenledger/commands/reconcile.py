"""A provider's bill against the ledger: what differs, why, and what nobody can explain, exact to the pico-dollar.

  tokenledger reconcile costs.json usage.json                OpenAI's or Anthropic's reports, or a FOCUS table
  tokenledger reconcile invoice.csv --mapping invoice.toml   any other CSV
  tokenledger reconcile costs.json --html report.html --csv report.csv
  tokenledger reconcile --history

Files of one call are one bill: give usage and costs together, and quantities explain the money. Every comparison is
kept.

exit status: 0 nothing unexplained; 1 something is; 2 the bill or the ledger could not be read.
"""

import argparse
import hashlib
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

import psycopg
from rich import box
from rich.console import Console
from rich.table import Table

from ledger.bills import report, store
from ledger.bills.comparing import Cause, Cell, causes, compare
from ledger.bills.lines import BillError, BillLine
from ledger.bills.mapped import mapping_of
from ledger.bills.reading import read
from ledger.bills.store import Scope
from ledger.database import Connection, connect
from ledger.settings import Settings
from tokenledger.commands.stack import environment
from tokenledger.pricing.catalogue import packaged_catalogue

_UNEXPLAINED: Final = 1
_FAILED: Final = 2
_PLAIN_WIDTH: Final = 160
_SHOWN: Final = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `tokenledger reconcile` takes."""
    add = parser.add_argument
    add("files", nargs="*", type=Path, metavar="FILE", help="the provider's reports, JSON or CSV")
    add("--mapping", type=Path, metavar="FILE", help="TOML that says which column of a CSV is what")
    add("--tenant", action="append", metavar="T", help="compare with this tenant's calls only; may be given again")
    add("--html", type=Path, metavar="FILE", help="write the report as a page")
    add("--csv", type=Path, metavar="FILE", help="write every cell and cause")
    add("--history", action="store_true", help="list what was compared before")


def run(options: argparse.Namespace) -> int:
    """Compare, show and keep."""
    if bool(options.files) == options.history:
        print("tokenledger reconcile: give report files, or --history", file=sys.stderr)
        return _FAILED
    try:
        mapping = (
            mapping_of(options.mapping.read_text(encoding="utf-8"), str(options.mapping)) if options.mapping else None
        )
        bill = read(options.files, mapping) if options.files else []
        settings = Settings.from_environment(environment(), user="analyst")
        with connect(settings, application="tokenledger-reconcile") as connection:
            return _compare(connection, bill, options=options) if bill else _history(connection)
    except psycopg.OperationalError as error:
        message = f"cannot reach the ledger: {str(error).strip()}; is the stack up? `make up`"
    except BillError as error:
        message = str(error)
    print(f"tokenledger reconcile: {message}", file=sys.stderr)
    return _FAILED


def _compare(connection: Connection, bill: list[BillLine], *, options: argparse.Namespace) -> int:
    if not store.sees_all(connection):
        raise BillError("the login may not read every tenant; a bill compared with a part of the ledger says nothing")
    scope = Scope(
        first_day=min(line.day for line in bill),
        last_day=max(line.day for line in bill),
        providers=tuple(sorted({line.provider for line in bill})),
        tenants=tuple(options.tenant) if options.tenant else None,
    )
    entries, incomplete = store.ours(connection, scope)
    cells = compare(bill, entries, incomplete=incomplete, name=_names())
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in options.files}
    number = store.keep(connection, scope, cells=cells, files=files)
    if options.html:
        options.html.write_text(report.as_html(cells, scope, files=files), encoding="utf-8")
    if options.csv:
        options.csv.write_text(report.as_csv(cells), encoding="utf-8")
    _show(cells, scope, number=number)
    return _UNEXPLAINED if Cause.UNEXPLAINED in causes(cells) else 0


def _names() -> Callable[[str, str], str]:
    """(provider, the bill's model) → the ledger's name of it, by the catalogue's own matching."""
    catalogue = packaged_catalogue()

    @cache
    def name(provider: str, model: str) -> str:
        found = catalogue.find(provider, model) if model else None
        return found.model if found else model

    return name


def _console() -> Console:
    return Console(highlight=False, width=None if sys.stdout.isatty() else _PLAIN_WIDTH)


def _show(cells: list[Cell], scope: Scope, *, number: int) -> None:
    console = _console()
    with_money = [cell for cell in cells if cell.billed_usd_pico is not None]
    billed = sum(cell.billed_usd_pico or 0 for cell in with_money)
    ours = sum(cell.our_usd_pico for cell in with_money)
    console.print(
        f"reconciliation {number}: {', '.join(scope.providers)}, {scope.first_day} to {scope.last_day}\n"
        f"billed {report.dollars(billed)} USD, in the ledger {report.dollars(ours)} USD, "
        f"difference {report.dollars(billed - ours)} USD {report.share(billed - ours, billed)}\n"
        f"{sum(cell.matches for cell in cells)} of {len(cells)} cells match"
    )
    found = causes(cells)
    if found:
        table = Table("cause", box=box.SIMPLE_HEAD)
        table.add_column("USD", justify="right")
        for cause, amount in found.items():
            table.add_row(cause.value, report.dollars(amount))
        console.print(table)
    _show_largest([cell for cell in cells if not cell.matches], console)


def _show_largest(differing: list[Cell], console: Console) -> None:
    if not differing:
        return
    table = Table("day", "provider", "model", "meter", box=box.SIMPLE_HEAD)
    for heading in ("billed", "counted", "billed USD", "ledger USD"):
        table.add_column(heading, justify="right")
    table.add_column("why")
    largest = sorted(differing, key=lambda cell: -abs(cell.difference_usd_pico))
    for cell in largest[:_SHOWN]:
        quantity = "" if cell.billed_quantity is None else f"{cell.billed_quantity:,}"
        why = ", ".join(f"{cause.value} {report.dollars(amount)}" for cause, amount in cell.causes.items())
        table.add_row(
            cell.place.day, cell.place.provider, cell.place.model or "all", cell.place.meter or "all", quantity,
            f"{cell.our_quantity:,}", report.dollars(cell.billed_usd_pico), report.dollars(cell.our_usd_pico),
            why or "quantity only",
        )  # fmt: skip
    console.print(table)
    if len(largest) > _SHOWN:
        console.print(f"and {len(largest) - _SHOWN} more: --csv FILE has them all")


def _history(connection: Connection) -> int:
    table = Table("no", "made", "by", "days", "providers", box=box.SIMPLE_HEAD)
    for heading in ("billed USD", "ledger USD", "unexplained USD"):
        table.add_column(heading, justify="right")
    for kept in store.history(connection, most=100):
        table.add_row(
            str(kept.reconciliation_no), f"{kept.made_at:%Y-%m-%d %H:%M}", kept.made_by,
            f"{kept.first_day} to {kept.last_day}", ", ".join(kept.providers), report.dollars(kept.billed_usd_pico),
            report.dollars(kept.our_usd_pico), report.dollars(kept.causes.get(Cause.UNEXPLAINED.value, 0)),
        )  # fmt: skip
    _console().print(table)
    return 0
