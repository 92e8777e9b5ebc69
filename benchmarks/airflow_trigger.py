"""How long after an event the run starts that it asks for: a Kafka message, an asset's event, a person's click.

On a stack of its own with Postgres, Kafka and Airflow; its runs are runs of `materialize_features`, broken off once
they have started.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

from confluent_kafka import Producer

from benchmarks.stack import stack_of
from infra.airflow_client import Airflow, Refused
from infra.local.layout import Layout
from tokenledger.records.topics import FEATURES

DAG = "materialize_features"
ASSET = "tokenledger://features/hour"
SAMPLES = 5
HOUR_US = 3_600_000_000
_WITHIN_S = 180.0


def main() -> int:
    """Print the figures."""
    with stack_of(("postgres", "kafka")) as stack:
        stack.airflow()
        operator = Airflow.as_user(stack.layout, "operator")
        _unpause(operator)
        return measure(stack.layout, operator)


def _unpause(operator: Airflow) -> None:
    """As soon as the DAG processor has read its file."""
    deadline = time.monotonic() + _WITHIN_S
    while True:
        try:
            return operator.unpause(DAG)
        except Refused:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)


def measure(layout: Layout, operator: Airflow) -> int:
    """Print the figures of a running Airflow."""
    kafka = _kafka(layout)
    _warm(operator, kafka)
    told = {
        "Kafka message": kafka,
        "asset event by REST": _asset(operator),
        "run by REST": lambda: operator.trigger(DAG),
    }
    found = {name: [_seconds(operator, tell) for _ in range(SAMPLES)] for name, tell in told.items()}
    operator.unpause(DAG, paused=True)
    for name, seconds in found.items():
        print(
            f"{name:20} → run starts: p50 {statistics.median(seconds):.2f} s, worst {max(seconds):.2f} s of {SAMPLES}"
        )
    by_kafka, by_rest = (statistics.median(found[name]) for name in ("Kafka message", "run by REST"))
    print(
        f"| event → DAG start, p50 | {by_kafka:.2f} s from a Kafka message,"
        f" {by_rest:.2f} s from REST ({by_kafka / by_rest:.1f}×) "
        f"| load average {Path('/proc/loadavg').read_text(encoding='utf-8').split()[0]} |"
    )
    return 0


def _warm(operator: Airflow, tell: Callable[[], object]) -> None:
    """Until the triggerer watches: what was said before, it never hears."""
    deadline = time.monotonic() + _WITHIN_S
    while not (runs := _runs(operator)):
        if time.monotonic() > deadline:
            raise TimeoutError(f"the triggerer does not watch {FEATURES.name} after {_WITHIN_S:.0f} s")
        tell()
        time.sleep(5)
    _end(operator, list(runs))


def _end(operator: Airflow, runs: list[str]) -> None:
    for name in runs:
        operator.ask("PATCH", f"/api/v2/dags/{DAG}/dagRuns/{quote(name, safe='')}", body={"state": "failed"})
        operator.wait(DAG, name)


def _kafka(layout: Layout) -> Callable[[], object]:
    producer = Producer({"bootstrap.servers": layout.kafka_bootstrap, "acks": "all"})
    # Hours long gone, other ones at each start: each message begins an hour that is new to the watcher.
    hours = count(int(time.time()) % 400_000 + 1)

    def tell() -> None:
        window = {
            "entity": "model",
            "provider": "benchmark",
            "model": "none",
            "window_start_at_us": next(hours) * HOUR_US,
        }
        producer.produce(FEATURES.name, json.dumps(window).encode())
        assert producer.flush(10) == 0

    return tell


def _asset(operator: Airflow) -> Callable[[], object]:
    [asset] = [one for one in operator.ask("GET", "/api/v2/assets")["assets"] if one["uri"] == ASSET]
    return lambda: operator.ask("POST", "/api/v2/assets/events", body={"asset_id": asset["id"], "extra": {}})


def _runs(operator: Airflow) -> dict[str, Any]:
    newest = operator.ask("GET", f"/api/v2/dags/{DAG}/dagRuns?order_by=-run_after&limit=20")
    return {one["dag_run_id"]: one for one in newest["dag_runs"]}


def _seconds(operator: Airflow, tell: Callable[[], object]) -> float:
    """From the event to the start of its run, by Airflow's own record; ended before the next begins."""
    before = set(_runs(operator))
    told_at = time.time()
    tell()
    deadline = time.monotonic() + _WITHIN_S
    while time.monotonic() < deadline:
        new = {name: one for name, one in _runs(operator).items() if name not in before}
        if new and all(one["start_date"] for one in new.values()):
            _end(operator, list(new))
            return min(datetime.fromisoformat(one["start_date"]).timestamp() for one in new.values()) - told_at
        time.sleep(0.2)
    raise TimeoutError(f"no run of {DAG} within {_WITHIN_S:.0f} s")


if __name__ == "__main__":
    sys.exit(main())
