"""What people do to a ledger in the middle of trouble: edit a price, charge anew, close a month, send rejects again.

Each is a command of the product, given again until it succeeds, as whoever gave it would do. What it must come to is
in the journal beforehand, so that the checker knows.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
import psycopg
from confluent_kafka import Producer

from tests.faults.check import REPLAYED_FROM
from tests.faults.journal import REFUSED_PARTITION
from tests.faults.log import TOPIC
from tests.faults.rates import PER_MILLION
from tests.faults.shapes import chat
from tests.faults.workload import Traffic
from tokenledger.records import RawEvent, Reason, Rejected
from tokenledger.records.wire import encode_rejected

if TYPE_CHECKING:
    from tests.faults.driving import Drive

_TRIES: Final = 8
_PAUSE_S: Final = 2.0
_REFUSED_BEFORE: Final = 200


class Did(NamedTuple):
    """How an operation went."""

    name: str
    tries: int
    detail: str


class Operation(NamedTuple):
    """Something people do."""

    name: str
    do: Callable[[Drive], str]
    """Does it; what it came to. `RetryError` where it did not succeed."""
    beside: tuple[str, ...]
    """The faults it is to meet, the first one that can be made."""


class RetryError(RuntimeError):
    """It did not succeed; what the command said."""


def performed(operation: Operation, drive: Drive) -> Did:
    """Do it until it succeeds. Raises RetryError where it never does."""
    for tries in range(1, _TRIES + 1):
        try:
            return Did(operation.name, tries, operation.do(drive))
        except (RetryError, subprocess.TimeoutExpired, psycopg.Error) as error:
            if tries == _TRIES:
                message = f"{operation.name} failed {tries} times: {error}"
                raise RetryError(message) from error
            time.sleep(_PAUSE_S)
    raise AssertionError


def _succeeding(drive: Drive, *arguments: str, allowed: tuple[int, ...] = (0,)) -> str:
    said = drive.command(*arguments)
    if said.status not in allowed:
        message = f"{' '.join(arguments)}: status {said.status}: {said.text[-300:]}"
        raise RetryError(message)
    # librdkafka logs into the same pipe.
    lines = [line for line in said.text.splitlines() if not line.startswith("%")]
    return lines[-1] if lines else "done"


def edit_price(drive: Drive) -> str:
    """A price that was wrong since the beginning of the run is put right."""
    edit = str(drive.folder / "edit.yaml")
    return _succeeding(drive, "prices", "add", edit, "--correct", "--reason", "learned late")


def reprice(drive: Drive) -> str:
    """Everything is charged by today's book; the writer does it between its batches."""
    asked = ("reprice", "--reason", "the book was put right", "--wait", "60", "--correct-closed")
    if drive.is_alone:
        return _succeeding(drive, *asked)
    # Others' calls are none of our business.
    return "; ".join(_succeeding(drive, *asked, "--model", model) for _, model in PER_MILLION)


def close_month(drive: Drive) -> str:
    """Last month of some tenants is closed while late calls of it still come."""
    for rank in (1, 2, 5, 8):
        tenant = f"{drive.run.prefix}-{rank:02}"
        month = time.strftime("%Y-%m", time.gmtime(drive.run.start_us / 1_000_000 - 31 * 86_400))
        said = drive.command("periods", "close", tenant, month, "--reason", "the books of the month")
        if said.status and "closed" not in said.text:
            message = f"periods close {tenant} {month}: {said.text[-300:]}"
            raise RetryError(message)
    return f"{month} of 4 tenants closed"


def replay_rejected(drive: Drive) -> str:
    """What older code refused and today's can read is sent again; the rest is left alone."""
    if not (drive.folder / "refused.jsonl").exists():
        _refuse(drive)
    # Status 1: some would be rejected again, which is so.
    return _succeeding(drive, "rejected", "replay", "--reason", "unknown_shape", "--send", allowed=(0, 1))


def _refuse(drive: Drive) -> None:
    """Good records on the rejected topic, as code of an older version would have put them there."""
    traffic = Traffic(drive.run._replace(seed=drive.run.seed + 1_000_000))
    dice = random.Random(drive.run.seed)  # noqa: S311 - a seed must repeat
    producer = Producer({"bootstrap.servers": drive.layout.kafka_bootstrap, "enable.idempotence": True, "acks": "all"})
    entries = []
    for number in range(_REFUSED_BEFORE):
        n = REPLAYED_FROM + number
        record = traffic.record(traffic.caller(number), chat(dice, traffic.response_id()))
        headers = record.headers | {"faults_n": b"%d" % n}
        raw = RawEvent(
            value=record.value, headers=headers, key=record.key, topic=TOPIC, partition=REFUSED_PARTITION, offset=number
        )
        rejected = Rejected(
            reason=Reason.UNKNOWN_SHAPE, stage="normalise", detail="older code", topic=TOPIC,
            partition=REFUSED_PARTITION,
            offset=number, append_at_us=drive.run.start_us, tenant_id=record.entry["tenant"],
            event_id=record.entry["event"], code_version="0.0.1",
        )  # fmt: skip
        value, kept = encode_rejected(rejected, raw)
        producer.produce("llm.rejected.v1", value, record.key, headers=list(kept.items()))
        entries.append(json.loads(msgspec.json.encode({"n": n, **record.entry})))
    if producer.flush(120):
        message = "the rejected topic did not take the records"
        raise RetryError(message)
    lines = "".join(json.dumps(entry) + "\n" for entry in entries)
    (drive.folder / "refused.jsonl").write_text(lines, encoding="utf-8")
    _wait_until_indexed(drive)


def _wait_until_indexed(drive: Drive) -> None:
    until_s = time.monotonic() + 120
    while time.monotonic() < until_s:
        try:
            if drive.scalar("SELECT count(*) FROM rejected WHERE partition = 99") == _REFUSED_BEFORE:
                return
        except psycopg.Error:
            pass
        time.sleep(0.5)
    message = "the rejected records did not come to the ledger"
    raise RetryError(message)


def second_writer(drive: Drive) -> str:
    """Another writer is started beside the one that runs: one of the two is refused, none writes twice."""
    environment = os.environ | drive.layout.client_environment()
    with (drive.folder / "second_writer.log").open("ab") as log:
        writer = subprocess.Popen([sys.executable, "-m", "ledger.writer"], env=environment, stdout=log, stderr=log)
    try:
        writer.wait(timeout=20)
    except subprocess.TimeoutExpired:
        writer.kill()
        writer.wait()
        return f"a second writer ran for 20 s beside the first (pid {writer.pid}), then kill -9"
    return f"a second writer ended with status {writer.returncode} beside the first"


EDIT: Final = Operation("edit_price", edit_price, ("kill_postmaster",))
REPRICE: Final = Operation("reprice", reprice, ("kill_writer",))
CLOSE: Final = Operation("close_month", close_month, ("kill_backend_in_copy", "kill_writer"))
REPLAY: Final = Operation("replay_rejected", replay_rejected, ("kill_broker",))
SECOND: Final = Operation("second_writer", second_writer, ("kill_compactor",))
OPERATIONS: Final = (EDIT, REPRICE, CLOSE, REPLAY, SECOND)
