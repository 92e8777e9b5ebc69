"""The DAGs on Airflow's own Python, with a database of their own; elsewhere nothing here is collected.

Run by `tests/integration/test_airflow_dags.py`. Airflow reads its settings when it is imported, so they are set here.
"""

import atexit
import importlib.util
import json
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import Any

import pytest

REPO = Path(__file__).resolve().parents[2]

if importlib.util.find_spec("airflow") is None:
    collect_ignore_glob = ["test_*.py"]
else:
    _home = tempfile.mkdtemp(prefix="tl-airflow-")
    atexit.register(shutil.rmtree, _home, ignore_errors=True)
    os.environ |= {
        "AIRFLOW_HOME": _home,
        "AIRFLOW__CORE__DAGS_FOLDER": str(REPO / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAG_DISCOVERY_SAFE_MODE": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{_home}/airflow.db",
    }

RECORDER = """#!/bin/sh
exec {python} {script} "$@"
"""
SCRIPT = """
import json, os, sys
with open({journal!r}, "a") as journal:
    journal.write(json.dumps([sys.argv[1:], dict(os.environ)]) + "\\n")
print("a line for people")
print("made@4f1c")
"""


@pytest.fixture(scope="session")
def bag() -> Any:
    """Every DAG of the folder, as the DAG processor reads them."""
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(str(REPO / "dags"), bundle_name="tokenledger", bundle_path=REPO / "dags")


@pytest.fixture(scope="session")
def stored(bag: Any) -> Any:
    """The same, in a database: what `dag.test()` needs."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import sync_bag_to_db
    from airflow.utils.db import initdb

    initdb()
    DagBundlesManager().sync_bundles_to_db()
    sync_bag_to_db(bag, "dags-folder", None)
    return bag


class Commands:
    """What the tasks ran: a program that writes down its arguments stands in for the stack's Python."""

    def __init__(self, folder: Path) -> None:
        self.journal = folder / "journal.jsonl"
        script = folder / "recorder.py"
        script.write_text(SCRIPT.format(journal=str(self.journal)))
        self.python = folder / "python"
        self.python.write_text(RECORDER.format(python="/usr/bin/env python3", script=script))
        self.python.chmod(self.python.stat().st_mode | stat.S_IXUSR)

    def ran(self) -> list[tuple[list[str], dict[str, str]]]:
        """Arguments and environment of each, in order."""
        if not self.journal.exists():
            return []
        return [(one[0], one[1]) for one in map(json.loads, self.journal.read_text().splitlines())]


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    made = Commands(tmp_path)
    monkeypatch.setenv("TOKENLEDGER_STACK_PYTHON", str(made.python))
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    for name in ("finetune", "eval", "support", "router-pairs"):
        (recipes / f"{name}.toml").touch()
    monkeypatch.setenv("TOKENLEDGER_RECIPES", str(recipes))
    for name in ("LAKE", "DATASETS", "SCORES", "DRIFT", "MODELS"):
        monkeypatch.setenv(f"TOKENLEDGER_{name}", f"/stack/{name.lower()}")
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "a secret of Airflow's")
    return made
