"""Where a stack lives: its folders, its ports, its programs' environment. Pure, one value a stack.

Everything a stack writes is under `root`; two stacks with different roots and ports never meet.
"""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

DATABASE = "tokenledger"
SUPERUSER = "postgres"
AIRFLOW_ROLE = "airflow"
"""Airflow's role in Postgres, and the database it owns."""
HOST = "127.0.0.1"

# sockaddr_un holds 108 bytes with its final NUL; Postgres appends "/.s.PGSQL.65535" to the folder.
_LONGEST_SOCKET_FOLDER = 107 - len("/.s.PGSQL.65535.lock")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Every port of one stack; all are bound on 127.0.0.1."""

    kafka: int
    kafka_controller: int
    postgres: int
    flink_rest: int
    connect: int
    flink_jobmanager_rpc: int
    flink_jobmanager_blob: int
    flink_taskmanager_rpc: int
    flink_taskmanager_data: int
    flink_taskmanager2_rpc: int
    flink_taskmanager2_data: int
    writer_metrics: int
    compact_metrics: int
    pusher_metrics: int
    shipper_metrics: int
    archive_metrics: int
    gateway: int
    decide: int
    decide_metrics: int
    watch_metrics: int
    airflow: int

    @classmethod
    def from_table(cls, table: Mapping[str, object]) -> Ports:
        """Read a ports table; a missing, unknown, repeated or impossible port is an error."""
        names = [field.name for field in fields(cls)]
        if unknown := sorted(set(table) - set(names)):
            message = f"ports: unknown name {unknown[0]!r}; known are {', '.join(names)}"
            raise ValueError(message)
        ports = {name: _port(name, table.get(name)) for name in names}
        if len(set(ports.values())) < len(ports):
            message = f"ports: two programs share one port in {ports}; give each its own"
            raise ValueError(message)
        return cls(**ports)

    def table(self) -> dict[str, int]:
        """Name → port, in the order of the file."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def _port(name: str, value: object) -> int:
    if isinstance(value, int) and 0 < value < 1 << 16:
        return value
    message = f"ports: {name} is {value!r}; it must be a whole number from 1 to 65535"
    raise ValueError(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """One stack: where the code is, where its files go, which ports it has."""

    repo: Path
    root: Path
    ports: Ports

    @property
    def lib(self) -> Path:
        """The JVM artifacts, shared by all stacks of this checkout."""
        return self.repo / ".local" / "lib"

    @property
    def python(self) -> Path:
        """The interpreter of everything except Flink."""
        return self.repo / ".local" / "venv" / "bin" / "python"

    @property
    def flink_python(self) -> Path:
        """The interpreter of Flink jobs; its pins would hold everything else back."""
        return self.repo / ".local" / "venv-flink" / "bin" / "python"

    @property
    def airflow_python(self) -> Path:
        """The interpreter of Airflow, which holds libraries back that the tasks' commands need newer."""
        return self.repo / ".local" / "venv-airflow" / "bin" / "python"

    @property
    def config(self) -> Path:
        """Rendered configuration, written anew by every start."""
        return self.root / "config"

    @property
    def logs(self) -> Path:
        """One log a program."""
        return self.root / "logs"

    @property
    def data(self) -> Path:
        """What must survive: Kafka's log and Postgres's cluster. Deleting it starts over."""
        return self.root / "data"

    @property
    def backups(self) -> Path:
        """Copies of the ledger's database and the log between them; another disk than that of `data` serves best."""
        return self.root / "backups"

    def checkpoints(self, job: str) -> Path:
        """Where a job that has state of its own keeps it."""
        return self.data / "flink" / job

    @property
    def run(self) -> Path:
        """Sockets and pid files: in the stack's folder, unless its path is too long for a socket."""
        inside = self.root / "run"
        if len(str(inside / "postgres")) <= _LONGEST_SOCKET_FOLDER:
            return inside
        digest = hashlib.sha256(str(self.root).encode()).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"tokenledger-{digest}"

    @property
    def postgres_socket(self) -> Path:
        """The folder of Postgres's socket; whoever may enter it is trusted, nobody else is."""
        return self.run / "postgres"

    @property
    def redis_socket(self) -> Path:
        """Where Redis answers; it has no port."""
        return self.run / "redis.sock"

    @property
    def secrets(self) -> Path:
        """Passwords, one a file that only its owner reads; made once."""
        return self.root / "secrets"

    @property
    def features(self) -> Path:
        """The feature store's registry and its history."""
        return self.data / "features"

    @property
    def supervisor_socket(self) -> Path:
        """Where supervisor answers."""
        return self.run / "supervisor.sock"

    @property
    def supervisor_pid(self) -> Path:
        """Supervisor's pid file."""
        return self.run / "supervisor.pid"

    @property
    def kafka_bootstrap(self) -> str:
        """What Kafka clients connect to."""
        return f"{HOST}:{self.ports.kafka}"

    @property
    def gateway_config(self) -> Path:
        """The gateway's configuration: made once, then the owner's to edit; the gateway reads it again by itself."""
        return self.root / "gateway.toml"

    @property
    def consent(self) -> Path:
        """Which tenants allow texts to be kept: the archive writes it from the ledger's tenants."""
        return self.root / "consent.toml"

    @property
    def router_policy(self) -> Path:
        """The router's policy: made once, then the owner's to edit."""
        return self.root / "router.toml"

    @property
    def gateway_url(self) -> str:
        """What OpenAI's clients take as their base URL."""
        return f"http://{HOST}:{self.ports.gateway}/v1"

    @property
    def lake(self) -> Path:
        """The Parquet lake."""
        return self.data / "lake"

    @property
    def offline(self) -> dict[str, Path]:
        """What is made of the lake: recipes come from people, everything else from commands."""
        names = ("recipes", "datasets", "scores", "drift", "models")
        return {name: self.root / name for name in names}

    @property
    def airflow_home(self) -> Path:
        """Airflow's own files: the logs of tasks, its plugins."""
        return self.root / "airflow"

    @property
    def airflow_config(self) -> Path:
        """Airflow's configuration, which holds its secrets."""
        return self.config / "airflow.cfg"

    @property
    def airflow_passwords(self) -> Path:
        """Who signs in to Airflow with what, as JSON."""
        return self.secrets / "airflow-passwords.json"

    @property
    def airflow_url(self) -> str:
        """Airflow's pages and its REST interface."""
        return f"http://{HOST}:{self.ports.airflow}"

    @property
    def flink_rest(self) -> str:
        """The JobManager's REST interface, which is also its web page."""
        return f"http://{HOST}:{self.ports.flink_rest}"

    def dsn(self, user: str, database: str = DATABASE) -> str:
        """How this machine's owner connects to Postgres as `user`, over the private socket."""
        return f"host={self.postgres_socket} port={self.ports.postgres} dbname={database} user={user}"

    def client_environment(self) -> dict[str, str]:
        """Settings of every Python process that works with this stack."""
        return {
            "TOKENLEDGER_STACK_ROOT": str(self.root),
            "TOKENLEDGER_KAFKA_BOOTSTRAP": self.kafka_bootstrap,
            "TOKENLEDGER_POSTGRES_HOST": HOST,
            "TOKENLEDGER_POSTGRES_PORT": str(self.ports.postgres),
            "TOKENLEDGER_POSTGRES_DATABASE": DATABASE,
            "TOKENLEDGER_POSTGRES_SOCKET": str(self.postgres_socket),
            "TOKENLEDGER_FLINK_REST": self.flink_rest,
            "TOKENLEDGER_REDIS_SOCKET": str(self.redis_socket),
            "TOKENLEDGER_SECRETS": str(self.secrets),
            "TOKENLEDGER_FEATURES": str(self.features),
            "TOKENLEDGER_GATEWAY_URL": self.gateway_url,
            "TOKENLEDGER_AIRFLOW_URL": self.airflow_url,
            "TOKENLEDGER_LAKE": str(self.lake),
            "TOKENLEDGER_CONSENT": str(self.consent),
            **{f"TOKENLEDGER_{name.upper()}": str(folder) for name, folder in self.offline.items()},
        }

    def admin_environment(self) -> dict[str, str]:
        """The same, plus the superuser's way in: for migrations, never for a running process."""
        return self.client_environment() | {"TOKENLEDGER_POSTGRES_ADMIN_DSN": self.dsn(SUPERUSER)}
