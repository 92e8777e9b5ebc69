"""What the lake's page shows works on a lake: its Python, its pandas and its SQL."""

import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from ledger.lake import reading
from tests.house.pages import blocks
from tests.house.tree import ROOT
from tests.ledger.lake.test_lake import placed, plain, write_calls
from tests.ledger.lake.test_reading import text
from tests.ledger.samples import call, priced

pytestmark = pytest.mark.slow

SHOWN = ".local/stack/data/lake"


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """Three calls, one of which was restated."""
    write_calls(tmp_path, [placed(plain(n), n) for n in range(3)])
    restated = priced(call(event_id="e0", event_key="app/e0", revision=1), offset=3)
    write_calls(tmp_path, [placed(restated, 3)], first=3)
    reading.write_texts(tmp_path, [text(0)])
    return tmp_path


def shown(kind: str) -> list[str]:
    return [text for info, text in blocks("docs/lake.md") if info.split() == [kind, "lake"]]


def run(code: str, lake: Path) -> list[str]:
    """The words it prints."""
    command = [sys.executable, "-c", code.replace(SHOWN, str(lake))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_its_python_runs_and_counts_each_call_once(lake: Path) -> None:
    plain_python, pandas = shown("python")
    assert run(plain_python, lake)[:4] == ["2", "calls", "1", "calls"]
    assert run(pandas, lake)[-3:] == ["m-1", "660000", "30"]


def test_its_sql_runs_and_agrees_with_the_reader(lake: Path) -> None:
    [code] = shown("sql")
    with duckdb.connect() as connection:
        view, by_model, by_meter = (one.strip() for one in code.replace(SHOWN, str(lake)).split(";")[:3])
        connection.sql(view)
        assert connection.sql(by_model).fetchall() == [("acme", "m-1", 3, 6.6e-07, 0)]
        assert connection.sql(by_meter).fetchall() == [("input.text", 300, 6e-07), ("output.text", 30, 6e-08)]
