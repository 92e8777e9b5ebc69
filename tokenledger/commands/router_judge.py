"""`tokenledger router judge`: what another policy would have been worth, by decisions that were logged with their odds.

No prompt is needed: a policy only weighs what the model said of each tier, and that is logged. It tells nothing of
tiers that had no chance (`explore = 0`); how much was left to judge by is said.
"""

import argparse
import sys
from pathlib import Path

import psycopg
from rich.table import Table

from ledger import decisions
from ledger.database import connect
from ledger.settings import Settings
from serving.router.judging import Judgement, judged
from serving.router.policy import policy
from tokenledger.commands.books import instant_us
from tokenledger.commands.router_tables import console, percent
from tokenledger.commands.stack import environment

_FAILED = 2
_NOTHING = 1
_MOST = 200_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What it takes."""
    parser.add_argument("--policy", type=Path, required=True, metavar="FILE", help="the other policy")
    parser.add_argument("--route", help="of this route of the policy only")
    parser.add_argument("--since", metavar="TIME", help="decisions since then: 2026-01-31 or 2026-01-31T16:00:00Z")
    parser.add_argument("--most", type=int, default=_MOST, help="decisions to read (default: %(default)s)")


def run(options: argparse.Namespace) -> int:
    """0 judged, 1 nothing to judge by, 2 the ledger or the policy could not be read."""
    other = policy(options.policy.read_text(encoding="utf-8"))
    since_us = instant_us(options.since, "--since") if options.since else 0
    try:
        settings = Settings.from_environment(environment(), user="analyst")
        with connect(settings, application="tokenledger-router") as connection:
            found = decisions.read(connection, since_us=since_us, route=options.route, most=options.most)
    except psycopg.OperationalError as error:
        said = str(error).strip()
        print(f"tokenledger router: cannot reach the ledger: {said}; is the stack up? `make up`", file=sys.stderr)
        return _FAILED
    known = [one for one in found if one.decision.route in other.routes]
    if not known:
        print(f"no logged decision of the routes {', '.join(other.routes)}; {len(found)} of other routes")
        return _NOTHING
    _print(judged(known, other))
    return 0


def _print(found: Judgement) -> None:
    out = console()
    out.print(f"{found.decisions:,} decisions")
    table = Table("", "operations", "was", "would be", "95 % interval", "as good as so many calls", box=None)
    for one in found.verdicts:
        would = one.would_be
        told = ("–", "–", "0") if would is None else (
            f"{would.mean:.6g}", f"{would.low:.6g} - {would.high:.6g}", f"{would.effective_calls:,.0f}",
        )  # fmt: skip
        table.add_row(one.name, f"{one.calls:,}", f"{one.was:.6g}", *told)
    out.print(table)
    shares = Table("tier", "chosen", "would be", box=None)
    for tier, (was, would_be) in found.shares.items():
        shares.add_row(tier, percent(was), percent(would_be))
    out.print(shares)
    out.print(f"would have chosen a tier that had no chance: {percent(found.untried)} (of these nothing is known)")
