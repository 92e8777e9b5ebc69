"""Who sends records, who has fallen silent, and which numbered records never reached the log.

  tokenledger sources                     every source: when it spoke, how long it is usually quiet, what it lost
  tokenledger sources --gaps              the missing numbers (`ce_sequence`), by source and epoch
  tokenledger sources --silent            those that should have spoken
  tokenledger sources --retire NAME --reason "moved to …"    expect no more of it, until it speaks again

exit status: 0 done; 1 there are gaps, or silent sources, where these were asked for; 2 it could not be done.
"""

import argparse
import sys
import time
from typing import Final

import psycopg

from ledger.database import Connection, connect
from ledger.settings import Settings
from ledger.watch import telling
from ledger.watch.settings import Limits
from tokenledger.commands.plain import instant, json_line, print_table
from tokenledger.commands.stack import environment

_SOME: Final = 1
_FAILED: Final = 2
_US: Final = 1_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `tokenledger sources` takes."""
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--gaps", action="store_true", help="numbers that never reached the log")
    what.add_argument("--silent", action="store_true", help="sources that should have spoken")
    what.add_argument("--retire", metavar="SOURCE", help="expect no more of it, until it speaks again")
    parser.add_argument("--reason", help="why, with --retire")
    parser.add_argument("--format", choices=("table", "jsonl"), default="table", help="default: table")


def run(options: argparse.Namespace) -> int:
    """Do it as role `keeper`."""
    if options.retire is not None and not options.reason:
        message = "--retire needs --reason: whoever wonders later should find it"
        raise ValueError(message)
    settings = Settings.from_environment(environment(), user="keeper")
    try:
        with connect(settings, application="tokenledger-sources") as connection:
            if options.retire is not None:
                return _retire(connection, options)
            return _gaps(connection, options) if options.gaps else _sources(connection, options)
    except psycopg.OperationalError as error:
        message = f"cannot reach the ledger: {str(error).strip()}; is the stack up? `make up`"
        print(f"tokenledger sources: {message}", file=sys.stderr)
        return _FAILED


def _retire(connection: Connection, options: argparse.Namespace) -> int:
    now_us = time.time_ns() // 1000
    if not telling.retire(connection, options.retire, reason=options.reason, now_us=now_us):
        message = f"there is no source {options.retire!r}; `tokenledger sources` lists them"
        raise ValueError(message)
    print("retired: it is not missed until it speaks again")
    return 0


def _gaps(connection: Connection, options: argparse.Namespace) -> int:
    found = telling.gaps(connection)
    if options.format == "jsonl":
        for gap in found:
            sys.stdout.buffer.write(json_line(gap._asdict()))
    elif found:
        rows = [(*gap[:2], *(f"{number:,}" for number in gap[2:5]), instant(gap.last_at_us)) for gap in found]
        heads = ("source", "epoch", "first", "last", "missing", "latest record")
        print_table(heads, rows, right=("first", "last", "missing"))
    else:
        print("no gap")
    return _SOME if found else 0


def _sources(connection: Connection, options: argparse.Namespace) -> int:
    patience = Limits.from_environment(environment()).patience
    found = telling.sources(connection, patience)
    found = [one for one in found if one.silent or not options.silent]
    if options.format == "jsonl":
        for one in found:
            sys.stdout.buffer.write(json_line(one._asdict()))
    elif found:
        heads = ("source", "records", "latest", "usual pause", "allowed", "numbered epochs", "missing", "state")
        rows = [
            (one.ce_source, f"{one.records:,}", instant(one.last_at_us), _span(one.usual_us), _span(one.allowed_us),
             one.numbered, f"{one.missing + one.given_up:,}", _state(one))
            for one in found
        ]  # fmt: skip
        print_table(heads, rows, right=("records", "usual pause", "allowed", "numbered epochs", "missing"))
    else:
        print("no silent source" if options.silent else "no source was heard yet")
    return _SOME if found and options.silent else 0


def _state(one: telling.Known) -> str:
    if one.retired:
        return "retired"
    return "silent" if one.silent else "learning" if one.allowed_us is None else "speaks"


def _span(us: int | None) -> str:
    return "" if us is None else f"{us / _US:,.1f} s" if us < 600 * _US else f"{us / _US / 60:,.0f} min"
