"""Airflow on the whole stack, over its REST interface: roles, runs, backfills, and what is left when it is killed."""

import json
import os
import signal
import stat
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from infra.airflow_client import Airflow, Refused
from infra.local.airflow import NAMES
from ledger.lake.progress import read_progress
from tests.integration.conftest import RunningStack
from tests.integration.conversations import send
from tokenledger.records.topics import RAW

TENANT = "airflow-tests"
CALLS = 1500
DAGS = (
    "backfill", "compact_lake", "drift_report", "eval_dataset", "finetune_dataset", "materialize_features",
    "refresh_prices", "retention", "retrain_router", "score_responses", "verify_ledger",
)  # fmt: skip
RECIPE = f"""
name = "live"
kind = "finetune"
[consent]
tenants = ["{TENANT}"]
"""


@dataclass(frozen=True, slots=True)
class Running:
    """Airflow beside a running stack, and what an operator does with it."""

    stack: RunningStack
    operator: Airflow
    states: list[str] = field(default_factory=list)

    def person(self, user: str) -> Airflow:
        """Somebody signed in."""
        return Airflow.as_user(self.stack.layout, user)

    def done(self, dag_id: str, **conf: object) -> str:
        """A run by hand that has succeeded; its id."""
        run_id = self.operator.trigger(dag_id, **conf)
        run = self.operator.wait(dag_id, run_id, within_s=400)
        assert run["state"] == "success", self.operator.tasks(dag_id, run_id)
        return run_id

    def wait_for(self, dag_id: str, run_id: str, *, task_id: str, states: set[str]) -> dict[str, Any]:
        """The task when it is in one of the states."""
        found: dict[str, Any] = {}

        def reached() -> bool:
            found.update({one["task_id"]: one for one in self.operator.tasks(dag_id, run_id)}[task_id])
            return found["state"] in states

        self.stack.wait_until(reached, f"{task_id} of {dag_id} to be {states}", within_s=240)
        return found

    def version(self, run_id: str) -> str:
        """The dataset that a run made."""
        return self.operator.result("finetune_dataset", run_id, task_id="build")


@pytest.fixture(scope="module")
def airflow(stack: RunningStack) -> Iterator[Running]:
    assert stack.layout.airflow_python.exists(), "Airflow is not installed; type: infra/local/setup.sh airflow"
    stack.stack.airflow()
    try:
        made = Running(stack, Airflow.as_user(stack.layout, "operator"))
        stack.wait_until(lambda: _known(made.operator), "every DAG to be known", within_s=240)
        for dag_id in ("backfill", "compact_lake", "finetune_dataset"):
            made.operator.unpause(dag_id)
        yield made
    finally:
        for name in reversed(NAMES):
            stack.stack.supervision.stop_program(name)


def _known(operator: Airflow) -> bool:
    return {one["dag_id"] for one in operator.ask("GET", "/api/v2/dags")["dags"]} >= set(DAGS)


@pytest.fixture(scope="module")
def lake(airflow: Running) -> str:
    """Conversations in the lake, and a recipe for them; the day they are of."""
    layout = airflow.stack.layout
    layout.consent.write_text(f"[tenants.{TENANT}]\ncapture_texts = true\n", encoding="utf-8")
    layout.offline["recipes"].mkdir(parents=True, exist_ok=True)
    (layout.offline["recipes"] / "live.toml").write_text(RECIPE, encoding="utf-8")
    now = datetime.now(UTC)
    send(layout.kafka_bootstrap, tenant=TENANT, count=CALLS, started_at_us=int(now.timestamp()) * 1_000_000)
    airflow.stack.wait_until(lambda: _archived(layout.lake) >= CALLS, "the lake to hold what was sent")
    return now.strftime("%Y-%m-%d")


def _archived(lake: Path) -> int:
    return sum(one.next_offset for (topic, _), one in read_progress(lake).items() if topic == RAW.name)


def test_its_four_processes_are_ready_and_their_passwords_are_told_once(airflow: Running) -> None:
    assert all(airflow.stack.stack.ready(name) for name in NAMES)
    passwords = airflow.stack.layout.airflow_passwords
    told = "\n".join(airflow.stack.told)
    for password in json.loads(passwords.read_text(encoding="utf-8")).values():
        assert told.count(password) == 1
    for path in (passwords, airflow.stack.layout.airflow_config):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    airflow.stack.stack.airflow()
    assert "\n".join(airflow.stack.told).count("password ") == told.count("password ")


def test_nobody_gets_in_without_a_password(airflow: Running) -> None:
    url = airflow.stack.layout.airflow_url
    with pytest.raises(Refused) as refused:
        Airflow(url).ask("GET", "/api/v2/dags")
    assert refused.value.status == 401
    with pytest.raises(Refused) as refused:
        Airflow.signed_in(url, "admin", password="admin")  # noqa: S106 - it is not the password
    assert refused.value.status == 401


def test_a_viewer_looks_an_operator_runs_an_admin_may_do_both(airflow: Running) -> None:
    viewer = airflow.person("viewer")
    assert _known(viewer)
    for method, path, body in (
        ("POST", "/api/v2/dags/verify_ledger/dagRuns", {"logical_date": None}),
        ("PATCH", "/api/v2/dags/verify_ledger", {"is_paused": True}),
        ("GET", "/api/v2/connections", None),
    ):
        with pytest.raises(Refused) as refused:
            viewer.ask(method, path, body=body)
        assert refused.value.status == 403
    for user in ("operator", "admin"):
        person = airflow.person(user)
        run_id = person.trigger("verify_ledger")
        assert person.wait("verify_ledger", run_id, within_s=400)["state"] == "success"


def test_a_dataset_made_again_by_a_new_run_or_a_cleared_one_is_the_same(airflow: Running, lake: str) -> None:
    airflow.done("compact_lake", day=lake)
    first = airflow.done("finetune_dataset", recipe="live")
    again = airflow.done("finetune_dataset", recipe="live")
    assert airflow.version(first) == airflow.version(again)

    airflow.operator.ask(
        "POST",
        "/api/v2/dags/finetune_dataset/clearTaskInstances",
        body={"dry_run": False, "dag_run_id": first, "task_ids": ["build"], "only_failed": False},
    )
    airflow.wait_for("finetune_dataset", first, task_id="build", states={"queued", "running"})
    assert airflow.wait_for("finetune_dataset", first, task_id="build", states={"success"})["try_number"] == 2
    assert airflow.version(first) == airflow.version(again)


def test_what_travels_between_tasks_is_an_id(airflow: Running, lake: str) -> None:
    run_id = airflow.done("finetune_dataset", recipe="live")
    where = f"/api/v2/dags/finetune_dataset/dagRuns/{run_id.replace('+', '%2B')}/taskInstances/~/xcomEntries"
    entries = airflow.operator.ask("GET", where)["xcom_entries"]
    assert {(one["task_id"], one["key"]) for one in entries} == {("build", "return_value")}
    assert len(airflow.version(run_id)) < 100
    assert lake


def test_a_week_is_filled_back_by_seven_runs(airflow: Running) -> None:
    end = datetime.now(UTC).replace(hour=2, minute=0, second=0, microsecond=0)
    body = {
        "dag_id": "backfill",
        "from_date": (end - timedelta(days=8)).isoformat(),
        "to_date": (end - timedelta(days=2)).isoformat(),
        "run_backwards": False,
        "dag_run_conf": {},
        "reprocess_behavior": "none",
        "max_active_runs": 1,
    }
    backfill_id = airflow.operator.ask("POST", "/api/v2/backfills", body=body)["id"]

    def runs() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = airflow.operator.ask("GET", "/api/v2/dags/backfill/dagRuns?run_type=backfill")[
            "dag_runs"
        ]
        return [one for one in found if one["run_type"] == "backfill"]

    airflow.stack.wait_until(
        lambda: [one["state"] for one in runs()] == ["success"] * 7, f"backfill {backfill_id}", within_s=400
    )


def _scheduler(airflow: Running, task_pid: int) -> int:
    del task_pid
    return airflow.stack.pid("scheduler")


def _worker(airflow: Running, task_pid: int) -> int:
    """The process above the task's own, which is above the command."""
    del airflow
    return _parent(_parent(task_pid))


@pytest.mark.parametrize("victim", [_scheduler, _worker], ids=["scheduler", "worker"])
def test_what_is_killed_while_a_dataset_is_built_changes_nothing_of_it(
    airflow: Running, lake: str, victim: Callable[[Running, int], int]
) -> None:
    expected = airflow.version(airflow.done("finetune_dataset", recipe="live"))
    # Another name, so that there is something to build; its rows are the same.
    name = f"killed-{uuid.uuid4().hex[:8]}"
    recipes = airflow.stack.layout.offline["recipes"]
    (recipes / f"{name}.toml").write_text(RECIPE.replace('"live"', f'"{name}"'), encoding="utf-8")
    run_id = airflow.operator.trigger("finetune_dataset", recipe=name)
    command = _command(airflow, f"{name}.toml")
    os.kill(victim(airflow, command), signal.SIGKILL)
    airflow.stack.wait_until(lambda: not Path(f"/proc/{command}").exists(), "the command to end with its worker")

    assert airflow.operator.wait("finetune_dataset", run_id, within_s=400)["state"] == "success"
    [build] = [one for one in airflow.operator.tasks("finetune_dataset", run_id) if one["task_id"] == "build"]
    assert build["try_number"] == 2
    datasets = airflow.stack.layout.offline["datasets"]
    assert _rows(datasets, airflow.version(run_id)) == _rows(datasets, expected)
    assert lake
    airflow.stack.wait_until(lambda: airflow.stack.stack.ready("scheduler"), "the scheduler to be back")
    assert _orphans() == []


def _command(airflow: Running, recipe: str) -> int:
    """The process of the running build."""
    found: list[int] = []

    def running() -> bool:
        found.extend(pid for pid, words in _processes() if any(word.endswith(recipe) for word in words))
        return bool(found)

    airflow.stack.wait_until(running, f"the build of {recipe} to run", within_s=240)
    time.sleep(0.3)  # into the middle of it
    return found[0]


def _processes() -> Iterator[tuple[int, list[str]]]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield int(path.parent.name), path.read_text(encoding="utf-8", errors="replace").split("\0")
        except OSError:
            continue  # it ended meanwhile


def _parent(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return int(fields[1])


def _orphans() -> list[int]:
    """Workers that outlived their scheduler."""
    return [pid for pid, words in _processes() if words[0].startswith("airflow worker") and _parent(pid) == 1]


def _rows(datasets: Path, version: str) -> dict[str, bytes]:
    folder = datasets / version.replace("@", "/")
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.jsonl"))}
