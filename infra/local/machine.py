"""What this machine offers: Java, Postgres, an account for Postgres. Reads; changes nothing."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from infra.local.programs import Machine

if TYPE_CHECKING:
    from infra.local.layout import Layout

OLDEST_POSTGRES = 15
OLDEST_REDIS = 7


class Missing(Exception):  # noqa: N818 - it reads as what it says
    """Something the stack needs is not on this machine; the message says how to get it."""


def inspect(layout: Layout) -> Machine:
    """Everything the programs need, or `Missing` with the command that helps."""
    return Machine(
        java_home=java_home(),
        postgres_bin=postgres_bin(),
        postgres_prefix=postgres_prefix(layout),
        flink_home=flink_home(layout),
        redis_server=redis_server(),
        operator=os.environ.get("TOKENLEDGER_OPERATOR", "price"),
    )


def java_home() -> str:
    """JAVA_HOME if set, else where `java` on the PATH really lives."""
    if home := os.environ.get("JAVA_HOME"):
        return home
    java = shutil.which("java")
    if java is None:
        message = "java: not on the PATH; type `make setup` (Debian: openjdk-17-jre-headless)"
        raise Missing(message)
    return str(Path(java).resolve().parents[1])


def postgres_bin() -> str:
    """The newest installed server of version 15 or later (Debian keeps them off the PATH)."""
    on_path = shutil.which("postgres")
    found = list(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    found += [Path(on_path).resolve()] if on_path else []
    usable = [(_version(path), path) for path in found]
    version, path = max(usable, default=(0, Path()))
    if version < OLDEST_POSTGRES:
        message = (
            f"postgres: version {version or 'none'} found, {OLDEST_POSTGRES} or later is needed;"
            " type `make setup` (Debian: postgresql-15)"
        )
        raise Missing(message)
    return str(path.parent)


def _version(postgres: Path) -> int:
    shown = subprocess.run([str(postgres), "--version"], capture_output=True, text=True, check=True).stdout
    return int(shown.split()[2].partition(".")[0])  # "postgres (PostgreSQL) 15.18 (Debian …)"


def postgres_account() -> str | None:
    """Who runs Postgres when we are root, which it refuses to be run by; None: we do."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def postgres_prefix(layout: Layout) -> tuple[str, ...]:
    """What drops root, and nothing more, before Postgres starts.

    A checkout under a folder only root may enter (/root) stays out of reach of the other account.
    Opening the folder would change what is not ours, so the server gets one capability instead.
    """
    account = postgres_account()
    if account is None:
        return ()
    drop = ("setpriv", f"--reuid={account}", f"--regid={_group(account)}", "--clear-groups")
    folder = str(layout.data / "postgres")
    if subprocess.run([*drop, "test", "-x", folder], check=False).returncode == 0:
        return (*drop, "--")
    return (*drop, "--inh-caps=+dac_override", "--ambient-caps=+dac_override", "--")


def _group(account: str) -> str:
    return str(pwd.getpwnam(account).pw_gid)


def redis_server() -> str:
    """`redis-server` on the PATH, of version 7 or later: older ones cannot tell reading keys from writing them."""
    path = shutil.which("redis-server")
    version = _redis_version(path) if path else 0
    if path is None or version < OLDEST_REDIS:
        message = (
            f"redis: version {version or 'none'} found, {OLDEST_REDIS} or later is needed;"
            " type `make setup` (Debian: redis-server)"
        )
        raise Missing(message)
    return path


def _redis_version(redis: str) -> int:
    shown = subprocess.run([redis, "--version"], capture_output=True, text=True, check=True).stdout
    return int(shown.partition("v=")[2].partition(".")[0])  # "Redis server v=7.0.15 sha=…"


def flink_home(layout: Layout) -> str:
    """The Flink distribution inside the Python package."""
    home = next(layout.flink_python.parents[1].glob("lib/python3*/site-packages/pyflink"), None)
    if home is None:
        message = f"flink: not in {layout.flink_python.parents[1]}; type `make setup`"
        raise Missing(message)
    return str(home)
