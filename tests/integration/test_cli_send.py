"""`tokenledger send` against a real broker: the journal is the log, and a stopped run is taken up where it stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from tests.integration.conftest import RunningStack
from tests.readers.recordings import CHAT, cloud_event, lines, read_all, write
from tokenledger import cli

PARTITIONS = 3


def make_topic(bootstrap: str, name: str) -> None:
    topic = NewTopic(name, num_partitions=PARTITIONS, replication_factor=1,
                     config={"message.timestamp.type": "LogAppendTime"})  # fmt: skip
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for made in admin.create_topics([topic]).values():
        made.result(timeout=20)


def log_of(bootstrap: str, topic: str) -> dict[tuple[int, int], Any]:
    """Everything the topic holds, by partition and offset."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "tests", "enable.auto.commit": False})
    places = [TopicPartition(topic, number, 0) for number in range(PARTITIONS)]
    ends = sum(consumer.get_watermark_offsets(place, timeout=10)[1] for place in places)
    consumer.assign(places)
    held: dict[tuple[int, int], Any] = {}
    while len(held) < ends:
        for message in consumer.consume(1000, timeout=5):
            assert message.error() is None
            held[message.partition() or 0, message.offset() or 0] = message
    consumer.close()
    return held


def recorded(tmp_path: Path, count: int = 200) -> str:
    rows = [
        cloud_event({"provider": "openai", "response": CHAT | {"id": f"chatcmpl-{at}"}}, f"e{at}", f"tenant-{at % 9}")
        for at in range(count)
    ]
    return write(tmp_path, "calls.jsonl", lines(*rows) + "damaged\n")


@pytest.fixture
def bootstrap(stack: RunningStack) -> str:
    return stack.layout.kafka_bootstrap


def test_the_journal_holds_exactly_what_the_log_holds(bootstrap: str, tmp_path: Path) -> None:
    make_topic(bootstrap, "send.journal")
    journal = tmp_path / "journal.jsonl"
    command = ["send", recorded(tmp_path), "--bootstrap", bootstrap, "--topic", "send.journal", "--repeat", "5",
               "--tenants", "7", "--duplicates", "5%", "--now", "--journal", str(journal)]  # fmt: skip

    assert cli.main(command) == 0

    log = log_of(bootstrap, "send.journal")
    found, _ = read_all(str(journal))
    assert {(one.raw.partition, one.raw.offset) for one in found} == log.keys()
    for one in found:
        message = log[one.raw.partition, one.raw.offset]
        assert message.value() == one.raw.value
        assert message.key() == one.raw.key
        assert dict(message.headers()) == one.raw.headers
        assert message.timestamp()[1] * 1000 == one.raw.append_at_us


def test_records_of_one_key_lie_in_one_partition(bootstrap: str, tmp_path: Path) -> None:
    make_topic(bootstrap, "send.keys")
    command = ["send", recorded(tmp_path), "--bootstrap", bootstrap, "--topic", "send.keys", "--duplicates", "0.5"]

    assert cli.main(command) == 0

    partitions: dict[bytes, set[int]] = {}
    for (partition, _), message in log_of(bootstrap, "send.keys").items():
        partitions.setdefault(message.key(), set()).add(partition)
    assert {len(places) for places in partitions.values()} == {1}
    assert {place for places in partitions.values() for place in places} == set(range(PARTITIONS))


def test_an_interrupted_run_is_taken_up_and_sends_every_record(bootstrap: str, tmp_path: Path) -> None:
    make_topic(bootstrap, "send.resume")
    journal = tmp_path / "journal.jsonl"
    command = [
        sys.executable, "-m", "tokenledger.cli", "send", recorded(tmp_path), "--bootstrap", bootstrap,
        "--topic", "send.resume", "--repeat", "20", "--duplicates", "0.1", "--journal", str(journal),
    ]  # fmt: skip
    slow = subprocess.Popen([*command, "--rate", "500"])
    wait_for_lines(journal, 100)
    slow.send_signal(signal.SIGINT)
    assert slow.wait(60) == 130
    interrupted = len(journal.read_text().splitlines())

    done = subprocess.run(command, check=False, timeout=120)

    numbers = [json.loads(line)["n"] for line in journal.read_text().splitlines()]
    assert done.returncode == 0
    assert 100 <= interrupted < len(numbers)
    assert sorted(numbers) == list(range(len(numbers)))
    assert len(numbers) >= 201 * 20
    assert len(log_of(bootstrap, "send.resume")) == len(numbers)


def test_a_killed_run_is_taken_up_and_loses_no_record(bootstrap: str, tmp_path: Path) -> None:
    """Records acknowledged but not yet written down are sent again: the same ids, so the ledger counts them once."""
    make_topic(bootstrap, "send.kill")
    journal = tmp_path / "journal.jsonl"
    command = [
        sys.executable, "-m", "tokenledger.cli", "send", recorded(tmp_path), "--bootstrap", bootstrap,
        "--topic", "send.kill", "--repeat", "20", "--journal", str(journal),
    ]  # fmt: skip
    slow = subprocess.Popen([*command, "--rate", "800"])
    wait_for_lines(journal, 50)
    os.kill(slow.pid, signal.SIGKILL)
    slow.wait(60)

    assert subprocess.run(command, check=False, timeout=120).returncode == 0

    numbers = [json.loads(line)["n"] for line in journal.read_text().splitlines()]
    keys = {message.key() for message in log_of(bootstrap, "send.kill").values()}
    assert sorted(numbers) == list(range(201 * 20))
    assert len(keys) == 201 * 20


def wait_for_lines(path: Path, count: int) -> None:
    deadline = time.monotonic() + 60
    while not path.exists() or len(path.read_bytes().splitlines()) < count:
        assert time.monotonic() < deadline, f"{path} has no {count} lines after a minute"
        time.sleep(0.05)


def test_a_broker_that_is_not_there_is_said_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = cli.main(["send", recorded(tmp_path), "--bootstrap", "127.0.0.1:1"])

    assert status == 2
    assert "no Kafka broker answers at 127.0.0.1:1; start the stack with `make up`" in capsys.readouterr().err


def test_a_topic_that_is_not_there_is_named(bootstrap: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = cli.main(["send", recorded(tmp_path), "--bootstrap", bootstrap, "--topic", "no.such"])

    assert status == 2
    assert "topic no.such" in capsys.readouterr().err
