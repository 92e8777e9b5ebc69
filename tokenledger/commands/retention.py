"""Drop old months of the books: postings and lines, whole months, oldest first. Calls, keys and roll-ups stay.

  tokenledger retention --before 2026-01 --dry-run   which months would go, what that frees, what is against it
  tokenledger retention --before 2026-01             drop them

A month goes only when it is over, folded into the roll-ups, closed for every tenant that was charged in it, what was
posted in it to months that were closed by then is approved (`tokenledger periods late`), and the ledger is right.
Afterwards its calls cannot change any more: a record that would change one is rejected, and the books cannot be asked
as of an instant in it. It needs the owner's connection: TOKENLEDGER_POSTGRES_ADMIN_DSN, or --admin-dsn.

exit status: 0 done; 1 something stands against it, and nothing was dropped; 2 it could not be done.
"""

import argparse
import re
import sys
import time
from typing import Final

import psycopg

from ledger.retention import Month, drop, hindrances, months_before
from ledger.verify import verify
from tokenledger.commands.stack import environment

_HINDERED: Final = 1
_FAILED: Final = 2
_ADMIN: Final = "TOKENLEDGER_POSTGRES_ADMIN_DSN"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `tokenledger retention` takes."""
    parser.add_argument("--before", required=True, metavar="YYYY-MM", help="months posted before it go")
    parser.add_argument("--dry-run", action="store_true", help="say what would go, and drop nothing")
    parser.add_argument("--admin-dsn", metavar="DSN", help=f"the owner's connection (default: {_ADMIN})")


def run(options: argparse.Namespace) -> int:
    """Look, and drop."""
    admin_dsn = options.admin_dsn or environment().get(_ADMIN)
    if not admin_dsn:
        return _failed(f"{_ADMIN} is not set; it names the connection of who owns the tables")
    if not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", options.before):
        return _failed(f"--before {options.before}: no month; 2026-01 would be one")
    try:
        with psycopg.connect(admin_dsn, autocommit=True) as admin:
            return _dropped(admin, before=options.before, is_dry=options.dry_run)
    except psycopg.Error as error:
        return _failed(f"Postgres: {str(error).strip()}")


def _dropped(admin: psycopg.Connection[tuple[object, ...]], *, before: str, is_dry: bool) -> int:
    months = months_before(admin, before)
    for month in months:
        print(f"{month.name}  {month.size_bytes / 2**20:12,.1f} MiB")
    if not months:
        print(f"there are no months of the books before {before}")
        return 0
    against = hindrances(admin, months, now_us=time.time_ns() // 1000)
    for why in against:
        print(f"AGAINST IT  {why}")
    if against or is_dry:
        return _HINDERED if against else 0
    drop(admin, months)
    print(f"dropped {_span(months)}")
    differences = verify(admin, None)
    for difference in differences:
        print(f"DIFFERENCE  {difference}")
    return _HINDERED if differences else 0


def _span(months: list[Month]) -> str:
    return months[0].name if len(months) == 1 else f"{months[0].name} to {months[-1].name}"


def _failed(message: str) -> int:
    print(f"tokenledger retention: {message}", file=sys.stderr)
    return _FAILED
