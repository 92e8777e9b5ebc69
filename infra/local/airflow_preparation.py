"""What must be there before Airflow first starts: its secrets, its role, its database at its own version."""

from __future__ import annotations

import base64
import json
import os
import secrets as random
import subprocess
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from infra.local.airflow import SECRETS, USERS, airflow_cfg, airflow_environment
from infra.local.layout import AIRFLOW_ROLE, SUPERUSER
from infra.local.machine import Missing
from infra.local.preparation import PreparationFailed, write_private

if TYPE_CHECKING:
    from infra.local.layout import Layout

_SECRET_BYTES = 32
_PASSWORD_BYTES = 15


def secrets(layout: Layout) -> dict[str, str]:
    """Airflow's keys and its configuration; the users' passwords if they were made just now, else nothing."""
    if not layout.airflow_python.exists():
        message = f"airflow: not in {layout.airflow_python.parents[1]}; type `make airflow`, which installs it"
        raise Missing(message)
    (layout.airflow_home / "plugins").mkdir(parents=True, exist_ok=True)
    layout.secrets.mkdir(mode=0o700, exist_ok=True)
    write_private(layout.airflow_config, airflow_cfg(layout, {name: _key(layout, name) for name in SECRETS}))
    if layout.airflow_passwords.exists():
        return {}
    passwords = {user: random.token_urlsafe(_PASSWORD_BYTES) for user in USERS}
    write_private(layout.airflow_passwords, json.dumps(passwords))
    return passwords


def database(layout: Layout) -> bool:
    """The role, its database and its tables; false if this version of Airflow has prepared them before."""
    _role(layout)
    # Beside Postgres's cluster: whoever deletes that deletes this too.
    done = layout.data / f"airflow-{_version(layout)}"
    if done.exists():
        return False
    environment = {"HOME": os.environ.get("HOME", "/")} | airflow_environment(layout)
    command = [str(layout.airflow_python), "-m", "infra.local.airflow_database"]
    ended = subprocess.run(
        command, cwd=layout.repo, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    if ended.returncode != 0:
        message = f"airflow: its database could not be prepared:\n{ended.stdout}{ended.stderr}"
        raise PreparationFailed(message)
    done.touch()
    return True


def _key(layout: Layout, name: str) -> str:
    path = layout.secrets / name
    if not path.exists():
        # Fernet asks for exactly this form; the others take any.
        write_private(path, base64.urlsafe_b64encode(random.token_bytes(_SECRET_BYTES)).decode())
    return path.read_text(encoding="utf-8")


def _version(layout: Layout) -> str:
    """Of the installed Airflow and of the pools, without starting it, which takes seconds."""
    [found] = layout.airflow_python.parents[1].glob("lib/python3*/site-packages/apache_airflow_core-*.dist-info")
    return found.name.removeprefix("apache_airflow_core-").removesuffix(".dist-info")


def _role(layout: Layout) -> None:
    with psycopg.connect(layout.dsn(SUPERUSER, "postgres"), autocommit=True) as connection:
        role = sql.Identifier(AIRFLOW_ROLE)
        if connection.execute("select 1 from pg_roles where rolname = %s", [AIRFLOW_ROLE]).fetchone() is None:
            connection.execute(sql.SQL("create role {} login nosuperuser nocreatedb nocreaterole").format(role))
        if connection.execute("select 1 from pg_database where datname = %s", [AIRFLOW_ROLE]).fetchone() is None:
            connection.execute(sql.SQL("create database {} owner {}").format(role, role))
            connection.execute(sql.SQL("revoke connect on database {} from public").format(role))
