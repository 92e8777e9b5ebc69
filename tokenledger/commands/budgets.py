"""Set, list and remove the most a tenant, or one feature of it, may spend by the gateway in a UTC day or month.

  tokenledger budgets set acme 250.00 --period month
  tokenledger budgets set acme 10 --period day --feature search
  tokenledger budgets list
  tokenledger budgets remove acme --period day --feature search

exit status: 0 done; 1 no such budget; 2 the ledger could not be read.
"""

import argparse
import sys
import time
from decimal import Decimal, InvalidOperation
from typing import Final

import psycopg
from rich.console import Console
from rich.table import Table

from ledger import api_keys
from ledger.api_keys import Budget
from ledger.database import Connection, connect
from ledger.settings import Settings
from tokenledger.commands.stack import environment

_NOT_FOUND: Final = 1
_FAILED: Final = 2
_MOST_USD: Final = 9_000_000
_PLAIN_WIDTH: Final = 120


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `tokenledger budgets` takes."""
    does = parser.add_subparsers(metavar="set | list | remove", required=True)
    put = does.add_parser("set", help="this limit holds from now on")
    put.add_argument("tenant", help="the tenant")
    put.add_argument("limit_usd_pico", type=_usd, metavar="USD", help="the limit in USD, such as 250.00")
    put.set_defaults(does=_set)
    does.add_parser("list", help="every budget").set_defaults(does=_list)
    remove = does.add_parser("remove", help="no limit holds any more")
    remove.add_argument("tenant", help="the tenant")
    remove.set_defaults(does=_remove)
    for one in (put, remove):
        one.add_argument("--period", choices=("day", "month"), default="month", help="UTC (default: month)")
        one.add_argument("--feature", help="one feature (default: all of the tenant's calls together)")


def _usd(text: str) -> int:
    """An amount in USD as pico-USD."""
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal(-1)
    if not (amount.is_finite() and 0 <= amount <= _MOST_USD and amount * 10**12 == int(amount * 10**12)):
        message = f"{text!r} is no limit; an amount in USD from 0 to 9,000,000 would be right"
        raise argparse.ArgumentTypeError(message)
    return int(amount * 10**12)


def run(options: argparse.Namespace) -> int:
    """Do it as role `keeper`."""
    settings = Settings.from_environment(environment(), user="keeper")
    try:
        with connect(settings, application="tokenledger-budgets") as opened:
            return int(options.does(opened, options))
    except psycopg.OperationalError as error:
        message = f"cannot reach the ledger: {str(error).strip()}; is the stack up? `make up`"
        print(f"tokenledger budgets: {message}", file=sys.stderr)
        return _FAILED


def _set(connection: Connection, options: argparse.Namespace) -> int:
    budget = Budget(
        tenant_id=options.tenant,
        feature=options.feature,
        period=options.period,
        limit_usd_pico=options.limit_usd_pico,
    )
    api_keys.set_budget(connection, budget, now_us=time.time_ns() // 1000)
    print(f"{_whose(budget)}: {_shown(budget.limit_usd_pico)} USD a {budget.period}; gateways know within seconds")
    return 0


def _list(connection: Connection, _options: argparse.Namespace) -> int:
    table = Table("tenant", "feature", "period", "limit, USD")
    for budget in api_keys.budgets(connection):
        table.add_row(budget.tenant_id, budget.feature or "all", budget.period, _shown(budget.limit_usd_pico))
    Console(highlight=False, width=None if sys.stdout.isatty() else _PLAIN_WIDTH).print(table)
    return 0


def _remove(connection: Connection, options: argparse.Namespace) -> int:
    if api_keys.remove_budget(connection, options.tenant, feature=options.feature, period=options.period):
        print(f"{options.tenant} has no such budget any more")
        return 0
    print(f"tokenledger budgets: {options.tenant} has no such budget; `tokenledger budgets list`", file=sys.stderr)
    return _NOT_FOUND


def _whose(budget: Budget) -> str:
    return budget.tenant_id if budget.feature is None else f"feature {budget.feature} of {budget.tenant_id}"


def _shown(usd_pico: int) -> str:
    return f"{Decimal(usd_pico) / 10**12:f}"
