"""Credits and charges that no call made: one person proposes, another approves, the writer posts them.

  tokenledger adjust propose acme 2026-10 --usd=-12.50 --reason "outage of 3 October" --reference CR-17
  tokenledger adjust approve 1 --reason "agreed with acme"       as another login
  tokenledger adjust refuse 1 --reason "not ours to pay"
  tokenledger adjust list

Each acts under a login of their own, TOKENLEDGER_POSTGRES_USER, that is a member of role `keeper`. The database refuses
whoever approves what the same login proposed.

exit status: 0 done; 2 it could not be done.
"""

import argparse
import sys
from decimal import Decimal, InvalidOperation
from typing import Final

import psycopg
from rich import box
from rich.console import Console
from rich.table import Table

from ledger.adjusting import AdjustmentError, Proposal, adjustments, decide, propose
from ledger.bills.report import dollars
from ledger.database import Connection, connect
from ledger.periods import PeriodError
from ledger.settings import Settings
from tokenledger.commands.stack import environment

_FAILED: Final = 2
_PLAIN_WIDTH: Final = 160
_PICO: Final = 10**12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `tokenledger adjust` takes."""
    does = parser.add_subparsers(metavar="propose | approve | refuse | list", required=True)
    put = does.add_parser("propose", help="put an amount up for another's approval")
    put.add_argument("tenant", metavar="TENANT")
    put.add_argument("month", metavar="YYYY-MM", help="the month it is charged to")
    put.add_argument("--usd", required=True, metavar="AMOUNT", help="in USD, exact; a credit is negative: --usd=-12.50")
    put.add_argument("--reason", required=True, help="why, for those who approve it and read it later")
    put.add_argument("--reference", metavar="N", help="number of the letter or ticket; proposed twice it is one")
    for name in ("provider", "model", "project", "feature", "cost-centre"):
        put.add_argument(f"--{name}", metavar="X", help=f"{name.replace('-', ' ')} it concerns")
    put.set_defaults(does=_propose)
    for name, approves in (("approve", True), ("refuse", False)):
        one = does.add_parser(name, help=f"{name} a proposal")
        one.add_argument("number", type=int, metavar="N")
        one.add_argument("--reason", required=True, help="why")
        one.set_defaults(does=_decide, approves=approves)
    does.add_parser("list", help="every adjustment and what became of it").set_defaults(does=_list)


def run(options: argparse.Namespace) -> int:
    """Do it under the login that is set, `keeper` if none is."""
    settings = Settings.from_environment(environment(), user="keeper")
    try:
        with connect(settings, application="tokenledger-adjust") as connection:
            options.does(connection, options)
    except psycopg.OperationalError as error:
        message = f"cannot reach the ledger: {str(error).strip()}; is the stack up? `make up`"
    except psycopg.errors.InsufficientPrivilege as error:
        message = f"{str(error).strip()}; a login that is a member of role keeper would be right"
    except (AdjustmentError, PeriodError) as error:
        message = str(error)
    else:
        return 0
    print(f"tokenledger adjust: {message}", file=sys.stderr)
    return _FAILED


def amount_usd_pico(text: str) -> int:
    """An amount in USD as pico-USD, nothing rounded. Raises AdjustmentError."""
    try:
        amount = Decimal(text) * _PICO
    except InvalidOperation:
        raise AdjustmentError(f"--usd {text!r} is no amount; one such as -12.50 would be right") from None
    if not amount.is_finite() or amount != amount.to_integral_value():
        raise AdjustmentError(f"--usd {text} is not a whole number of pico-dollars; at most 12 decimals would be right")
    return int(amount)


def _propose(connection: Connection, options: argparse.Namespace) -> None:
    number = propose(
        connection,
        Proposal(
            tenant_id=options.tenant, month=options.month, amount_usd_pico=amount_usd_pico(options.usd),
            reason=options.reason, reference=options.reference, provider=options.provider or "", model=options.model,
            project=options.project, feature=options.feature, cost_centre=options.cost_centre,
        ),
    )  # fmt: skip
    print(f"adjustment {number} awaits the approval of another login: tokenledger adjust approve {number} --reason …")


def _decide(connection: Connection, options: argparse.Namespace) -> None:
    decide(connection, options.number, approves=options.approves, reason=options.reason)
    done = "is approved; the writer posts it" if options.approves else "is refused"
    print(f"adjustment {options.number} {done}")


def _list(connection: Connection, _options: argparse.Namespace) -> None:
    table = Table("no", "month", "tenant", box=box.SIMPLE_HEAD)
    table.add_column("USD", justify="right")
    for heading in ("why", "reference", "proposed by", "state", "decided by", "because"):
        table.add_column(heading)
    for one in adjustments(connection):
        table.add_row(
            str(one.adjustment_no), one.month, one.tenant_id, dollars(one.amount_usd_pico), one.reason,
            one.reference or "", one.proposed_by, one.state, one.decided_by, one.decision,
        )  # fmt: skip
    Console(highlight=False, width=None if sys.stdout.isatty() else _PLAIN_WIDTH).print(table)
