"""Tenants in the ledger: time zone, charge policy, consent, status; each statement with its reason, none ever edited.

  tokenledger tenants set acme --time-zone Europe/Berlin --reason "contract 2026"
  tokenledger tenants set acme --capture-consent yes --reason "agreed by mail, 3 March"
  tokenledger tenants set --file tenants.yaml --reason "as in the CRM"      only what a tenant's entry names changes
  tokenledger tenants list [--yaml] [--known-at TIME]
  tokenledger tenants history [acme]

A tenant that was never stated has the time zone UTC, is charged for the answers that served, and keeps no texts.

exit status: 0 done; 2 it could not be done.
"""

import argparse
import sys
from datetime import UTC, datetime
from typing import Any, Final, get_args

import msgspec
import psycopg
import yaml
from rich import box
from rich.console import Console
from rich.table import Table

from ledger import tenants
from ledger.database import Connection, connect
from ledger.settings import Settings
from ledger.tenants import UNSTATED, ChargePolicy, Status, Tenant, TenantError
from tokenledger.commands.books import instant_us, parsed
from tokenledger.commands.stack import environment

_FAILED: Final = 2
_PLAIN_WIDTH: Final = 180
_SHOWN: Final = ("name", "time_zone", "charge_policy", "capture_consent", "status")
_YES: Final = {"yes": True, "no": False}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `tokenledger tenants` takes."""
    does = parser.add_subparsers(metavar="set | list | history", required=True)
    put = does.add_parser("set", help="this holds from now on")
    put.add_argument("tenant", nargs="?", metavar="TENANT", help="the tenant, by credential")
    put.add_argument("--name", help="name for people")
    put.add_argument("--time-zone", metavar="ZONE", help="its months begin and end there: Europe/Berlin")
    put.add_argument("--charge-policy", choices=get_args(ChargePolicy), help="what its customer pays for")
    put.add_argument("--capture-consent", choices=_YES, help="whether prompts and answers may be kept")
    put.add_argument("--status", choices=get_args(Status))
    put.add_argument("--file", metavar="FILE", help="many at once, YAML or JSON, as `list --yaml` shows them")
    put.add_argument("--reason", required=True, help="why, for those who read the history")
    put.set_defaults(does=_set)
    listed = does.add_parser("list", help="every tenant that was stated")
    listed.add_argument("--known-at", metavar="TIME", help="as known then: 2026-01-31 or 2026-01-31T16:00:00Z")
    listed.add_argument("--yaml", action="store_true", help="as a file that `set --file` reads")
    listed.set_defaults(does=_list)
    history = does.add_parser("history", help="every statement, the oldest first")
    history.add_argument("tenant", nargs="?", metavar="TENANT", help="of this tenant")
    history.set_defaults(does=_history)


def run(options: argparse.Namespace) -> int:
    """Do it as role `keeper`."""
    settings = Settings.from_environment(environment(), user="keeper")
    try:
        with connect(settings, application="tokenledger-tenants") as connection:
            return int(options.does(connection, options))
    except psycopg.OperationalError as error:
        message = f"cannot reach the ledger: {str(error).strip()}; is the stack up? `make up`"
    except TenantError as error:
        message = str(error)
    print(f"tokenledger tenants: {message}", file=sys.stderr)
    return _FAILED


def _set(connection: Connection, options: argparse.Namespace) -> int:
    if bool(options.tenant) == bool(options.file):
        raise TenantError("either TENANT or --file FILE says whom this is about")
    stated = _of_file(options.file) if options.file else {options.tenant: _of_options(options)}
    known = tenants.tenants(connection)
    wanted = [_with(known.get(tenant_id), tenant_id, changes=changes) for tenant_id, changes in stated.items()]
    changed = tenants.state(connection, wanted, reason=options.reason)
    for one in changed:
        print(
            f"{one.tenant_id}: {one.time_zone}, charged for what was {one.charge_policy}, {_consent(one)}, {one.status}"
        )
    print(f"{len(changed)} stated, {len(wanted) - len(changed)} known already")
    return 0


def _of_options(options: argparse.Namespace) -> dict[str, Any]:
    given = {name: getattr(options, name) for name in _SHOWN if getattr(options, name) is not None}
    return given | ({"capture_consent": _YES[options.capture_consent]} if options.capture_consent else {})


def _of_file(path: str) -> dict[str, Any]:
    found = parsed(path)
    stated = found.get("tenants") if isinstance(found, dict) else None
    if not isinstance(stated, dict) or not all(isinstance(one, dict) for one in stated.values()):
        raise TenantError(
            f"{path}: no map `tenants` of tenant → what holds; `tokenledger tenants list --yaml` shows one"
        )
    return {str(tenant_id): changes for tenant_id, changes in stated.items()}


def _with(known: Tenant | None, tenant_id: str, *, changes: dict[str, Any]) -> Tenant:
    before = msgspec.to_builtins(known or UNSTATED)
    try:
        return msgspec.convert(before | changes | {"tenant_id": tenant_id}, Tenant)
    except msgspec.ValidationError as error:
        raise TenantError(f"tenant {tenant_id}: {error}") from None


def _consent(one: Tenant) -> str:
    return "texts may be kept" if one.capture_consent else "no texts are kept"


def _list(connection: Connection, options: argparse.Namespace) -> int:
    known_at_us = instant_us(options.known_at, "--known-at") if options.known_at else None
    found = tenants.tenants(connection, known_at_us=known_at_us)
    if options.yaml:
        shown = {name: {field: getattr(one, field) for field in _SHOWN} for name, one in found.items()}
        print(yaml.safe_dump({"tenants": shown}, sort_keys=False, allow_unicode=True), end="")
        return 0
    table = Table("tenant", *(name.replace("_", " ") for name in _SHOWN), box=box.SIMPLE_HEAD)
    for one in found.values():
        table.add_row(one.tenant_id, *_cells(one))
    _console().print(table)
    return 0


def _cells(one: Tenant) -> tuple[str, ...]:
    return (one.name, one.time_zone, one.charge_policy, "yes" if one.capture_consent else "no", one.status)


def _history(connection: Connection, options: argparse.Namespace) -> int:
    table = Table("stated", "by", "why", "tenant", *(name.replace("_", " ") for name in _SHOWN), box=box.SIMPLE_HEAD)
    for one in tenants.history(connection, options.tenant):
        made = datetime.fromtimestamp(one.known_from_us / 1e6, UTC)
        table.add_row(f"{made:%Y-%m-%d %H:%M:%S}", one.made_by, one.reason, one.tenant.tenant_id, *_cells(one.tenant))
    _console().print(table)
    return 0


def _console() -> Console:
    return Console(highlight=False, width=None if sys.stdout.isatty() else _PLAIN_WIDTH)
