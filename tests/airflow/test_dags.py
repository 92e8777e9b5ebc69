"""Every DAG: what it must have, and that a run of it gives commands which the product takes."""

import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.airflow.conftest import REPO, Commands

IDS = [
    "backfill",
    "compact_lake",
    "drift_report",
    "eval_dataset",
    "finetune_dataset",
    "materialize_features",
    "refresh_prices",
    "retention",
    "retrain_router",
    "score_responses",
    "verify_ledger",
]
COSTLY = set(IDS) - {"verify_ledger"}
PARSE = """
import sys
from tokenledger import cli
cli._parser(sys.argv[1]).parse_args(sys.argv[1:])
"""


def test_the_folder_holds_these_dags_and_none_that_cannot_be_read(bag: Any) -> None:
    assert bag.import_errors == {}
    assert sorted(bag.dags) == IDS


def test_a_file_is_read_in_less_than_a_second(bag: Any) -> None:
    assert [stat.file for stat in bag.dagbag_stats if stat.duration.total_seconds() >= 1] == []


@pytest.mark.parametrize("dag_id", IDS)
def test_a_dag_says_what_it_is_for_who_owns_it_and_when_it_gives_up(bag: Any, dag_id: str) -> None:
    dag = bag.dags[dag_id]
    assert len(dag.doc_md.split()) > 20
    assert "By hand" in dag.doc_md or "types" in dag.doc_md or "tokenledger" in dag.doc_md
    assert dag.tags
    assert (dag.catchup, dag.max_active_runs) == (False, 1)
    assert dag.dagrun_timeout is not None
    assert dag.is_paused_upon_creation is (dag_id in COSTLY)
    for task in dag.tasks:
        assert (task.owner, task.retries, type(task).__name__) == ("platform", 2, "Command")
        assert task.execution_timeout < dag.dagrun_timeout


@pytest.mark.parametrize("dag_id", IDS)
def test_a_run_gives_commands_that_the_product_takes(stored: Any, commands: Commands, dag_id: str) -> None:
    run = stored.dags[dag_id].test()

    assert run.state == "success"
    ran = [words for words, _ in commands.ran()]
    assert len(ran) == len(stored.dags[dag_id].tasks)
    python = REPO / ".local" / "venv" / "bin" / "python"
    for words in ran:
        assert words[0] == "-m"
        assert "{{" not in " ".join(words)
        assert "$" not in " ".join(words)
        assert "None" not in " ".join(words)
        parser = ["-m", words[1], *words[2:], "--help"] if words[1] != "tokenledger.cli" else ["-c", PARSE, *words[2:]]
        done = subprocess.run([python, *parser], cwd=REPO, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{words}\n{done.stderr}"


def test_the_id_that_one_task_prints_is_what_the_next_is_given(stored: Any, commands: Commands) -> None:
    stored.dags["finetune_dataset"].test(run_conf={"recipe": "support", "since": "2026-11-01"})

    build, verify = (words for words, _ in commands.ran())
    assert [word for word in build if word.endswith("/recipes/support.toml")]
    assert "--since=2026-11-01" in build
    assert not [word for word in build if word.startswith("--until")]
    assert "made@4f1c" in verify


def test_a_command_is_told_where_the_stack_is_and_none_of_airflows_secrets(stored: Any, commands: Commands) -> None:
    stored.dags["verify_ledger"].test()

    [(_, environment)] = commands.ran()
    assert environment["TOKENLEDGER_LAKE"] == "/stack/lake"
    assert [name for name in environment if name.startswith("AIRFLOW")] == []


@pytest.mark.parametrize("given", ["../../etc/passwd", "-x", "a b", "$(id)", "a;b"])
def test_a_recipe_that_is_no_name_starts_nothing(stored: Any, commands: Commands, given: str) -> None:
    with pytest.raises(Exception, match=r"(?i)param|validat|match"):
        stored.dags["finetune_dataset"].test(run_conf={"recipe": given})
    assert commands.ran() == []


def test_what_ends_with_nothing_to_do_is_skipped_with_what_follows(
    stored: Any, commands: Commands, tmp_path: Path
) -> None:
    commands.python.write_text(f"#!/bin/sh\necho ran >> {tmp_path}/ran\nexit 3\n")

    run = stored.dags["eval_dataset"].test(run_conf={"recipe": "eval"})

    assert {one.task_id: one.state for one in run.get_task_instances()} == {"build": "skipped", "verify": "skipped"}
    assert (tmp_path / "ran").read_text() == "ran\n"


def test_a_dataset_without_a_recipe_is_skipped_until_somebody_writes_one(stored: Any, commands: Commands) -> None:
    run = stored.dags["eval_dataset"].test(run_conf={"recipe": "not-written-yet"})

    assert {one.task_id: one.state for one in run.get_task_instances()} == {"build": "skipped", "verify": "skipped"}
    assert commands.ran() == []


def test_what_fails_is_tried_again_and_then_not_taken_for_done(
    stored: Any, commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored.dags["eval_dataset"].get_task("build"), "retry_delay", timedelta())
    commands.python.write_text(f"#!/bin/sh\necho ran >> {tmp_path}/ran\necho no@4f1c\nexit 1\n")

    run = stored.dags["eval_dataset"].test(run_conf={"recipe": "eval"})

    states = {one.task_id: one.state for one in run.get_task_instances()}
    assert states == {"build": "failed", "verify": "upstream_failed"}
    assert (tmp_path / "ran").read_text() == "ran\n" * 3
