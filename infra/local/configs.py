"""The servers' configuration files, rendered from a layout. Pure: path → text."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from infra.local import connect
from infra.local.backup import archive_command
from infra.local.layout import HOST, Layout
from infra.local.programs import Program, supervised
from infra.local.redis import redis_conf

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

LARGEST_MESSAGE = 32 * 1024 * 1024  # bytes; what any topic may set as its own bound


def rendered(layout: Layout, programs: Iterable[Program], *, flink_shipped: str) -> dict[Path, str]:
    """Every configuration file of the stack; `flink_shipped` is Flink's own config.yaml."""
    config = layout.config
    return {
        config / "kafka.properties": kafka_properties(layout),
        config / "kafka-log4j2.properties": LOG4J2,
        config / "connect.properties": properties(connect.worker(layout)),
        config / "configuration.properties": properties(connect.connector(layout)),
        config / "postgresql.conf": postgresql_conf(layout),
        config / "pg_hba.conf": PG_HBA,
        config / "flink" / "config.yaml": flink_config(layout, flink_shipped),
        config / "flink" / "log4j-console.properties": LOG4J2,
        config / "flink" / "log4j-cli.properties": LOG4J2.replace("INFO", "WARN"),
        config / "redis.conf": redis_conf(layout),
        config / "supervisord.conf": supervisord_conf(layout, programs),
    }


def properties(settings: Mapping[str, object]) -> str:
    """Java properties, one a line."""
    return "".join(f"{name}={value}\n" for name, value in settings.items())


def kafka_properties(layout: Layout) -> str:
    """One node that is broker and controller."""
    ports = layout.ports
    return properties(
        {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.voters": f"1@{HOST}:{ports.kafka_controller}",
            "listeners": f"PLAINTEXT://{HOST}:{ports.kafka},CONTROLLER://{HOST}:{ports.kafka_controller}",
            "advertised.listeners": f"PLAINTEXT://{HOST}:{ports.kafka}",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "log.dirs": layout.data / "kafka",
            # A misspelt topic must be an error, not a new empty topic.
            "auto.create.topics.enable": "false",
            "message.max.bytes": LARGEST_MESSAGE,
            "offsets.topic.replication.factor": 1,
            "offsets.topic.num.partitions": 4,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "transaction.state.log.num.partitions": 4,
            "share.coordinator.state.topic.replication.factor": 1,
            "share.coordinator.state.topic.min.isr": 1,
            "group.initial.rebalance.delay.ms": 0,
            "num.network.threads": 2,
            "num.io.threads": 4,
            # A killed consumer must not hold its partitions for the default 45 s.
            "group.min.session.timeout.ms": 3000,
        }
    )


LOG4J2 = properties(
    {
        "rootLogger.level": "INFO",
        "rootLogger.appenderRef.console.ref": "console",
        "appender.console.name": "console",
        "appender.console.type": "Console",
        "appender.console.layout.type": "PatternLayout",
        "appender.console.layout.pattern": "%d{yyyy-MM-dd HH:mm:ss,SSS} %-5p %c{1} %m%n",
    }
)

# The socket's folder admits only the stack's owner, so it needs no password; TCP always does.
PG_HBA = """\
# TYPE  DATABASE     USER  ADDRESS        METHOD
local   all          all                  trust
local   replication  all                  trust
host    all          all   127.0.0.1/32   scram-sha-256
"""


def postgresql_conf(layout: Layout) -> str:
    """Durable as in production; sized for a laptop."""
    settings: dict[str, object] = {
        "listen_addresses": HOST,
        "port": layout.ports.postgres,
        "unix_socket_directories": layout.postgres_socket,
        "unix_socket_permissions": "0700",
        "hba_file": layout.config / "pg_hba.conf",
        "data_directory": layout.data / "postgres",
        "shared_buffers": "256MB",
        "work_mem": "16MB",
        "maintenance_work_mem": "128MB",
        "max_connections": 60,
        "wal_level": "logical",
        "archive_mode": "on",
        "archive_command": archive_command(layout),
        # Kafka has what the ledger lost with the last minutes; what people entered in them stands nowhere else.
        "archive_timeout": "1min",
        # Whoever reads the log of changes and stays away costs that much disk, not all of it.
        "max_slot_wal_keep_size": "1GB",
        "max_wal_size": "4GB",
        "min_wal_size": "256MB",
        "checkpoint_timeout": "15min",
        "wal_compression": "lz4",
        "jit": "off",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_line_prefix": "%m [%p] %q%u@%d ",
        "log_lock_waits": "on",
        "password_encryption": "scram-sha-256",
    }
    quoted = {name: str(value).replace("'", "''") for name, value in settings.items()}
    return "".join(f"{name} = '{value}'\n" for name, value in quoted.items())


def flink_config(layout: Layout, shipped: str) -> str:
    """Our settings, plus the JVM options Flink ships: without them its JobManager dies."""
    settings = flink_settings(layout) | {"env.java.opts.all": f"{java_opts(shipped)} -XX:+UseParallelGC"}
    return "".join(f"{name}: {value}\n" for name, value in settings.items())


def java_opts(shipped: str) -> str:
    """The `env.java.opts.all` of Flink's own config.yaml."""
    for line in shipped.splitlines():
        key, _, value = line.strip().partition(":")
        if key == "all" and "--add-" in value:
            return value.strip()
    message = "flink: the shipped config.yaml has no env.java.opts.all; is this Flink 2.3.0?"
    raise ValueError(message)


def flink_settings(layout: Layout) -> dict[str, object]:
    """One JobManager, TaskManagers with one slot each: threads of one process share a GIL."""
    ports = layout.ports
    return {
        "jobmanager.rpc.address": HOST,
        "jobmanager.rpc.port": ports.flink_jobmanager_rpc,
        "jobmanager.bind-host": HOST,
        "jobmanager.memory.process.size": "768m",
        "blob.server.port": ports.flink_jobmanager_blob,
        "rest.address": HOST,
        "rest.bind-address": HOST,
        "rest.port": ports.flink_rest,
        "rest.flamegraph.enabled": "false",
        "web.submit.enable": "false",
        "taskmanager.host": HOST,
        "taskmanager.bind-host": HOST,
        "taskmanager.numberOfTaskSlots": 1,
        "taskmanager.memory.process.size": "1300m",
        # The embedded interpreter lives in the same process but outside the heap.
        "taskmanager.memory.task.off-heap.size": "64m",
        "taskmanager.memory.jvm-metaspace.size": "192m",
        "taskmanager.memory.managed.size": "32m",
        "taskmanager.memory.network.min": "48m",
        "taskmanager.memory.network.max": "48m",
        "parallelism.default": 1,
        "io.tmp.dirs": layout.run / "flink",
        # A killed TaskManager is noticed by two failed calls; the timeout covers a frozen one.
        "heartbeat.interval": "1 s",
        "heartbeat.timeout": "10 s",
        "heartbeat.rpc-failure-threshold": 2,
        # On a busy machine the start takes longer than the usual ten seconds, and one that gives up starts over.
        "pekko.startup-timeout": "120 s",
        "cluster.registration.max-timeout": "1 s",
        "cluster.registration.error-delay": "1 s",
        "cluster.registration.refused-registration-delay": "1 s",
        "state.backend.type": "hashmap",
        "execution.checkpointing.storage": "jobmanager",
        "python.executable": layout.flink_python,
        "python.client.executable": layout.flink_python,
    }


def supervisord_conf(layout: Layout, programs: Iterable[Program]) -> str:
    """Programs are started one by one when what they need is ready, hence no autostart."""
    head = f"""\
[unix_http_server]
file = {layout.supervisor_socket}
chmod = 0700

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[supervisord]
logfile = {layout.logs / "supervisor.log"}
logfile_maxbytes = 5MB
logfile_backups = 1
pidfile = {layout.supervisor_pid}
childlogdir = {layout.logs}
directory = {layout.repo}
"""
    return head + "".join(_program_section(layout, program) for program in programs)


def _program_section(layout: Layout, program: Program) -> str:
    # `%` begins an expansion in supervisor's files.
    command = shlex.join(supervised(program)).replace("%", "%%")
    pairs = (f'{name}="{value}"' for name, value in sorted(program.environment.items()))
    environment = ",".join(pairs).replace("%", "%%")
    return f"""
[program:{program.name}]
command = {command}
environment = {environment}
directory = {layout.repo}
autostart = false
autorestart = true
startsecs = 1
startretries = 1000000
stopsignal = {program.stop_signal}
stopwaitsecs = {program.stop_wait_s}
stopasgroup = {"false" if program.name == "postgres" else "true"}
killasgroup = true
redirect_stderr = true
stdout_logfile = {layout.logs / program.name}.log
stdout_logfile_maxbytes = 20MB
stdout_logfile_backups = 2
"""


ROUTER_POLICY = """\
# The router's policy, read again when it changes. Every field: docs/routing.md. Prices only serve to expect a cost.

[tiers.small]
provider = "openai"
model = "gpt-4o-mini"
input_usd_pico_per_token = 150_000
output_usd_pico_per_token = 600_000

[tiers.large]
provider = "openai"
model = "gpt-4o"
input_usd_pico_per_token = 2_500_000
output_usd_pico_per_token = 10_000_000

[routes.chat]
tiers = ["small", "large"]
"""
"""What the router starts with: two tiers, and the stronger one while no model is promoted."""


def gateway_config(layout: Layout) -> str:
    """What the gateway starts with: it answers, and serves no model until its owner names one."""
    return f"""\
# The gateway's configuration, read again when it changes. Every field: docs/gateway_configuration.md.

# Nothing is ever sent to another host.
allowed_hosts = ["{HOST}"]

[listen]
host = "{HOST}"
port = {layout.ports.gateway}

# A model server of your own, or `python -m serving.simulator`:
#
# [upstreams.small]
# provider = "openai"
# replicas = [{{ url = "http://{HOST}:28191/v1" }}]
#
# [routes."gpt-4o-mini"]
# upstreams = ["small"]
#
# A cascade (docs/cascade.md) needs the router's policy and the models that `tokenledger router promote` lets serve:
#
# [router]
# policy_file = "{layout.router_policy}"
# models_dir = "{layout.offline["models"] / "router"}"
"""
