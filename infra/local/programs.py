"""What the stack consists of: each program's command, environment and way to stop. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from infra.local.layout import HOST

if TYPE_CHECKING:
    from collections.abc import Mapping

    from infra.local.layout import Layout


JOBS = ("price_job", "windows_job")
"""Flink jobs; each has a program that keeps it on the cluster."""
TASKMANAGERS = ("taskmanager", "taskmanager2")
"""Flink workers of one slot, one a job: threads of one process share an interpreter lock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One supervised process."""

    name: str
    command: tuple[str, ...]
    prefix: tuple[str, ...] = ()
    """What changes the process's account first, if anything does."""
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_signal: str = "TERM"
    stop_wait_s: int = 30
    ready_within_s: float = 240.0
    independent: bool = False
    """Whether it may start before the others are ready."""
    on_request: bool = False
    """Whether it starts only when it is named."""
    awaited: bool = True
    """Whether the stack is up only when it is ready; nothing waits for the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What the stack needs to know of the machine it starts on."""

    java_home: str
    postgres_bin: str
    """The folder of `postgres` and `initdb`."""
    postgres_prefix: tuple[str, ...]
    """What drops root before Postgres starts; empty where we are not root."""
    flink_home: str
    redis_server: str
    """The program `redis-server`."""
    operator: str
    """Which function the job runs: `price`, or `identity` for benchmarks."""


def programs(layout: Layout, machine: Machine) -> tuple[Program, ...]:
    """All programs in the order they start; they stop in the reverse order."""
    ours = layout.client_environment()
    return (
        _postgres(layout, machine),
        _kafka(layout, machine),
        _redis(layout, machine),
        *_flink(layout, machine),
        *(
            Program(
                name=job,
                command=(str(layout.python), "-m", "infra.local.submitter", job),
                environment=ours
                | _flink_environment(layout, machine)
                | {"TOKENLEDGER_CHECKPOINTS": str(layout.checkpoints(job))},
            )
            for job in JOBS
        ),
        _with_metrics(layout, "writer", "ledger.writer", port=layout.ports.writer_metrics),
        _with_metrics(layout, "compact", "ledger.compact", port=layout.ports.compact_metrics),
        _with_metrics(layout, "watch", "ledger.watch", port=layout.ports.watch_metrics),
        _archive(layout),
        _with_metrics(layout, "pusher", "feature_repo.pusher", port=layout.ports.pusher_metrics),
        _with_metrics(layout, "shipper", "serving.gateway.shipper", port=layout.ports.shipper_metrics),
        Program(
            name="gateway",
            command=(str(layout.python), "-m", "serving.gateway", "--config", str(layout.gateway_config)),
            environment=ours | {"TOKENLEDGER_PRICE_BOOK": "ledger"},
            # Longer than the calls in flight may take.
            stop_wait_s=40,
        ),
        _connect(layout, machine),
        _decide(layout),
    )


def _with_metrics(layout: Layout, name: str, module: str, *, port: int) -> Program:
    """A process of ours that needs nothing but the stack's settings and a port for its metrics."""
    return Program(
        name=name,
        command=(str(layout.python), "-m", module),
        environment=layout.client_environment() | {"TOKENLEDGER_METRICS_PORT": str(port)},
    )


def _archive(layout: Layout) -> Program:
    """Whoever looks on waits; files that are small for it are put together later."""
    plain = _with_metrics(layout, "archive", "ledger.lake.archive", port=layout.ports.archive_metrics)
    return replace(
        plain,
        environment={**plain.environment, "TOKENLEDGER_LAKE_FLUSH_MS": "5000", "TOKENLEDGER_CONSENT_OF": "ledger"},
    )


def _decide(layout: Layout) -> Program:
    """Decisions for gateways that are not ours; nobody needs it here."""
    return Program(
        name="decide",
        command=(
            *(str(layout.python), "-m", "serving.router.service", "--policy", str(layout.router_policy)),
            *("--models", str(layout.offline["models"] / "router"), "--listen", f"{HOST}:{layout.ports.decide}"),
        ),
        environment=layout.client_environment() | {"TOKENLEDGER_METRICS_PORT": str(layout.ports.decide_metrics)},
        on_request=True,
    )


def supervised(program: Program) -> tuple[str, ...]:
    """The command as supervisor runs it: the program ends when supervisor itself is killed.

    Otherwise it would live on unowned, hold its port, and the next start would fail on it.
    """
    # After the change of account, at which the kernel forgets the wish.
    ends_with_supervisor = ("setpriv", "--pdeathsig", f"SIG{program.stop_signal}", "--")
    return (*program.prefix, *ends_with_supervisor, *program.command)


def _postgres(layout: Layout, machine: Machine) -> Program:
    return Program(
        name="postgres",
        independent=True,
        prefix=machine.postgres_prefix,
        command=(
            f"{machine.postgres_bin}/postgres",
            "-D",
            str(layout.data / "postgres"),
            f"--config-file={layout.config / 'postgresql.conf'}",
        ),
        # SIGINT is the fast shutdown; SIGTERM would wait for clients that never leave.
        stop_signal="INT",
    )


def _kafka(layout: Layout, machine: Machine) -> Program:
    return Program(
        name="kafka",
        independent=True,
        command=(
            f"{machine.java_home}/bin/java",
            "-Xms256m",
            "-Xmx512m",
            "-XX:+UseParallelGC",
            "-XX:MaxGCPauseMillis=20",
            "-XX:+ExitOnOutOfMemoryError",
            "-Djava.awt.headless=true",
            f"-Dlog4j2.configurationFile={layout.config / 'kafka-log4j2.properties'}",
            "-cp",
            f"{layout.lib / 'kafka'}/*",
            "kafka.Kafka",
            str(layout.config / "kafka.properties"),
        ),
    )


def _connect(layout: Layout, machine: Machine) -> Program:
    """What it does is done without it too, some seconds later."""
    return Program(
        name="connect",
        awaited=False,
        command=(
            f"{machine.java_home}/bin/java",
            "-Xms64m",
            "-Xmx256m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-XX:+ExitOnOutOfMemoryError",
            "-Djava.awt.headless=true",
            f"-Dlog4j2.configurationFile={layout.config / 'kafka-log4j2.properties'}",
            "-cp",
            f"{layout.lib / 'connect'}/*",
            "org.apache.kafka.connect.cli.ConnectStandalone",
            str(layout.config / "connect.properties"),
            str(layout.config / "configuration.properties"),
        ),
    )


def _redis(layout: Layout, machine: Machine) -> Program:
    return Program(
        name="redis",
        independent=True,
        command=(machine.redis_server, str(layout.config / "redis.conf")),
    )


def _flink(layout: Layout, machine: Machine) -> tuple[Program, ...]:
    environment = _flink_environment(layout, machine)
    jobmanager = Program(
        name="jobmanager",
        independent=True,
        command=(f"{machine.flink_home}/bin/jobmanager.sh", "start-foreground"),
        environment=environment,
    )
    return jobmanager, *(_taskmanager(layout, machine, name) for name in TASKMANAGERS)


def _taskmanager(layout: Layout, machine: Machine, name: str) -> Program:
    ports = layout.ports.table()
    # The shell's pid stays the program's: a TaskManager that bears it is told from a dead one
    # which the JobManager still lists.
    command = (
        f'exec "{machine.flink_home}/bin/taskmanager.sh" start-foreground'
        f" -D taskmanager.resource-id={name}-$$"
        f" -D taskmanager.rpc.port={ports[f'flink_{name}_rpc']}"
        f" -D taskmanager.data.port={ports[f'flink_{name}_data']}"
    )
    return Program(
        name=name,
        independent=True,
        command=("/bin/sh", "-c", command),
        environment=_flink_environment(layout, machine) | layout.client_environment(),
        stop_wait_s=15,
    )


def _flink_environment(layout: Layout, machine: Machine) -> dict[str, str]:
    return {
        "JAVA_HOME": machine.java_home,
        "FLINK_HOME": machine.flink_home,
        "FLINK_CONF_DIR": str(layout.config / "flink"),
        "FLINK_LIB_DIR": str(layout.lib / "flink-cluster"),
        "FLINK_LOG_DIR": str(layout.logs),
        "FLINK_PID_DIR": str(layout.run / "flink"),
        # The environment's python comes first: Flink asks it where the libraries are.
        "PATH": f"{layout.flink_python.parent}:/usr/local/bin:/usr/bin:/bin",
        "PYTHONPATH": str(layout.repo),
        "TOKENLEDGER_OPERATOR": machine.operator,
        "TOKENLEDGER_PRICE_BOOK": "ledger",
    }
