"""The ledger as it was at an instant: a whole copy, and the log after it up to there.

Where the writer reads on stands in the same database, so it goes back with the ledger, and what came since is read from
Kafka again. The restored cluster is recovered apart, under a socket nobody knows, and takes its place when it is whole.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import psycopg

from infra.local.backup import bases, restore_command
from infra.local.layout import DATABASE, SUPERUSER
from infra.local.machine import inspect, postgres_account

if TYPE_CHECKING:
    from pathlib import Path

    from infra.local.layout import Layout
    from infra.local.stack import Stack

_ARCHIVED_WITHIN_S = 60.0
_RECOVERED_WITHIN_S = 3600.0
_LOG_LINES_SHOWN = 12
_SEGMENT = "[0-9A-F]" * 24


class NotRestored(Exception):  # noqa: N818 - it reads as what it says
    """Nothing was changed; the message says why the ledger could not be had as it was."""


class Restored(NamedTuple):
    """What was restored."""

    base: Path
    """The copy it was made from."""
    last_commit: datetime | None
    """The last transaction that is in it; None if the log after the copy held none."""
    replaced: Path | None
    """Where the cluster lies that was there before; None where there was none."""


def restore(stack: Stack, to: datetime | None) -> Restored:
    """Put the ledger as it was at `to` (None: the newest there is) in the place of the present one."""
    layout = stack.layout
    base = _base(layout, to)
    _fill_archive(stack)
    supervised = stack.supervision.alive()
    if supervised:
        stack.supervision.stop_program("postgres")
    stack.say(f"restore       from the copy of {base.name}")
    try:
        fresh = layout.data / "postgres.restored"
        _copy(base, fresh)
        _add_newest_log(layout, fresh)
        last_commit = _recover(layout, fresh, to=to)
        replaced = _swap(layout, fresh)
    finally:
        # The restored one, or the one that was there.
        if supervised:
            stack.supervision.start_program("postgres")
    if supervised:
        stack.up(("postgres",))
    return Restored(base, last_commit, replaced)


def _base(layout: Layout, to: datetime | None) -> Path:
    made = bases(layout)
    usable = [folder for at, folder in made.items() if to is None or at <= to]
    if not usable:
        first = min(made, default=None)
        says = f"the oldest copy is of {first:%Y-%m-%d %H:%M:%S.%f} UTC" if first else "there is no copy"
        message = f"restore: {says}; make one with `python -m infra.local backup`"
        raise NotRestored(message)
    return usable[-1]


def _fill_archive(stack: Stack) -> None:
    """What the running cluster has in its log and not yet in the archive."""
    layout = stack.layout
    try:
        connection = psycopg.connect(layout.dsn(SUPERUSER, "postgres"), autocommit=True, connect_timeout=2)
    except psycopg.OperationalError:
        return
    with connection:
        # A commit, so that there is one after any instant up to now: recovery wants to see that it has gone far enough.
        connection.execute("SELECT txid_current()")
        [segment] = connection.execute("SELECT pg_walfile_name(pg_switch_wal())").fetchone() or ("",)
        deadline = time.monotonic() + _ARCHIVED_WITHIN_S
        while not _is_archived(connection, segment):
            if time.monotonic() > deadline:
                message = f"restore: segment {segment} of the log is not archived; `make logs NAME=postgres` says why"
                raise NotRestored(message)
            time.sleep(0.1)


def _is_archived(connection: psycopg.Connection[tuple[str]], segment: str) -> bool:
    row = connection.execute("SELECT last_archived_wal FROM pg_stat_archiver").fetchone()
    return row is not None and row[0] is not None and row[0][:24] >= segment


def _copy(base: Path, fresh: Path) -> None:
    shutil.rmtree(fresh, ignore_errors=True)
    # With owners and modes, which Postgres insists on.
    subprocess.run(["cp", "--archive", str(base), str(fresh)], check=True)
    (fresh / "recovery.signal").touch(mode=0o600)
    if account := postgres_account():
        shutil.chown(fresh / "recovery.signal", account)


def _add_newest_log(layout: Layout, fresh: Path) -> None:
    """Segments that no archive has, from the folder of the cluster that is there, if it still is."""
    for segment in sorted((layout.data / "postgres" / "pg_wal").glob(_SEGMENT)):
        if not (layout.backups / "wal" / f"{segment.name}.gz").exists():
            subprocess.run(["cp", "--archive", str(segment), str(fresh / "pg_wal" / segment.name)], check=True)


def _recover(layout: Layout, fresh: Path, *, to: datetime | None) -> datetime | None:
    """Let Postgres read the log up to the instant and end recovery; the last commit that is in it."""
    machine, socket = inspect(layout), layout.run / "restore"
    socket.mkdir(mode=0o700, exist_ok=True)
    if account := postgres_account():
        shutil.chown(socket, account)
    settings = {
        "data_directory": str(fresh),
        "listen_addresses": "",
        "unix_socket_directories": str(socket),
        "hot_standby": "off",
        "restore_command": restore_command(layout),
        "recovery_target_action": "promote",
    }
    if to is not None:
        settings["recovery_target_time"] = to.astimezone(UTC).isoformat(sep=" ")
    command = [*machine.postgres_prefix, f"{machine.postgres_bin}/postgres", "-D", str(fresh)]
    command += [f"--config-file={layout.config / 'postgresql.conf'}"]
    command += [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    log = layout.logs / "restore.log"
    with log.open("wb") as out:
        server = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, cwd=os.sep)
    try:
        dsn = f"host={socket} port={layout.ports.postgres} user={SUPERUSER} dbname={DATABASE}"
        return _when_recovered(server, dsn, log=log)
    finally:
        server.send_signal(signal.SIGINT)
        server.wait()
        shutil.rmtree(socket)


def _when_recovered(server: subprocess.Popen[bytes], dsn: str, *, log: Path) -> datetime | None:
    deadline = time.monotonic() + _RECOVERED_WITHIN_S
    while server.poll() is None and time.monotonic() < deadline:
        try:
            with psycopg.connect(dsn, connect_timeout=2) as connection:
                row = connection.execute("SELECT pg_last_xact_replay_timestamp()").fetchone()
                return None if row is None else row[0]
        except psycopg.OperationalError:
            time.sleep(0.1)
    said = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES_SHOWN:])
    message = f"restore: Postgres did not get there; without --to all that is archived is restored. It says:\n{said}"
    raise NotRestored(message)


def _swap(layout: Layout, fresh: Path) -> Path | None:
    place = layout.data / "postgres"
    replaced = None
    if (place / "PG_VERSION").exists():
        replaced = place.rename(layout.data / f"postgres.replaced-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
    else:
        shutil.rmtree(place, ignore_errors=True)
    fresh.rename(place)
    return replaced
