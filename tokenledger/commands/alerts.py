"""What is wrong at present, and what was: alerts open and close by themselves. docs/runbooks.md says what to do.

  tokenledger alerts --open               exit status 1 if there are any: fit for cron
  tokenledger alerts --state gap          open and closed ones of one kind
  tokenledger alerts --recheck            have the ledger's sums compared again at once

exit status: 0 none is open; 1 some are; 2 that could not be told: the ledger is away, or nobody judges at present.
"""

import argparse
import sys
import time
from typing import Final

import psycopg

from ledger.database import connect
from ledger.settings import Settings
from ledger.watch import telling
from ledger.watch.states import STATES
from tokenledger.commands.plain import instant, json_line, print_table
from tokenledger.commands.stack import environment

_SOME: Final = 1
_UNKNOWN: Final = 2
_MOST: Final = 100
_STALE_S: Final = 300
_US: Final = 1_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `tokenledger alerts` takes."""
    add = parser.add_argument
    add("--open", action="store_true", help="only those that are open")
    add("--state", choices=tuple(STATES), help="; ".join(f"{name}: {meaning}" for name, meaning in STATES.items()))
    add("--limit", type=int, default=_MOST, metavar="N", help=f"at most so many (default: {_MOST})")
    add("--format", choices=("table", "jsonl"), default="table", help="default: table")
    add("--recheck", action="store_true", help="have the ledger's sums compared again in the next round")


def run(options: argparse.Namespace) -> int:
    """List them as role `keeper`."""
    settings = Settings.from_environment(environment(), user="keeper")
    try:
        with connect(settings, application="tokenledger-alerts") as connection:
            if options.recheck:
                telling.compare_again(connection)
            found = telling.alerts(connection, only_open=options.open, state=options.state, most=options.limit)
            open_now = telling.alerts(connection, only_open=True, state=options.state, most=1)
            judged_us = telling.judged_at_us(connection)
    except psycopg.OperationalError as error:
        message = f"cannot reach the ledger: {str(error).strip()}; is the stack up? `make up`"
        print(f"tokenledger alerts: {message}", file=sys.stderr)
        return _UNKNOWN
    _show(found, options.format)
    if time.time() - judged_us / _US > _STALE_S:
        since = f"since {instant(judged_us)} UTC" if judged_us else "yet"
        print(f"tokenledger alerts: nobody has judged {since}; does `watch` run? `make status`", file=sys.stderr)
        return _UNKNOWN
    return _SOME if open_now else 0


def _show(found: list[telling.Alert], form: str) -> None:
    if form == "jsonl":
        for one in found:
            sys.stdout.buffer.write(json_line(one._asdict()))
    elif found:
        rows = [
            (one.state, one.about, one.summary, *map(instant, (one.opened_at_us, one.last_seen_at_us)),
             "open" if one.closed_at_us is None else instant(one.closed_at_us))
            for one in found
        ]  # fmt: skip
        print_table(("state", "about", "what", "opened", "last seen", "closed"), rows)
    else:
        print("no alert")
