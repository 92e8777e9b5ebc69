"""Rebuild a ledger from the log in a new database, and compare it with the original, call by call and meter by meter.

  tokenledger replay --into ledger_again

The database is made if it is not there; interrupted, the command reads on where it was. Old records that the log no
longer holds cannot be rebuilt and are counted. It needs a superuser's connection to make the database:
TOKENLEDGER_POSTGRES_ADMIN_DSN, or --admin-dsn.

exit status: 0 both say the same; 1 they do not, or it was interrupted; 2 it could not be done.
"""

import argparse
import signal
import sys
import threading
from dataclasses import replace
from typing import Final

import psycopg
from confluent_kafka import KafkaException
from rich.progress import Progress as Bar

from ledger.database import connect
from ledger.kafka import KafkaSide
from ledger.rebuild import Comparison, Progress, compare, make_database, rebuild
from ledger.settings import Settings
from tokenledger.commands.stack import environment
from tokenledger.records.topics import PRICED, RAW, REJECTED

_DIFFERENT: Final = 1
_FAILED: Final = 2
_ADMIN: Final = "TOKENLEDGER_POSTGRES_ADMIN_DSN"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `tokenledger replay` takes."""
    parser.add_argument("--into", required=True, metavar="DATABASE", help="name of the new database")
    parser.add_argument("--admin-dsn", metavar="DSN", help=f"a superuser's connection (default: {_ADMIN})")


def run(options: argparse.Namespace) -> int:
    """Rebuild, then compare."""
    known = environment()
    admin_dsn = options.admin_dsn or known.get(_ADMIN)
    original = Settings.from_environment(known, user="analyst")
    if options.into == original.postgres_database:
        return _failed(f"--into {options.into}: that is the original; name a new database")
    if not admin_dsn:
        return _failed(f"{_ADMIN} is not set; it names a superuser's connection, which making a database needs")
    try:
        make_database(admin_dsn, options.into)
        writer = replace(
            Settings.from_environment(known, user="writer"), postgres_database=options.into, metrics_port=None
        )
        if not _rebuilt(writer):
            print("interrupted; the same command reads on from here", file=sys.stderr)
            return _DIFFERENT
        return _compared(original, replace(original, postgres_database=options.into))
    except psycopg.Error as error:
        return _failed(f"Postgres: {str(error).strip()}")
    except KafkaException as error:
        return _failed(f"cannot read the log: {error.args[0].str()}; is the stack up? `make up`")


def _failed(message: str) -> int:
    print(f"tokenledger replay: {message}", file=sys.stderr)
    return _FAILED


def _rebuilt(settings: Settings) -> bool:
    stopped = threading.Event()
    before = signal.signal(signal.SIGINT, lambda *_: stopped.set())
    try:
        with Bar(transient=True, disable=not sys.stderr.isatty()) as bar:
            task = bar.add_task("records", total=None)

            def show(progress: Progress) -> None:
                bar.update(task, completed=progress.done, total=progress.done + progress.left)

            return rebuild(settings, on_progress=show, stop=stopped.is_set)
    finally:
        signal.signal(signal.SIGINT, before)


def _compared(original: Settings, rebuilt: Settings) -> int:
    kafka = KafkaSide(original.kafka_bootstrap)
    try:
        facts = kafka.facts([PRICED.name, REJECTED.name, RAW.name])
    finally:
        kafka.close()
    starts_later = any(start > 0 for topic in (PRICED, REJECTED) for start, _ in facts[topic.name].spans.values())
    with (
        connect(original, application="tokenledger-replay") as one,
        connect(rebuilt, application="tokenledger-replay") as other,
    ):
        found = compare(one, other, log_starts_later=starts_later)
    _show(found)
    return 0 if found.is_equal else _DIFFERENT


def _show(found: Comparison) -> None:
    print(f"{found.calls} calls are in both and equal")
    for text, count in (
        ("calls are in the original only", found.only_original),
        ("calls are in the rebuilt ledger only", found.only_rebuilt),
        ("calls differ", found.differing),
        ("totals by tenant, provider, model and meter differ", found.meters),
    ):
        if count:
            print(f"{count} {text}")
    for line in found.named:
        print(f"  {line}")
    if found.log_starts_later:
        print("the log no longer holds its first records: what is older cannot be rebuilt from it")
    if found.unread:
        print(f"the original has read {found.unread} records more meanwhile: the same command reads on")
    if found.is_equal:
        print("the rebuilt ledger says what the original says")
