"""Accounting months: close one, see what came after the close, and approve it.

  tokenledger periods close acme 2026-10 --reason "invoice 2026-10"
  tokenledger periods list          what each came to then, what was added since, and whether the close still says so
  tokenledger periods late          what was posted to closed months since, and whether somebody approved it
  tokenledger periods approve acme 2026-10 --reason "late logs of 31 October"

Months begin and end in the tenant's time zone (`tokenledger tenants`).

exit status: 0 done; 1 list: a closed month no longer answers as it did, late: something awaits approval; 2 it could not
be done.
"""

import argparse
import sys
from datetime import UTC, datetime
from typing import Final

import psycopg
from rich import box
from rich.console import Console
from rich.table import Table

from ledger.bills.report import dollars
from ledger.database import Connection, connect
from ledger.periods import (
    Correction,
    Period,
    PeriodError,
    approve,
    awaiting,
    close,
    corrections,
    periods,
    sums_again,
)
from ledger.settings import Settings
from tokenledger.commands.stack import environment

_NOT_THE_SAME: Final = 1
_NOT_AGAIN: Final = "NOT THE SAME"
_DROPPED: Final = "books dropped"
_AWAITS: Final = 1
_FAILED: Final = 2
_PLAIN_WIDTH: Final = 200


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `tokenledger periods` takes."""
    does = parser.add_subparsers(metavar="close | list | late | approve", required=True)
    shut = does.add_parser("close", help="close a month of a tenant")
    shut.add_argument("tenant", metavar="TENANT")
    shut.add_argument("month", metavar="YYYY-MM", help="in the tenant's time zone")
    shut.add_argument("--reason", required=True, help="why, for those who read the list")
    shut.set_defaults(does=_close)
    does.add_parser("list", help="every closed month, then and now").set_defaults(does=_list)
    does.add_parser("late", help="what was posted to closed months since").set_defaults(does=_late)
    yes = does.add_parser("approve", help="approve what was posted to a closed month since")
    yes.add_argument("tenant", metavar="TENANT")
    yes.add_argument("month", metavar="YYYY-MM")
    yes.add_argument("--reason", required=True, help="why, for those who read the list")
    yes.set_defaults(does=_approve)


def run(options: argparse.Namespace) -> int:
    """Do it as role `keeper`."""
    settings = Settings.from_environment(environment(), user="keeper")
    try:
        with connect(settings, application="tokenledger-periods") as connection:
            return int(options.does(connection, options))
    except psycopg.OperationalError as error:
        message = f"cannot reach the ledger: {str(error).strip()}; is the stack up? `make up`"
    except PeriodError as error:
        message = str(error)
    print(f"tokenledger periods: {message}", file=sys.stderr)
    return _FAILED


def _close(connection: Connection, options: argparse.Namespace) -> int:
    period = close(connection, options.tenant, options.month, reason=options.reason, now=datetime.now(UTC))
    print(
        f"{period.month} of {period.tenant_id} is closed: {period.closed.calls} calls, "
        f"{dollars(period.closed.known_cost_usd_pico)} USD, {period.closed.incomplete_calls} of them incomplete"
    )
    return 0


def _list(connection: Connection, _options: argparse.Namespace) -> int:
    table = Table("month", "tenant", "closed up to", "by", "why", box=box.SIMPLE_HEAD)
    for heading in ("calls", "incomplete", "USD at the close", "approved since, USD", "awaiting, USD", "again"):
        table.add_column(heading, justify="right")
    differ = 0
    for one in periods(connection):
        again = _again(connection, one)
        since, is_whole = _since(connection, one)
        approved = dollars(sum(later.sums.known_cost_usd_pico for later in since if later.is_approved))
        differ += again == _NOT_AGAIN
        table.add_row(
            one.month, one.tenant_id, f"{_time(one.closed_at_us)} {one.time_zone}", one.closed_by, one.reason,
            str(one.closed.calls), str(one.closed.incomplete_calls), dollars(one.closed.known_cost_usd_pico),
            approved if is_whole else _DROPPED,
            dollars(sum(later.sums.known_cost_usd_pico for later in since if not later.is_approved)),
            again,
        )  # fmt: skip
    _print(table)
    return _NOT_THE_SAME if differ else 0


def _again(connection: Connection, period: Period) -> str:
    try:
        return "the same" if sums_again(connection, period) == period.closed else _NOT_AGAIN
    except ValueError:
        return _DROPPED


def _since(connection: Connection, period: Period) -> tuple[list[Correction], bool]:
    """What was posted to it since its close, and whether that is all; else what of it awaits approval."""
    try:
        return corrections(connection, period.tenant_id, period.month), True
    except ValueError:
        return awaiting(connection, period.tenant_id, month=period.month), False


def _late(connection: Connection, _options: argparse.Namespace) -> int:
    table = Table("month", "tenant", "what", "posted", box=box.SIMPLE_HEAD)
    for heading in ("calls", "incomplete", "USD", "state"):
        table.add_column(heading, justify="right")
    awaits, dropped = 0, []
    for one in periods(connection):
        since, is_whole = _since(connection, one)
        dropped += [] if is_whole else [f"{one.month} of {one.tenant_id}"]
        for later in since:
            awaits += not later.is_approved
            table.add_row(
                one.month, one.tenant_id, later.what, f"{_time(later.first_us)} to {_time(later.last_us)}",
                f"{later.sums.calls:+}", f"{later.sums.incomplete_calls:+}", dollars(later.sums.known_cost_usd_pico),
                "approved" if later.is_approved else "awaits approval",
            )  # fmt: skip
    _print(table)
    if dropped:
        print(f"{_DROPPED}, so that only what awaits approval is listed: {', '.join(dropped)}")
    return _AWAITS if awaits else 0


def _approve(connection: Connection, options: argparse.Namespace) -> int:
    total = approve(connection, options.tenant, options.month, reason=options.reason)
    print(
        f"{options.month} of {options.tenant}: corrections of {total.calls:+} calls, "
        f"{dollars(total.known_cost_usd_pico)} USD, are approved; the close itself stays as it was"
    )
    return 0


def _time(at_us: int) -> str:
    return f"{datetime.fromtimestamp(at_us / 1e6, UTC):%Y-%m-%d %H:%M:%S}"


def _print(table: Table) -> None:
    Console(highlight=False, width=None if sys.stdout.isatty() else _PLAIN_WIDTH).print(table)
