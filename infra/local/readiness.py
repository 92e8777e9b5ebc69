"""Whether a program does its work, not merely runs: one question a program, asked at its port."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import grpc
import psycopg
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from grpc_health.v1 import health_pb2, health_pb2_grpc
from redis import Redis, RedisError

from infra.local.airflow import NAMES as AIRFLOW
from infra.local.connect import CONNECTOR
from infra.local.layout import HOST, SUPERUSER
from infra.local.programs import JOBS, TASKMANAGERS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from infra.local.layout import Layout
    from infra.local.supervision import Process

_ANSWER_WITHIN_S = 2.0


def ready(layout: Layout, process: Process) -> bool:
    """Whether the program does what it does when all is well."""
    name = process.name
    if name in TASKMANAGERS:
        return taskmanager(layout, name, pid=process.pid)
    if name in JOBS:
        return job(layout, name)
    if name in AIRFLOW:
        return airflow(layout, name, started_at_s=process.started_at_s)
    return _CHECKS[name](layout)


def postgres(layout: Layout) -> bool:
    """It takes connections, which it does not while it recovers."""
    try:
        with psycopg.connect(layout.dsn(SUPERUSER, "postgres"), connect_timeout=2):
            return True
    except psycopg.OperationalError:
        return False


def kafka(layout: Layout) -> bool:
    """The broker answers a metadata request."""
    # The client would print every refused connection while the broker starts.
    settings: dict[str, str | int | float | bool] = {"bootstrap.servers": layout.kafka_bootstrap, "log_level": 0}
    try:
        return bool(AdminClient(settings).list_topics(timeout=_ANSWER_WITHIN_S).brokers)
    except KafkaException:
        return False


def redis(layout: Layout) -> bool:
    """It lets the gateway in and answers."""
    password = (layout.secrets / "redis-gateway").read_text(encoding="utf-8")
    client = Redis(
        unix_socket_path=str(layout.redis_socket),
        username="gateway",
        password=password,
        socket_timeout=_ANSWER_WITHIN_S,
        socket_connect_timeout=_ANSWER_WITHIN_S,
    )
    try:
        with client:
            return bool(client.ping())
    except RedisError:
        return False


def jobmanager(layout: Layout) -> bool:
    """Its REST interface answers."""
    return "taskmanagers" in flink(layout, "/overview")


def taskmanager(layout: Layout, name: str, *, pid: int) -> bool:
    """The JobManager knows this very process, and no dead one of its name beside it."""
    known = [entry["id"] for entry in flink(layout, "/taskmanagers").get("taskmanagers", [])]
    return [worker for worker in known if worker.startswith(f"{name}-")] == [f"{name}-{pid}"]


def job(layout: Layout, name: str) -> bool:
    """The job runs, and so does every task of it."""
    return any(
        known["name"] == name and known["state"] == "RUNNING" and known["tasks"]["running"] == known["tasks"]["total"]
        for known in flink(layout, "/jobs/overview").get("jobs", [])
    )


def flink(layout: Layout, path: str) -> dict[str, Any]:
    """One REST answer of the JobManager; empty when it gives none."""
    try:
        with urllib.request.urlopen(layout.flink_rest + path, timeout=_ANSWER_WITHIN_S) as reply:  # noqa: S310 - always http
            answer: dict[str, Any] = json.load(reply)
    except (OSError, urllib.error.URLError, json.JSONDecodeError):
        return {}
    return answer


def airflow(layout: Layout, name: str, *, started_at_s: int) -> bool:
    """It has told the database that it lives since this process began; a dead one's last word is no life."""
    try:
        with urllib.request.urlopen(f"{layout.airflow_url}/api/v2/monitor/health", timeout=_ANSWER_WITHIN_S) as reply:  # noqa: S310 - always http
            health: dict[str, dict[str, str | None]] = json.load(reply)
    except (OSError, urllib.error.URLError, json.JSONDecodeError):
        return False
    if name == "airflow_api":
        return health["metadatabase"]["status"] == "healthy"
    said_at = health[name][f"latest_{name}_heartbeat"]
    alive = health[name]["status"] == "healthy" and said_at is not None
    return alive and datetime.fromisoformat(str(said_at)).timestamp() >= started_at_s


def connect(layout: Layout) -> bool:
    """The connector and its task run."""
    url = f"http://{HOST}:{layout.ports.connect}/connectors/{CONNECTOR}/status"
    try:
        with urllib.request.urlopen(url, timeout=_ANSWER_WITHIN_S) as reply:
            status: dict[str, Any] = json.load(reply)
    except (OSError, urllib.error.URLError, json.JSONDecodeError):
        return False
    return [part["state"] for part in (status["connector"], *status["tasks"])] == ["RUNNING", "RUNNING"]


def gateway(layout: Layout) -> bool:
    """It takes calls: keys and budgets are loaded, and the outbox has room."""
    try:
        with urllib.request.urlopen(f"http://{HOST}:{layout.ports.gateway}/readyz", timeout=_ANSWER_WITHIN_S) as reply:
            return bool(reply.status == HTTPStatus.OK)
    except (OSError, urllib.error.URLError):
        return False


def decide(layout: Layout) -> bool:
    """Its health service says that it serves."""
    with grpc.insecure_channel(f"{HOST}:{layout.ports.decide}") as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        try:
            answer = health.Check(health_pb2.HealthCheckRequest(), timeout=_ANSWER_WITHIN_S)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def _listens(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=_ANSWER_WITHIN_S):
            return True
    except OSError:
        return False


_CHECKS: Mapping[str, Callable[[Layout], bool]] = {
    "postgres": postgres,
    "kafka": kafka,
    "redis": redis,
    "jobmanager": jobmanager,
    "writer": lambda layout: _listens(layout.ports.writer_metrics),
    "compact": lambda layout: _listens(layout.ports.compact_metrics),
    "watch": lambda layout: _listens(layout.ports.watch_metrics),
    "shipper": lambda layout: _listens(layout.ports.shipper_metrics),
    "archive": lambda layout: _listens(layout.ports.archive_metrics),
    "gateway": gateway,
    "connect": connect,
    "decide": decide,
    "pusher": lambda layout: _listens(layout.ports.pusher_metrics),
}
