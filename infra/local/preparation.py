"""What must be on disk before a server first starts. Each step is done once and whole, or not at all."""

from __future__ import annotations

import base64
import os
import secrets as random
import shutil
import string
import subprocess
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from infra.local import configs, redis
from infra.local.backup import bases
from infra.local.connect import ROLE as CAPTURE
from infra.local.layout import SUPERUSER
from infra.local.machine import Missing, postgres_account
from ledger.lake.consent import EXAMPLE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from infra.local.layout import Layout
    from infra.local.programs import Machine, Program


_PASSWORD_LETTERS = 40


class PreparationFailed(Exception):  # noqa: N818 - it reads as what it says
    """A server could not be prepared; the message holds what it printed."""


def folders(layout: Layout) -> None:
    """Make every folder of the stack; Postgres's belong to the account it runs as."""
    layout.run.mkdir(mode=0o755, parents=True, exist_ok=True)
    data = [layout.data / name for name in ("kafka", "connect")]
    for folder in (layout.config, layout.logs, *data, layout.run / "flink"):
        folder.mkdir(parents=True, exist_ok=True)
    for folder in (layout.data / "postgres", layout.postgres_socket):
        folder.mkdir(mode=0o700, exist_ok=True)
        if account := postgres_account():
            shutil.chown(folder, account)


def files(layout: Layout, machine: Machine, programs: Iterable[Program]) -> None:
    """The configuration, rendered; the same layout gives the same bytes."""
    shipped = (Path(machine.flink_home) / "conf" / "config.yaml").read_text(encoding="utf-8")
    texts = configs.rendered(layout, programs, flink_shipped=shipped)
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        if path.name in {"postgresql.conf", "pg_hba.conf"} and (account := postgres_account()):
            shutil.chown(path, account)


def gateway_config(layout: Layout) -> bool:
    """A configuration for the gateway that has no upstream yet, unless there is one; whether it was made."""
    if layout.gateway_config.exists():
        return False
    layout.gateway_config.write_text(configs.gateway_config(layout), encoding="utf-8")
    return True


def router_policy(layout: Layout) -> bool:
    """A policy for the router of two tiers, unless there is one; whether it was made."""
    if layout.router_policy.exists():
        return False
    layout.router_policy.write_text(configs.ROUTER_POLICY, encoding="utf-8")
    return True


def consent(layout: Layout) -> bool:
    """A file by which nobody's texts are kept, unless there is one; whether it was made."""
    if layout.consent.exists():
        return False
    layout.consent.write_text(EXAMPLE, encoding="utf-8")
    return True


def secrets(layout: Layout) -> None:
    """Redis's passwords and the secret of API keys, made once, and Redis's ACL file; only their owner may read them."""
    layout.secrets.mkdir(mode=0o700, exist_ok=True)
    passwords = {user: _secret(layout.secrets / f"redis-{user}") for user in redis.USERS}
    write_private(layout.config / "redis-users.acl", redis.users_acl(passwords))
    for name in ("api-keys", f"postgres-{CAPTURE}"):
        _secret(layout.secrets / name)


def _secret(path: Path) -> str:
    if not path.exists():
        # Letters only: Feast reads a password that looks like a number as one.
        write_private(path, "".join(random.choice(string.ascii_letters) for _ in range(_PASSWORD_LETTERS)))
    return path.read_text(encoding="utf-8")


def write_private(path: Path, text: str) -> None:
    """Whole or not at all, and never readable by others, not even while it is written."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    fresh.rename(path)


def flink_libraries(layout: Layout, machine: Machine) -> None:
    """A folder of links: Flink's own jars, the Python operators, and the Kafka connector."""
    connector = sorted((layout.lib / "flink").glob("*.jar"))
    if not connector:
        message = f"flink: no Kafka connector in {layout.lib / 'flink'}; type `make setup`"
        raise Missing(message)
    home = Path(machine.flink_home)
    jars = [*home.glob("lib/*.jar"), *home.glob("opt/flink-python-*.jar"), *connector]
    cluster = layout.lib / "flink-cluster"
    cluster.mkdir(parents=True, exist_ok=True)
    wanted = {cluster / jar.name: jar for jar in jars}
    for link in cluster.iterdir():
        if link not in wanted or link.readlink() != wanted[link]:
            link.unlink()
    for link, jar in wanted.items():
        if not link.is_symlink():
            link.symlink_to(jar)


def kafka_storage(layout: Layout, machine: Machine) -> bool:
    """Format Kafka's log folder; false if it was formatted before, for that would empty it."""
    if (layout.data / "kafka" / "meta.properties").exists():
        return False
    if not list((layout.lib / "kafka").glob("kafka_*.jar")):
        message = f"kafka: no jars in {layout.lib / 'kafka'}; type `make setup`"
        raise Missing(message)
    # An id that begins with "-" would read as an option.
    cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode().replace("-", "A")
    _run(
        f"{machine.java_home}/bin/java",
        f"-Dlog4j2.configurationFile={layout.config / 'kafka-log4j2.properties'}",
        "-XX:TieredStopAtLevel=1",
        "-cp",
        f"{layout.lib / 'kafka'}/*",
        "kafka.tools.StorageTool",
        "format",
        "--cluster-id",
        cluster,
        "--config",
        str(layout.config / "kafka.properties"),
    )
    return True


def postgres_cluster(layout: Layout, machine: Machine) -> bool:
    """Initialise Postgres's folder; false if it holds a cluster already.

    Raises PreparationFailed where one is gone of which there are copies: an empty ledger in its place would be filled
    from the log, and lack all that the log no longer has.
    """
    folder = layout.data / "postgres"
    if (folder / "PG_VERSION").exists():
        return False
    if copies := bases(layout):
        message = (
            f"postgres: no cluster in {folder}, but there are copies of one up to {max(copies):%Y-%m-%d %H:%M:%S} UTC; "
            f"`python -m infra.local restore` puts it back. For an empty one move {layout.backups} away"
        )
        raise PreparationFailed(message)
    fresh = layout.data / "postgres.new"
    if fresh.exists():
        shutil.rmtree(fresh)
    fresh.mkdir(mode=0o700)
    if account := postgres_account():
        shutil.chown(fresh, account)
    _run(
        *machine.postgres_prefix,
        f"{machine.postgres_bin}/initdb",
        "--auth=trust",
        "--encoding=UTF8",
        "--locale=C",
        f"--username={SUPERUSER}",
        "--data-checksums",
        f"--pgdata={fresh}",
    )
    # The rename is the moment it exists: an interrupted initdb leaves nothing that looks complete.
    folder.rmdir()
    fresh.rename(folder)
    return True


def _run(*command: str) -> None:
    # initdb returns to its first folder at the end, which must be one that everyone may enter.
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=os.sep)
    if done.returncode != 0:
        message = f"{' '.join(command)}\nended with status {done.returncode}:\n{done.stdout}{done.stderr}"
        raise PreparationFailed(message)
