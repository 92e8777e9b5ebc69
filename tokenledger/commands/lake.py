"""The lake of Parquet files: manifests of its days, comparison with the ledger, compaction, retention, erasure.

  tokenledger lake manifest --day 2026-11-21
  tokenledger lake verify
  tokenledger lake compact
  tokenledger lake retain --days 30 --table texts
  tokenledger lake erase --tenant acme --user u-4711

exit status: 0 done, and nothing differs; 1 something differs; 2 the lake or the ledger could not be read.
"""

import argparse
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

import psycopg

from ledger.database import Connection, connect
from ledger.lake import maintaining, manifests, verifying
from ledger.lake.layout import TABLES, day_named
from ledger.lake.locking import LakeError
from ledger.lake.settings import LakeSettings
from ledger.lake.users import Users, read_key
from ledger.settings import Settings
from tokenledger.commands.stack import environment

_DIFFERS: Final = 1
_FAILED: Final = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `tokenledger lake` takes."""
    lake = LakeSettings.from_environment(environment()).lake
    parser.add_argument("--lake", type=Path, default=lake, metavar="FOLDER", help=f"default: {lake}")
    does = parser.add_subparsers(metavar="manifest | verify | compact | retain | erase", required=True)
    manifest = does.add_parser("manifest", help="write down what a day holds: counts, sums and hashes")
    manifest.add_argument("--day", type=day_named, metavar="DAY", help="2026-11-21 (default: every day there is)")
    manifest.set_defaults(does=_manifest)
    verify = does.add_parser("verify", help="compare files, manifests and ledger; name every difference")
    verify.add_argument("--day", type=day_named, metavar="DAY", help="2026-11-21 (default: every day there is)")
    verify.add_argument("--without-ledger", action="store_true", help="files against manifests only")
    verify.set_defaults(does=_verify)
    compact = does.add_parser("compact", help="put small files together")
    compact.add_argument("--min-files", type=_positive, default=2, metavar="N", help="where there are N (default: 2)")
    compact.set_defaults(does=_compact)
    retain = does.add_parser("retain", help="remove old days")
    retain.add_argument("--days", type=_positive, required=True, metavar="N", help="keep today and N days before it")
    retain.add_argument("--table", choices=TABLES, help="of this table only (default: of both)")
    retain.set_defaults(does=_retain)
    erase = does.add_parser("erase", help="remove one person's texts, and the person from their calls")
    erase.add_argument("--tenant", required=True, help="the tenant whose user it is")
    who = erase.add_mutually_exclusive_group(required=True)
    who.add_argument("--user", metavar="ID", help="the user's id, as calls state it")
    who.add_argument("--user-hash", metavar="HASH", help="or the keyed hash that stands in the lake")
    erase.set_defaults(does=_erase)


def run(options: argparse.Namespace) -> int:
    """Do it."""
    try:
        return int(options.does(options))
    except (LakeError, psycopg.OperationalError) as error:
        print(f"tokenledger lake: {error}", file=sys.stderr)
        return _FAILED


def _manifest(options: argparse.Namespace) -> int:
    wanted = [options.day] if options.day else manifests.days(options.lake)
    for manifest in manifests.make_all(options.lake, wanted).values():
        path = manifests.write(options.lake, manifest)
        calls = sum(figures.calls for figures in manifest.tenants.values())
        print(
            f"{manifest.day}  {calls:,} calls of {len(manifest.tenants)} tenants in {len(manifest.files)} files  {path}"
        )
    if not wanted:
        print(f"{options.lake} holds no day yet", file=sys.stderr)
    return 0


def _verify(options: argparse.Namespace) -> int:
    with ExitStack() as opened:
        ledger = None if options.without_ledger else opened.enter_context(_ledger(environment()))
        report = verifying.verify(options.lake, ledger, only=options.day)
    print(verifying.rendered(report), end="")
    return _DIFFERS if report.differences else 0


def _ledger(stated: Mapping[str, str]) -> Connection:
    return connect(Settings.from_environment(stated, user="analyst"), application="tokenledger-lake")


def _compact(options: argparse.Namespace) -> int:
    done = maintaining.compact(options.lake, min_files=options.min_files)
    print(f"{done.before:,} files became {done.after:,}")
    return 0


def _retain(options: argparse.Namespace) -> int:
    tables = (options.table,) if options.table else TABLES
    first_kept = _today() - timedelta(days=options.days)
    removed = maintaining.retain(options.lake, tables=tables, first_kept=first_kept)
    print(f"{len(removed):,} folders of days before {first_kept} removed")
    return 0


def _erase(options: argparse.Namespace) -> int:
    settings = LakeSettings.from_environment(environment())
    users = Users(read_key(settings.user_key))
    user_hash = options.user_hash or users.hash_of(options.tenant, options.user) or ""
    done = maintaining.erase(options.lake, options.tenant, user_hash=user_hash, now_us=time.time_ns() // 1000)
    print(f"{done.texts:,} texts removed, {done.calls:,} calls are nobody's now, {len(done.files)} files written anew")
    return 0


def _today() -> date:
    return datetime.now(UTC).date()


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        message = f"{text!r} is none; a whole number from 1 would be right"
        raise argparse.ArgumentTypeError(message)
    return int(text)
