"""Airflow as part of the stack: its four programs, its configuration file, its users. Pure."""

from __future__ import annotations

import configparser
import hashlib
import io
import json
from typing import TYPE_CHECKING

from infra.local.layout import AIRFLOW_ROLE, HOST
from infra.local.programs import Program

if TYPE_CHECKING:
    from collections.abc import Mapping

    from infra.local.layout import Layout

USERS = {"admin": "admin", "operator": "op", "viewer": "viewer"}
"""Who may sign in → Airflow's role: all of it; run and pause DAGs, pools and connections; look."""
POOLS = {
    "ledger": (1, "Tasks that read or write the ledger's whole tables: one at a time."),
    "lake": (2, "Tasks that read or write the Parquet lake."),
    "heavy": (1, "Tasks that fill a core for minutes: drift reports, training, scoring."),
}
"""Pool → slots and what it is for."""
KAFKA_CONNECTION = "tokenledger_kafka"
SECRETS = ("airflow-jwt", "airflow-session", "airflow-fernet")

_COMMANDS = {
    "airflow_api": ("api-server",),
    # Logs are on the same disk as the server that shows them: no second server hands them over.
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag_processor": ("dag-processor",),
    "triggerer": ("triggerer", "--skip-serve-logs"),
}
NAMES = tuple(_COMMANDS)
"""The programs, in start order."""


def airflow_programs(layout: Layout) -> tuple[Program, ...]:
    """Airflow's four processes; each finds the other three by the configuration file and the database."""
    environment = airflow_environment(layout)
    return tuple(
        Program(
            name=name,
            command=(str(layout.airflow_python), "-m", "airflow", *words),
            environment=environment,
            independent=True,
            on_request=True,
        )
        for name, words in _COMMANDS.items()
    )


def airflow_environment(layout: Layout) -> dict[str, str]:
    """What every process of Airflow starts with, and the tasks' commands inherit a part of."""
    return layout.client_environment() | {
        "AIRFLOW_HOME": str(layout.airflow_home),
        "AIRFLOW_CONFIG": str(layout.airflow_config),
        f"AIRFLOW_CONN_{KAFKA_CONNECTION.upper()}": kafka_connection(layout),
        "TOKENLEDGER_STACK_PYTHON": str(layout.python),
        # A changed configuration is a changed program: supervisor starts it again.
        "TOKENLEDGER_AIRFLOW_SETTINGS": _digest(airflow_cfg(layout, dict.fromkeys(SECRETS, ""))),
        "PYTHONPATH": f"{layout.repo}:{layout.repo / 'infra' / 'airflow'}",
        "PATH": f"{layout.airflow_python.parent}:/usr/local/bin:/usr/bin:/bin",
        "NO_COLOR": "1",
    }


def kafka_connection(layout: Layout) -> str:
    """The connection of asset watchers, without quotes that supervisor's file would have to escape."""
    # Offsets are committed by the trigger when the event is stored, never by the clock.
    return (
        "kafka://?bootstrap.servers="
        + layout.kafka_bootstrap.replace(":", "%3A")
        + "&group.id=airflow&enable.auto.commit=false&auto.offset.reset=latest&session.timeout.ms=6000"
    )


def airflow_cfg(layout: Layout, secrets: Mapping[str, str]) -> str:
    """The whole configuration: only its owner may read it."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_dict(_settings(layout, secrets))
    text = io.StringIO()
    # Airflow expands `%`; nothing here means it.
    parser.write(text)
    return text.getvalue()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _settings(layout: Layout, secrets: Mapping[str, str]) -> dict[str, dict[str, object]]:
    return {
        "core": {
            "dags_folder": layout.repo / "dags",
            "plugins_folder": layout.airflow_home / "plugins",
            "executor": "LocalExecutor",
            "parallelism": 4,
            "max_active_runs_per_dag": 1,
            "load_examples": False,
            # It would look for the word "airflow" in a file before it reads it.
            "dag_discovery_safe_mode": False,
            "fernet_key": secrets["airflow-fernet"],
            "execution_api_server_url": f"{layout.airflow_url}/execution/",
            "simple_auth_manager_users": ",".join(f"{user}:{role}" for user, role in USERS.items()),
            "simple_auth_manager_passwords_file": layout.airflow_passwords,
            # The name of this machine may resolve slowly, or to another address.
            "hostname_callable": "socket.gethostname",
        },
        "database": _database(layout),
        "api": {
            "host": HOST,
            "port": layout.ports.airflow,
            "base_url": layout.airflow_url,
            "workers": 1,
            "secret_key": secrets["airflow-session"],
            "instance_name": "tokenledger",
        },
        "api_auth": {"jwt_secret": secrets["airflow-jwt"]},
        "logging": {"base_log_folder": layout.airflow_home / "logs", "colored_console_log": False},
        "scheduler": {
            # A worker that is killed says nothing: its task is known to be lost after this time.
            "task_instance_heartbeat_timeout": 30,
            "task_instance_heartbeat_timeout_detection_interval": 5,
            "orphaned_tasks_check_interval": 15,
        },
        "dag_processor": {
            "parsing_processes": 1,
            "dag_bundle_config_list": json.dumps([_bundle(layout)]),
        },
    }


def _database(layout: Layout) -> dict[str, object]:
    url = (
        f"postgresql+psycopg://{AIRFLOW_ROLE}@/{AIRFLOW_ROLE}"
        f"?host={layout.postgres_socket}&port={layout.ports.postgres}"
    )
    return {
        "sql_alchemy_conn": url,
        # Else it would look for asyncpg.
        "sql_alchemy_conn_async": url,
        "sql_alchemy_pool_size": 3,
        "sql_alchemy_max_overflow": 4,
    }


def _bundle(layout: Layout) -> dict[str, object]:
    return {
        "name": "tokenledger",
        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
        "kwargs": {"path": str(layout.repo / "dags"), "refresh_interval": 30},
    }
