"""The gateway's cache: what it holds and how often it is wrong; what shall be forgotten.

  tokenledger cache stats                                  answers, questions, checked pairs, by tenant and route
  tokenledger cache purge --tenant acme                    all of a tenant's answers
  tokenledger cache purge --tenant acme --entry ID         one answer, by the id that `x-tokenledger-cache` names
  tokenledger cache purge --tenant acme --knowledge v3     all that rests on one version of the knowledge

Gateways that run forget within a second. Exit status: 0 done; 2 it could not be done.
"""

import argparse
import sqlite3
import sys
import time
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from serving.cache.configuration import CacheSettings
from serving.cache.exact import Purge
from serving.cache.rates import drawn_rates
from serving.cache.store import FILE, Store

_DONE: Final = 0
_FAILED: Final = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `tokenledger cache` takes."""
    does = parser.add_subparsers(metavar="stats | purge", required=True)
    stats = does.add_parser("stats", help="what is kept, and how often it was wrong where it was checked")
    stats.set_defaults(does=_stats)
    purge = does.add_parser("purge", help="forget answers, in every gateway of this machine")
    purge.add_argument("--tenant", required=True, help="tenant, as its credential says")
    purge.add_argument("--entry", metavar="ID", help="one answer")
    purge.add_argument("--knowledge", metavar="VERSION", help="answers of one version of the knowledge")
    purge.set_defaults(does=_purge)
    for each in (stats, purge):
        each.add_argument(
            "--folder", type=Path, default=Path(CacheSettings().folder), help="as in [cache] (default: %(default)s)"
        )


def run(options: argparse.Namespace) -> int:
    """Exit status."""
    if not (options.folder / FILE).exists():
        print(f"cache: {options.folder} has no {FILE}; --folder names the one in [cache]", file=sys.stderr)
        return _FAILED
    try:
        store = Store(options.folder)
    except sqlite3.Error as error:
        print(f"cache: {options.folder / FILE}: {error}", file=sys.stderr)
        return _FAILED
    try:
        return int(options.does(options, store))
    finally:
        store.close()


def _purge(options: argparse.Namespace, store: Store) -> int:
    gone = store.purge(Purge(options.tenant, options.entry, options.knowledge, time.time_ns() // 1_000))
    print(f"{gone} answers of {options.tenant} are gone")
    return _DONE


def _stats(_options: argparse.Namespace, store: Store) -> int:
    table = Table("tenant", "route")
    for name in ("answers", "bytes", "questions", "checked pairs", "checked hits", "wrong", "wrong at most (95 %)"):
        table.add_column(name, justify="right")
    rates = drawn_rates(store.pairs())
    for tenant_id, route, answers, questions, pairs, reply_bytes in store.counts():
        rate = rates.get((tenant_id, route))
        checked = (f"{rate.checked}", f"{rate.wrong}", f"{rate.bound:.1%}") if rate is not None else ("0", "", "")
        table.add_row(tenant_id, route, f"{answers}", f"{reply_bytes}", f"{questions}", f"{pairs}", *checked)
    Console().print(table)
    return _DONE
