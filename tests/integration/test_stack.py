"""The local stack: starting it twice is starting it once, and no program stays dead."""

import os
import signal
from pathlib import Path

import msgspec
import psycopg
import pytest
from confluent_kafka.admin import AdminClient

from infra.local import topics
from infra.local.__main__ import main
from infra.local.layout import SUPERUSER
from infra.local.supervision import Process
from tests.integration.conftest import RunningStack
from tokenledger.records.topics import TOPICS


def _pids(stack: RunningStack) -> dict[str, int]:
    processes: list[Process] = stack.stack.supervision.processes()
    return {process.name: process.pid for process in processes}


def test_up_on_a_running_stack_changes_nothing(stack: RunningStack) -> None:
    before = _pids(stack)

    stack.stack.up()

    assert _pids(stack) == before
    assert not [line for line in stack.told[-len(before) :] if "ready in" in line]


def test_what_is_stopped_stays_stopped_and_up_starts_it_again(stack: RunningStack) -> None:
    before = _pids(stack)
    stack.stack.stop(("compact", "watch"))
    assert {name for name, pid in _pids(stack).items() if not pid} - {n for n, pid in before.items() if not pid} == {
        "compact",
        "watch",
    }
    stack.stack.up()
    after = _pids(stack)
    assert {name for name, pid in after.items() if pid != before[name]} == {"compact", "watch"}
    with pytest.raises(ValueError, match="no program 'writre'; there are postgres, kafka"):
        stack.stack.stop(("writre",))


def test_every_topic_is_as_the_table_says(stack: RunningStack) -> None:
    made, differences = topics.ensure(stack.layout.kafka_bootstrap)

    assert (made, differences) == ([], [])
    there = AdminClient({"bootstrap.servers": stack.layout.kafka_bootstrap}).list_topics(timeout=10).topics
    assert {topic.name: topic.partitions for topic in TOPICS}.items() <= {
        name: len(metadata.partitions) for name, metadata in there.items()
    }.items()


def test_a_topic_that_differs_from_the_table_is_named(stack: RunningStack, monkeypatch: pytest.MonkeyPatch) -> None:
    other = [msgspec.structs.replace(topic, config={**topic.config, "retention.ms": "1"}) for topic in TOPICS]
    monkeypatch.setattr(topics, "TOPICS", other)

    made, differences = topics.ensure(stack.layout.kafka_bootstrap)

    assert made == []
    assert len(differences) == len(TOPICS)
    assert all("retention.ms is" in line and "the table says 1" in line for line in differences)


def test_a_password_is_asked_over_tcp_and_none_over_the_private_socket(stack: RunningStack) -> None:
    with psycopg.connect(stack.layout.dsn(SUPERUSER)) as connection:
        assert connection.execute("select current_user").fetchone() == (SUPERUSER,)

    over_tcp = f"host=127.0.0.1 port={stack.layout.ports.postgres} dbname=postgres user={SUPERUSER}"
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(over_tcp)


@pytest.mark.parametrize(
    "name",
    [
        "postgres",
        "kafka",
        "redis",
        "jobmanager",
        "taskmanager",
        "price_job",
        "windows_job",
        "writer",
        "compact",
        "watch",
        "pusher",
    ],
)
def test_a_killed_program_comes_back_and_the_stack_is_healthy(stack: RunningStack, name: str) -> None:
    dead = stack.kill(name)

    stack.wait_until(lambda: stack.pid(name) not in (0, dead), f"{name} to have a new process")
    stack.wait_until_healthy()


def test_a_killed_supervisor_takes_its_programs_along_and_up_resumes(stack: RunningStack) -> None:
    layout = stack.layout
    with psycopg.connect(layout.dsn(SUPERUSER), autocommit=True) as connection:
        connection.execute("create table kept (n int)")
    orphans = [pid for pid in _pids(stack).values() if pid]

    os.kill(int(layout.supervisor_pid.read_text()), signal.SIGKILL)
    stack.wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in orphans), "no program to be left")
    stack.stack.up()

    stack.wait_until_healthy()
    with psycopg.connect(layout.dsn(SUPERUSER), autocommit=True) as connection:
        connection.execute("drop table kept")


def test_why_a_job_failed_last_is_told(stack: RunningStack, capsys: pytest.CaptureFixture[str]) -> None:
    stack.wait_until_healthy()
    stack.kill(stack.worker_of("price_job"))

    stack.wait_until(lambda: "failed last" in stack.stack.failure("price_job"), "the JobManager to say why")
    assert main(["--root", str(stack.layout.root), "logs", "price_job"]) == 0

    assert "TaskManager" in capsys.readouterr().out
    assert stack.stack.failure("writer") == ""
    stack.wait_until_healthy()
