"""Kill any process under load and let supervisor bring it back: nothing is lost, nothing is counted twice.

Each case sends recorded shapes of many providers, with duplicates, late and disordered records, kills one process in
the middle with signal 9, and holds the ledger against the journal of what the broker acknowledged.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from ledger.kafka import KafkaSide
from ledger.reconcile import compare
from ledger.verify import verify
from tests.integration.conftest import RunningStack
from tokenledger.readers import Options, read
from tokenledger.records.topics import RAW

_GOLDEN = Path(__file__).parents[1] / "golden" / "calls"
_RECORDS, _RATE, _KILL_AFTER_S, _CAUGHT_UP_WITHIN_S = 9_000, 1_800, 2.0, 120.0
_NOW = str(time.time_ns() // 1000)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Call envelopes of every dialect that has a golden case, those that must be rejected included."""
    lines = []
    for path in sorted(_GOLDEN.rglob("*.json")):
        case = json.loads(path.read_text(encoding="utf-8"))
        if "headers" not in case and "envelope" in case:
            event = {"specversion": "1.0", "id": path.stem, "source": "golden", "type": "llm.call.v1"}
            lines.append(json.dumps(event | {"data": case["envelope"]}))
    file = tmp_path_factory.mktemp("shapes") / "calls.jsonl"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def journals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all cases: they share the ledger and its tenants, so all of it is held against all of them."""
    return tmp_path_factory.mktemp("journals")


def _sending(stack: RunningStack, shapes: Path, journal: Path, *, seed: int) -> subprocess.Popen[str]:
    count = sum(1 for line in shapes.read_text(encoding="utf-8").splitlines() if line)
    command = [
        sys.executable, "-m", "tokenledger.cli", "send", str(shapes), "--quiet", "--tenants", "4",
        "--repeat", str(_RECORDS // count), "--duplicates", "5%", "--late", "2%", "--disorder", "600",
        "--now", _NOW, "--rate", str(_RATE), "--seed", str(seed), "--journal", str(journal),
    ]  # fmt: skip
    return subprocess.Popen(
        command,
        env=os.environ | stack.layout.client_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _ended_well(sender: subprocess.Popen[str]) -> None:
    said, _ = sender.communicate(timeout=180)
    assert sender.returncode == 0, said


def _ledger_is_right(stack: RunningStack, journal: Path) -> None:
    kafka = KafkaSide(stack.layout.kafka_bootstrap)
    deadline = time.monotonic() + _CAUGHT_UP_WITHIN_S
    with psycopg.connect(stack.layout.dsn("analyst"), autocommit=True) as connection:
        while found := verify(connection, kafka):
            assert time.monotonic() < deadline, "\n".join(map(str, found))
            time.sleep(0.5)
        totals, differing = compare(connection, map(str, sorted(journal.parent.iterdir())))
        assert differing == []
        assert len(totals) > 100  # it compared something
        unseen = [offset for offset in _acknowledged(journal) if not _is_seen(connection, *offset)]
        assert unseen == []
    kafka.close()


def _acknowledged(journal: Path) -> set[tuple[int, int]]:
    """Partition and offset of every hundredth record, and of the first and last."""
    found = [(one.raw.partition, one.raw.offset) for one in read([str(journal)], Options(), on_problem=print)]
    assert len(found) > _RECORDS // 2
    return {*found[::100], found[0], found[-1]}


def _is_seen(connection: psycopg.Connection[tuple[object, ...]], partition: int, offset: int) -> bool:
    row = connection.execute(
        "SELECT count(*) FROM origin_ranges WHERE topic = %s AND partition = %s AND seen @> %s::bigint",
        [RAW.name, partition, offset],
    ).fetchone()
    return row is not None and row[0] == 1


@pytest.mark.parametrize(
    ("seed", "name"),
    [*enumerate(("writer", "compact", "postgres", "taskmanager", "kafka", "jobmanager"), start=11)],
)
def test_a_process_killed_under_load_loses_and_doubles_nothing(
    stack: RunningStack, shapes: Path, journals: Path, seed: int, name: str
) -> None:
    journal = journals / f"{name}.jsonl"
    stack.wait_until_healthy()
    sender = _sending(stack, shapes, journal, seed=seed)
    time.sleep(_KILL_AFTER_S)
    stack.kill(stack.worker_of("price_job") if name == "taskmanager" else name)
    _ended_well(sender)
    stack.wait_until_healthy()
    _ledger_is_right(stack, journal)


def test_a_killed_producer_resumes_and_its_journal_is_what_the_ledger_holds(
    stack: RunningStack, shapes: Path, journals: Path
) -> None:
    journal = journals / "producer.jsonl"
    stack.wait_until_healthy()
    sender = _sending(stack, shapes, journal, seed=31)
    time.sleep(_KILL_AFTER_S)
    sender.send_signal(signal.SIGKILL)
    sender.communicate()
    _ended_well(_sending(stack, shapes, journal, seed=31))
    _ledger_is_right(stack, journal)
