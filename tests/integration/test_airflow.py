"""Airflow on the whole stack, over its REST interface: roles, runs, backfills, and what is left when it is killed."""

import json
import os
import signal
import stat
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest

from dags.edges import versions
from infra.airflow_client import Airflow, Refused
from infra.local.airflow import NAMES
from ledger.lake import reading
from serving.router.versions import promoted
from tests.integration.airflow_traffic import (
    CALLS,
    OLD_DAYS,
    REFUSALS,
    ROUTED,
    TENANT,
    conversations,
    operations,
    unpriced,
)
from tests.integration.conftest import RunningStack
from tests.integration.conversations import send

DAGS = (
    "backfill", "compact_lake", "drift_report", "eval_dataset", "finetune_dataset", "materialize_features",
    "refresh_prices", "retention", "retrain_router", "score_responses", "verify_ledger",
)  # fmt: skip
RECIPE = f"""
name = "live"
[consent]
tenants = ["{TENANT}"]
"""
SCORED = (
    RECIPE.replace('"live"', '"scored"')
    + """
[filters]
checks = ["refusal", "tool_calls"]
"""
)
PAIRED = """
name = "router-{feature}"
kind = "router_pairs"
[consent]
tenants = ["{tenant}"]
[filters]
features = ["{feature}"]
[router]
tiers = ["small", "large"]
"""
PRICES = """
prices:
  - {provider: airflow-ai, model: own, usd_per_million: {input.text: 3, output.text: 3}}
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
        self.succeeded(dag_id, run_id)
        return run_id

    def wait_for(self, dag_id: str, run_id: str, *, task_id: str, states: set[str]) -> dict[str, Any]:
        """The task when it is in one of the states."""
        found: dict[str, Any] = {}

        def reached() -> bool:
            found.update({one["task_id"]: one for one in self.operator.tasks(dag_id, run_id)}[task_id])
            return found["state"] in states

        self.stack.wait_until(reached, f"{task_id} of {dag_id} to be {states}", within_s=240)
        return found

    def succeeded(self, dag_id: str, run_id: str) -> dict[str, str]:
        """Task → state of a run that has succeeded."""
        run = self.operator.wait(dag_id, run_id, within_s=400)
        states = {one["task_id"]: one["state"] for one in self.operator.tasks(dag_id, run_id)}
        assert run["state"] == "success", states
        return states

    def runs(self, dag_id: str, run_type: str) -> list[dict[str, Any]]:
        """Its runs of one kind, as they are now."""
        answer = self.operator.ask("GET", f"/api/v2/dags/{dag_id}/dagRuns?run_type={run_type}")
        return [one for one in answer["dag_runs"] if one["run_type"] == run_type]

    def by_asset(self, dag_id: str) -> str:
        """The first run that an asset has started."""
        found: list[dict[str, Any]] = []

        def started() -> bool:
            found[:] = self.runs(dag_id, "asset_triggered")
            return bool(found)

        self.stack.wait_until(started, f"an asset to start {dag_id}", within_s=240)
        return str(found[-1]["dag_run_id"])

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
        for dag_id in DAGS:
            made.operator.unpause(dag_id)
        yield made
    finally:
        for name in reversed(NAMES):
            stack.stack.supervision.stop_program(name)


def _known(operator: Airflow) -> bool:
    return {one["dag_id"] for one in operator.ask("GET", "/api/v2/dags")["dags"]} >= set(DAGS)


class Lake(NamedTuple):
    """What is in the lake, and what an operator has started meanwhile: DAG → run."""

    now: datetime
    started: dict[str, str]


@pytest.fixture(scope="module")
def lake(airflow: Running, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Conversations in the lake, recipes for them; what takes its time and needs nothing else is under way."""
    stack, now = airflow.stack, datetime.now(UTC)
    stack.allow_texts(TENANT, ROUTED)
    recipes = stack.layout.offline["recipes"]
    recipes.mkdir(parents=True, exist_ok=True)
    pairs = {f"router-{name}": PAIRED.format(feature=name, tenant=ROUTED) for name in ("golden", "train")}
    for name, text in {"live": RECIPE, "finetune": SCORED, **pairs}.items():
        # The DAG asks for pairs by this name.
        (recipes / f"{'router-pairs' if name == 'router-train' else name}.toml").write_text(text, encoding="utf-8")
    send(stack.layout.kafka_bootstrap, tenant="airflow-own", values=[unpriced()])
    prices = tmp_path_factory.mktemp("prices") / "prices.yaml"
    prices.write_text(PRICES, encoding="utf-8")
    stack.tokenledger("prices", "add", str(prices), "--reason", "a test")
    sent = send(stack.layout.kafka_bootstrap, tenant=TENANT, values=conversations(now))
    sent += send(stack.layout.kafka_bootstrap, tenant=ROUTED, values=operations(now))
    stack.wait_until(lambda: _archived(stack.layout.lake) == (sent, sent), "the lake to hold what was sent")
    begun = {
        "refresh_prices": airflow.operator.trigger("refresh_prices"),
        "retention": airflow.operator.trigger("retention", texts_days=30),
        "materialize_features": airflow.operator.trigger("materialize_features", hours=1),
    }
    return Lake(now, begun)


def _archived(lake: Path) -> tuple[int, int]:
    """Texts and calls of our tenants."""
    ours = [TENANT, ROUTED]
    calls = sum(len(batch) for batch in reading.calls(lake, tenants=ours, columns=["status"]))
    return sum(1 for _ in reading.texts(lake, tenants=ours)), calls


def test_its_four_processes_are_ready_and_their_passwords_are_told_once(airflow: Running, week: int) -> None:
    assert week
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


def test_a_dataset_made_again_by_a_new_run_or_a_cleared_one_is_the_same(airflow: Running, lake: Lake) -> None:
    airflow.done("compact_lake", day=lake.now.strftime("%Y-%m-%d"))
    # A version is of the scores too: a whole day starts scoring by itself, and nothing may be new between two builds.
    airflow.done("score_responses")
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

    # What travels between tasks is an id.
    where = f"/api/v2/dags/finetune_dataset/dagRuns/{again.replace('+', '%2B')}/taskInstances/~/xcomEntries"
    entries = airflow.operator.ask("GET", where)["xcom_entries"]
    assert {(one["task_id"], one["key"]) for one in entries} == {("build", "return_value")}
    assert len(airflow.version(again)) < 100


def test_a_days_scores_start_a_dataset_whose_filters_go_by_them(airflow: Running, lake: Lake) -> None:
    assert lake.started
    airflow.done("score_responses")
    run_id = airflow.by_asset("finetune_dataset")
    assert airflow.succeeded("finetune_dataset", run_id) == {"build": "success", "verify": "success"}

    manifest = versions.load(airflow.stack.layout.offline["datasets"], airflow.version(run_id))
    assert manifest.name == "scored"
    assert manifest.counts["chat left out: failed_check"] == REFUSALS
    assert manifest.rows >= CALLS - REFUSALS


def test_drift_that_stays_trains_a_router_that_is_judged_and_not_promoted(airflow: Running, lake: Lake) -> None:
    airflow.done("eval_dataset", recipe="router-golden")
    times = [_instant(lake.now - timedelta(hours=hours)) for hours in (4, 3, 2)]
    reference = {"reference_since": times[0], "reference_until": times[1], "since": times[2]}
    ends = [_instant(lake.now - timedelta(hours=1, minutes=minutes)) for minutes in (3, 2, 1)]
    for end, confirmed in zip(ends, ("skipped", "skipped", "success"), strict=True):
        run_id = airflow.operator.trigger("drift_report", until=end, **reference)
        assert airflow.succeeded("drift_report", run_id)["confirm"] == confirmed

    run_id = airflow.by_asset("retrain_router")
    states = airflow.succeeded("retrain_router", run_id)
    router = airflow.stack.layout.offline["models"] / "router"
    [candidacy] = [json.loads(file.read_text(encoding="utf-8")) for file in (router / "candidates").glob("*.json")]
    assert (states, candidacy["fit"]) == ({"pairs": "success", "train": "success"}, True), candidacy
    assert promoted(router) is None


def _instant(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def test_prices_are_refreshed_and_what_came_before_its_price_is_charged(airflow: Running, lake: Lake) -> None:
    states = airflow.succeeded("refresh_prices", lake.started["refresh_prices"])
    assert set(states.values()) == {"success"}
    with psycopg.connect(airflow.stack.layout.dsn("analyst")) as ledger:
        found = ledger.execute(
            "SELECT price_status, cost_usd_pico FROM calls WHERE tenant_id = 'airflow-own'"
        ).fetchall()
    assert set(found) == {("priced", 3_000_000_000)}
    # The lake keeps the first price, and is compared by it.
    day = f"{lake.now:%Y-%m-%d}"
    assert "the lake is right" in airflow.stack.tokenledger("lake", "verify", "--day", day)


def test_old_texts_go_before_old_calls(airflow: Running, lake: Lake) -> None:
    airflow.succeeded("retention", lake.started["retention"])
    old = (lake.now - timedelta(days=OLD_DAYS)).strftime("%Y-%m-%d")
    left = {path.parts[-3] for path in airflow.stack.layout.lake.glob(f"*/*/day={old}")}
    assert left == {"calls"}
    assert list(airflow.stack.layout.lake.glob(f"texts/*/day={lake.now:%Y-%m-%d}/*.parquet"))


def test_the_online_store_is_filled_again(airflow: Running, lake: Lake) -> None:
    airflow.succeeded("materialize_features", lake.started["materialize_features"])


def test_a_week_is_filled_back_by_seven_runs(airflow: Running, week: int) -> None:
    def states() -> list[str]:
        return [one["state"] for one in airflow.runs("backfill", "backfill")]

    airflow.stack.wait_until(lambda: states() == ["success"] * 7, f"backfill {week}", within_s=400)


@pytest.fixture(scope="module")
def week(airflow: Running) -> int:
    """Begun before the first test: seven runs, one after the other, beside all that follows."""
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
    return int(airflow.operator.ask("POST", "/api/v2/backfills", body=body)["id"])


def test_what_is_killed_while_datasets_are_built_changes_nothing_of_them(airflow: Running, lake: Lake) -> None:
    expected = airflow.version(airflow.done("finetune_dataset", recipe="live"))
    # Two DAGs, so that the one is tried again while the other is killed.
    one_dag, one_run, command = _begun(airflow, "finetune_dataset")
    os.kill(_parent(_parent(command)), signal.SIGKILL)  # the worker: above the task's own process, above the command
    _ends(airflow, command)
    other_dag, other_run, command = _begun(airflow, "eval_dataset")
    os.kill(airflow.stack.pid("scheduler"), signal.SIGKILL)
    _ends(airflow, command)

    for dag_id, run_id in ((one_dag, one_run), (other_dag, other_run)):
        airflow.succeeded(dag_id, run_id)
        [build] = [one for one in airflow.operator.tasks(dag_id, run_id) if one["task_id"] == "build"]
        assert build["try_number"] >= 2
        made = airflow.operator.result(dag_id, run_id, task_id="build")
        datasets = airflow.stack.layout.offline["datasets"]
        assert _rows(datasets, made) == _rows(datasets, expected)
    assert lake.started
    airflow.stack.wait_until(lambda: airflow.stack.stack.ready("scheduler"), "the scheduler to be back")
    assert _orphans() == []


def _begun(airflow: Running, dag_id: str) -> tuple[str, str, int]:
    """DAG, run and command of a build under another name, so that there is something to do; its rows are the same."""
    name = f"killed-{uuid.uuid4().hex[:8]}"
    recipe = airflow.stack.layout.offline["recipes"] / f"{name}.toml"
    recipe.write_text(RECIPE.replace('"live"', f'"{name}"'), encoding="utf-8")
    run_id = airflow.operator.trigger(dag_id, recipe=name)
    return dag_id, run_id, _command(airflow, recipe.name)


def _ends(airflow: Running, command: int) -> None:
    airflow.stack.wait_until(lambda: not Path(f"/proc/{command}").exists(), "the command to end with its worker")


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
