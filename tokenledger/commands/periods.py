"""Accounting months: close one, and see what came after the close.

  tokenledger periods close acme 2026-10 --reason "invoice 2026-10"
  tokenledger periods list          what each came to then, now, and whether the close can still be given again

exit status: 0 done; 1 list: a closed month no longer answers as it did; 2 it could not be done.
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
from ledger.periods import PeriodError, close, periods, sums
from ledger.settings import Settings
from tokenledger.commands.stack import environment

_NOT_THE_SAME: Final = 1
_FAILED: Final = 2
_PLAIN_WIDTH: Final = 160


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `tokenledger periods` takes."""
    does = parser.add_subparsers(metavar="close | list", required=True)
    shut = does.add_parser("close", help="close a month of a tenant")
    shut.add_argument("tenant", metavar="TENANT")
    shut.add_argument("month", metavar="YYYY-MM", help="UTC")
    shut.add_argument("--reason", required=True, help="why, for those who read the list")
    shut.set_defaults(does=_close)
    does.add_parser("list", help="every closed month, then and now").set_defaults(does=_list)


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
    for heading in ("calls", "incomplete", "USD at the close", "posted since, USD", "again"):
        table.add_column(heading, justify="right")
    differ = 0
    for one in periods(connection):
        again = sums(connection, one.tenant_id, one.month, until_us=one.closed_at_us)
        now = sums(connection, one.tenant_id, one.month)
        differ += again != one.closed
        closed_at = datetime.fromtimestamp(one.closed_at_us / 1e6, UTC)
        table.add_row(
            one.month, one.tenant_id, f"{closed_at:%Y-%m-%d %H:%M:%S}", one.closed_by, one.reason,
            str(one.closed.calls), str(one.closed.incomplete_calls), dollars(one.closed.known_cost_usd_pico),
            dollars(now.known_cost_usd_pico - one.closed.known_cost_usd_pico),
            "the same" if again == one.closed else "NOT THE SAME",
        )  # fmt: skip
    Console(highlight=False, width=None if sys.stdout.isatty() else _PLAIN_WIDTH).print(table)
    return _NOT_THE_SAME if differ else 0
