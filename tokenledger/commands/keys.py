"""Make, list and revoke keys of the gateway. A key is shown once, when it is made; the ledger keeps only its HMAC.

  tokenledger keys create TENANT --name ci --feature search --models 'gpt-4o*' --requests-per-min 600 --days 90
  tokenledger keys list
  tokenledger keys revoke key_0123456789ab

exit status: 0 done; 1 no such key; 2 the ledger or the secret could not be read.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import psycopg
from rich.console import Console
from rich.table import Table

from ledger import api_keys
from ledger.api_keys import ApiKey, WeakSecretError
from ledger.database import Connection, connect
from ledger.settings import Settings
from tokenledger.commands.stack import environment

_NOT_FOUND: Final = 1
_FAILED: Final = 2
_DAY_US: Final = 86_400_000_000
_PLAIN_WIDTH: Final = 200


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `tokenledger keys` takes."""
    does = parser.add_subparsers(metavar="create | list | revoke", required=True)
    create = does.add_parser("create", help="make a key and show it, once")
    create.add_argument("tenant", help="the tenant its calls are charged to")
    for name, meaning in _TEXTS.items():
        create.add_argument(f"--{name}", help=meaning)
    for name, meaning in _LISTS.items():
        create.add_argument(f"--{name}", metavar="A,B,…", type=_words, help=meaning)
    create.add_argument("--requests-per-min", type=_positive, metavar="N", help="requests a minute (default: no limit)")
    create.add_argument("--tokens-per-min", type=_positive, metavar="N", help="tokens a minute (default: no limit)")
    create.add_argument("--days", type=_positive, metavar="N", help="expires after so many days (default: never)")
    create.set_defaults(does=_create)
    does.add_parser("list", help="every key, without the keys themselves").set_defaults(does=_list)
    revoke = does.add_parser("revoke", help="refuse a key from now on")
    revoke.add_argument("key_id", metavar="KEY_ID", help="as `list` shows it")
    revoke.set_defaults(does=_revoke)


_TEXTS: Final = {
    "name": "name for people",
    "project": "project of its calls",
    "environment": "environment of its calls",
    "feature": "feature of its calls, unless the request names one it may",
}
_LISTS: Final = {
    "features": "features a request may name by `x-tokenledger-feature`; `*` for any (default: none)",
    "apis": "APIs it may use: chat, embeddings (default: all)",
    "models": "routes it may use; one that ends in `*` is a prefix (default: all)",
}


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _positive(text: str) -> int:
    number = int(text)
    if number <= 0:
        message = f"{number} is none; a whole number from 1 would be right"
        raise argparse.ArgumentTypeError(message)
    return number


def run(options: argparse.Namespace) -> int:
    """Do it as role `keeper`."""
    try:
        with connect(Settings.from_environment(environment(), user="keeper"), application="tokenledger-keys") as opened:
            return int(options.does(opened, options))
    except psycopg.OperationalError as error:
        message = f"cannot reach the ledger: {str(error).strip()}; is the stack up? `make up`"
    except WeakSecretError as error:
        message = str(error)
    print(f"tokenledger keys: {message}", file=sys.stderr)
    return _FAILED


def _create(connection: Connection, options: argparse.Namespace) -> int:
    secret = api_keys.read_secret(api_keys.secret_file(environment()))
    key_id, key = api_keys.new_key()
    now_us = time.time_ns() // 1000
    made = ApiKey(
        key_id=key_id,
        hmac=api_keys.digest(secret, key.encode()),
        tenant_id=options.tenant,
        name=options.name or "",
        project=options.project,
        environment=options.environment,
        feature=options.feature,
        features=options.features or (),
        apis=options.apis,
        models=options.models,
        requests_per_min=options.requests_per_min,
        tokens_per_min=options.tokens_per_min,
        created_at_us=now_us,
        expires_at_us=now_us + options.days * _DAY_US if options.days else None,
    )
    api_keys.add(connection, made)
    print(f"{key_id} of {options.tenant}; the key is shown this once:", file=sys.stderr)
    print(key)
    return 0


def _list(connection: Connection, _options: argparse.Namespace) -> int:
    table = Table("key", "tenant", "name", "project", "feature", "apis", "models", "per min", "expires", "state")
    for key in api_keys.keys(connection):
        table.add_row(
            key.key_id,
            key.tenant_id,
            key.name,
            key.project,
            _told(key.feature, key.features),
            _told(None, key.apis, every="all"),
            _told(None, key.models, every="all"),
            f"{key.requests_per_min or '-'} / {key.tokens_per_min or '-'}",
            "never" if key.expires_at_us is None else _day(key.expires_at_us),
            _state(key),
        )
    Console(highlight=False, width=None if sys.stdout.isatty() else _PLAIN_WIDTH).print(table)
    return 0


def _told(default: str | None, named: Sequence[str] | None, *, every: str = "") -> str:
    return " ".join(filter(None, (default, f"({', '.join(named)})" if named else ""))) or every


def _state(key: ApiKey) -> str:
    if key.revoked_at_us is not None:
        return f"revoked {_day(key.revoked_at_us)}"
    expired = key.expires_at_us is not None and key.expires_at_us <= time.time_ns() // 1000
    return "expired" if expired else "valid"


def _day(at_us: int) -> str:
    return f"{datetime.fromtimestamp(at_us // 1_000_000, UTC):%Y-%m-%d}"


def _revoke(connection: Connection, options: argparse.Namespace) -> int:
    if api_keys.revoke(connection, options.key_id, now_us=time.time_ns() // 1000):
        print(f"{options.key_id} is revoked; gateways refuse it within seconds")
        return 0
    print(f"tokenledger keys: no key {options.key_id} that is not revoked; `tokenledger keys list`", file=sys.stderr)
    return _NOT_FOUND
