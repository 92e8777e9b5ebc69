"""Backups of the ledger's Postgres: whole copies, and beside them every piece of its write-ahead log as it is filled.

With a copy and the log after it, the ledger can be had again as it was at any instant since (`restore.py`). Nothing is
archived before the first backup is made, so whoever makes none pays nothing.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import psycopg

from infra.local.layout import SUPERUSER
from infra.local.machine import inspect, postgres_account

if TYPE_CHECKING:
    from pathlib import Path

    from infra.local.layout import Layout

KEPT = 3
_NAME = "%Y%m%dT%H%M%S.%fZ"
_START_FILE = re.compile(r"^START WAL LOCATION: \S+ \(file (\w{24})\)$", re.MULTILINE)


class NotBackedUp(Exception):  # noqa: N818 - it reads as what it says
    """No backup could be made; the message says why."""


def archive_command(layout: Layout) -> str:
    """What Postgres runs with every full segment of its log: packed, on disk before it is named, never overwritten.

    A segment of another cluster under a name that is taken is refused, so one archive cannot hold two histories.
    """
    there, fresh = (f"{_in_shell(layout.backups / 'wal')}/%f.{end}" for end in ("gz", "new"))
    kept = f"gunzip -c {there} | cmp -s - %p"
    keep = f"gzip -1 <%p >{fresh} && sync {fresh} && mv {fresh} {there}"
    return f"test ! -d {_in_shell(layout.backups / 'wal')} || if test -f {there}; then {kept}; else {keep}; fi"


def restore_command(layout: Layout) -> str:
    """The way back: what Postgres runs to have a segment again."""
    there = f"{_in_shell(layout.backups / 'wal')}/%f.gz"
    return f"test -f {there} && gunzip -c {there} >%p"


def _in_shell(path: Path) -> str:
    # `%` begins a placeholder in Postgres's commands.
    return shlex.quote(str(path)).replace("%", "%%")


def bases(layout: Layout) -> dict[datetime, Path]:
    """Every whole copy by the instant it was complete, oldest first: it serves for any instant from then on."""
    folders = sorted((layout.backups / "base").glob("*Z"))
    return {datetime.strptime(folder.name, _NAME).replace(tzinfo=UTC): folder for folder in folders}


def backup(layout: Layout, *, keep: int = KEPT) -> Path:
    """Copy the running cluster, check the copy, and drop copies beyond `keep` with the log only they needed."""
    _folders(layout)
    with psycopg.connect(layout.dsn(SUPERUSER, "postgres"), autocommit=True) as connection:
        [mode] = connection.execute("SHOW archive_mode").fetchone() or ("off",)
        if mode == "off":
            message = "backup: Postgres runs without an archive; `python -m infra.local restart postgres` gives it one"
            raise NotBackedUp(message)
        fresh = layout.backups / "base" / "unfinished"
        shutil.rmtree(fresh, ignore_errors=True)
        source = ("-h", str(layout.postgres_socket), "-p", str(layout.ports.postgres), "-U", SUPERUSER)
        _run(layout, "pg_basebackup", *source, "-D", str(fresh), "-X", "stream", "--checkpoint=fast")
        _run(layout, "pg_verifybackup", str(fresh))
        [at] = connection.execute("SELECT clock_timestamp()").fetchone() or (datetime.now(UTC),)
    made = fresh.rename(fresh.with_name(at.astimezone(UTC).strftime(_NAME)))
    _tidy(layout, keep)
    return made


def _folders(layout: Layout) -> None:
    for folder in (layout.backups, layout.backups / "base", layout.backups / "wal"):
        folder.mkdir(mode=0o700, exist_ok=True)
        if account := postgres_account():
            shutil.chown(folder, account)


def _tidy(layout: Layout, keep: int) -> None:
    kept = list(bases(layout).values())[-keep:]
    for folder in bases(layout).values():
        if folder not in kept:
            shutil.rmtree(folder)
    label = (kept[0] / "backup_label").read_text(encoding="utf-8")
    first = _START_FILE.search(label)
    if first is not None:
        _run(layout, "pg_archivecleanup", "-x", ".gz", str(layout.backups / "wal"), first[1])


def _run(layout: Layout, program: str, *arguments: str) -> None:
    machine = inspect(layout)
    command = (*machine.postgres_prefix, f"{machine.postgres_bin}/{program}", *arguments)
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=os.sep)
    if done.returncode != 0:
        message = f"{program} ended with status {done.returncode}:\n{done.stdout}{done.stderr}"
        raise NotBackedUp(message)
