"""The archive as a process: librdkafka's own broker in, Parquet out, and the ledger's writer beside it to compare."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pyarrow.parquet as pq
import pytest

from ledger.database import connect
from ledger.lake import manifests, reading, verifying
from ledger.private_postgres import Server
from tests.integration.test_ledger_writer import Broker, Writer
from tests.ledger.conftest import database, server, template
from tests.ledger.samples import NOW_US, call, priced
from tokenledger.records import PricedCall
from tokenledger.records.topics import PRICED, RAW

__all__ = ["database", "server", "template"]

DAY_US = 86_400_000_000
SECRET = "sk-proj-" + "Zy9" * 10


@pytest.fixture
def broker() -> Broker:
    return Broker()


class Archived:
    """The archive's process and its lake."""

    def __init__(self, folder: Path, broker: Broker, **settings: str) -> None:
        self.lake = folder / "lake"
        self.log = folder / "archive.log"
        self.consent = folder / "consent.toml"
        self.consent.write_text("[tenants.acme]\ncapture_texts = true\n")
        self.environment = os.environ | {
            "TOKENLEDGER_KAFKA_BOOTSTRAP": broker.bootstrap,
            "TOKENLEDGER_LAKE": str(self.lake),
            "TOKENLEDGER_CONSENT": str(self.consent),
            "TOKENLEDGER_LAKE_USER_KEY": str(folder / "key"),
            "TOKENLEDGER_LAKE_FLUSH_MS": "200",
            **settings,
        }
        self.process = self.start()

    def start(self) -> "subprocess.Popen[bytes]":
        """Start it."""
        command = [sys.executable, "-m", "ledger.lake.archive"]
        with self.log.open("wb") as log:
            return subprocess.Popen(command, env=self.environment, stderr=log)

    def kill(self) -> None:
        """Kill -9."""
        self.process.kill()
        self.process.wait()

    def end(self) -> tuple[int, str]:
        """Its exit status and what it said."""
        return self.process.wait(timeout=60), self.log.read_text()

    def next_offset(self, topic: str) -> int:
        """Σ of what the lake says is archived of a topic."""
        found = (json.loads(path.read_text()) for path in (self.lake / "_progress").glob("*.json"))
        return sum(one["next_offset"] for one in found if one["topic"] == topic)

    def wait(self, topic: str, records: int) -> None:
        """Until so many are in the lake."""
        self.until(lambda: self.next_offset(topic) >= records)

    def until(self, holds: Callable[[], bool]) -> None:
        """Poll; a process that ended says why."""
        deadline_s = time.monotonic() + 60
        while not holds():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline_s
            time.sleep(0.05)

    def stop(self) -> int:
        """SIGTERM; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)

    def rows(self) -> list[dict[str, Any]]:
        """Every call that counts."""
        return [row for batch in reading.calls(self.lake) for row in batch.to_pylist(maps_as_pydicts="strict")]


@pytest.fixture
def archived(tmp_path: Path, broker: Broker) -> Iterator[Archived]:
    started = Archived(tmp_path, broker)
    yield started
    started.kill()


def traffic(seed: int, records: int = 400) -> list[PricedCall]:
    """Calls of three tenants and four days, with duplicates, restatements, shared keys and unknown costs."""
    dice = random.Random(seed)  # noqa: S311
    made = []
    for offset in range(records):
        event = dice.randrange(records * 3 // 4)
        tenant = ("acme", "globex", "näive/tenant")[event % 3]
        asked = dice.randrange(1, 1_000)
        one = call(
            tenant_id=tenant,
            event_id=f"e{event}",
            event_key=f"app/e{event}",
            response_key=f"openai/r{event // 2}" if event % 5 == 0 else None,
            started_at_us=NOW_US + (event % 4) * DAY_US,
            revision=dice.choice((0, 0, 0, 1)),
            usage={"input.text": asked, "output.text": 10},
            input_tokens=asked,
            user_id=f"user-{event % 7}",
        )
        unknown = {"cost_usd_pico": None, "price_status": "partly_priced"} if event % 11 == 0 else {}
        append_at_us = NOW_US + 4 * DAY_US + offset
        made.append(priced(one, offset=offset // 4, partition=offset % 4, append_at_us=append_at_us, **unknown))
    return made


def envelope(said: str, n: int, **fields: Any) -> tuple[bytes, list[tuple[str, bytes]]]:
    """A captured chat call and its headers."""
    body = {
        "provider": "openai",
        "request": {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": said}]},
        "response": {
            "id": f"chatcmpl-{n}",
            "object": "chat.completion",
            "model": "gpt-4o-mini",
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Done."}}],
            "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9},
        },
    } | fields
    headers = {"ce_id": f"t{n}", "ce_source": "app", "ce_type": "llm.call.v1", "ce_tenantid": "acme"}
    return json.dumps(body).encode(), [(name, text.encode()) for name, text in headers.items()]


def say(broker: Broker, said: str, n: int, *, tenant: str = "acme", **fields: Any) -> None:
    value, headers = envelope(said, n, **fields)
    headers = [(name, tenant.encode() if name == "ce_tenantid" else text) for name, text in headers]
    broker.producer.produce(RAW.name, value, headers=list(headers), partition=n % 4)
    assert broker.producer.flush(10) == 0


def test_counts_and_sums_of_every_day_and_tenant_equal_the_ledgers(
    broker: Broker, archived: Archived, server: Server, database: str
) -> None:
    writer = Writer(server, database, broker)
    try:
        broker.price(*traffic(1))
        archived.wait(PRICED.name, 400)
        deadline_s = time.monotonic() + 60
        while sum(writer.outcomes()) < 400:
            assert time.monotonic() < deadline_s
            time.sleep(0.1)
        with connect(server.settings(database), application="test") as connection:
            report = verifying.verify(archived.lake, connection)
            assert report.differences == []
            winners = writer.outcomes()[0]
            assert (report.days, report.calls) == (4, winners)
            assert 100 < winners < 400, "duplicates and restatements were among them"
            for manifest in manifests.make_all(archived.lake, manifests.days(archived.lake)).values():
                manifests.write(archived.lake, manifest)
            # One row of one day taken out of the lake is named by tenant and day.
            [victim, *_] = sorted((archived.lake / "calls").glob("*/*/*.parquet"))
            victim.unlink()
            named = [str(one) for one in verifying.verify(archived.lake, connection).differences]
        assert any("ledger against lake" in one and "calls" in one for one in named)
        assert any("a file is gone" in one and victim.name in one for one in named)
    finally:
        writer.process.kill()
        writer.process.communicate()
        writer.reader.close()


def test_an_archive_that_is_killed_again_and_again_gives_the_same_calls(broker: Broker, tmp_path: Path) -> None:
    records = traffic(2, 2_000)
    for name in ("quiet", "harried"):
        (tmp_path / name).mkdir()
    key = str(tmp_path / "key")
    quiet = Archived(tmp_path / "quiet", broker, TOKENLEDGER_LAKE_USER_KEY=key)
    harried = Archived(tmp_path / "harried", broker, TOKENLEDGER_LAKE_USER_KEY=key, TOKENLEDGER_LAKE_FLUSH_MS="20")
    dice = random.Random(2)  # noqa: S311
    try:
        for first in range(0, 2_000, 500):
            broker.price(*records[first : first + 500])
            harried.wait(PRICED.name, first + 1)
            time.sleep(dice.random() * 0.1)
            harried.kill()
            harried.process = harried.start()
        harried.wait(PRICED.name, 2_000)
        quiet.wait(PRICED.name, 2_000)
        assert harried.rows() == quiet.rows()
        assert not list(harried.lake.rglob("*.partial"))
        assert harried.stop() == 0
    finally:
        quiet.kill()
        harried.kill()


def test_texts_are_kept_redacted_and_only_of_tenants_that_allow_it(broker: Broker, archived: Archived) -> None:
    say(broker, f"I am jo.bloggs@example.com, key {SECRET}", 0, user_id="u1", session_id="s1", feature="chat")
    say(broker, "globex says jo.bloggs@example.com", 1, tenant="globex")
    say(broker, "again jo.bloggs@example.com and jo.bloggs@example.com, +44 20 7946 0958", 2, user_id="u1")
    archived.wait(RAW.name, 3)
    texts = {text.event_key: text for text in reading.texts(archived.lake)}
    assert sorted(texts) == ["app#t0", "app#t2"]
    assert json.loads(texts["app#t0"].messages) == [
        {"role": "user", "content": "I am <EMAIL_ADDRESS_1>, key <SECRET_1>"}
    ]
    assert texts["app#t0"].redactions == {"EMAIL_ADDRESS": 1, "SECRET": 1}
    assert "again <EMAIL_ADDRESS_1> and <EMAIL_ADDRESS_1>, <PHONE_NUMBER_1>" in texts["app#t2"].messages
    assert json.loads(texts["app#t0"].answer or "") == {"role": "assistant", "content": "Done."}
    assert (texts["app#t0"].conversation_id, texts["app#t0"].feature) == ("s1", "chat")
    assert texts["app#t0"].user_hash == texts["app#t2"].user_hash not in {None, "u1"}
    everything = b"".join(path.read_bytes() for path in archived.lake.rglob("*") if path.is_file())
    for path in archived.lake.rglob("*.parquet"):
        everything += str(pq.read_table(path).to_pylist()).encode()
    assert b"bloggs" not in everything
    assert SECRET.encode() not in everything
    assert b"globex" not in everything


def test_consent_that_comes_later_holds_from_then_on(broker: Broker, archived: Archived) -> None:
    say(broker, "before", 0, tenant="globex")
    archived.wait(RAW.name, 1)
    archived.consent.write_text("[tenants.globex]\ncapture_texts = true\n")
    say(broker, "after", 1, tenant="globex")
    archived.wait(RAW.name, 2)
    assert [json.loads(text.messages)[0]["content"] for text in reading.texts(archived.lake)] == ["after"]


def test_consent_that_cannot_be_read_stops_the_line_and_loses_nothing(broker: Broker, archived: Archived) -> None:
    archived.wait(RAW.name, 0)
    archived.consent.write_text("[tenants.acme]\ncapture_text = true\n")
    say(broker, "hello", 0)
    status, said = archived.end()
    assert status == 1
    assert "unknown field `capture_text`" in said
    assert "capture_texts = true" in said
    archived.consent.write_text("[tenants.acme]\ncapture_texts = true\n")
    archived.process = archived.start()
    archived.wait(RAW.name, 1)
    assert len(list(reading.texts(archived.lake))) == 1


def test_what_nobody_can_read_is_counted_and_stops_nothing(broker: Broker, archived: Archived) -> None:
    broker.put(PRICED.name, b"{ not a priced call")
    broker.put(PRICED.name, None)
    broker.put(RAW.name, b"\xff\xfe", {"ce_tenantid": b"acme"})
    broker.put(RAW.name, None, {"ce_tenantid": b"acme"})
    broker.price(priced(call(), offset=0))
    say(broker, "still here", 4)
    archived.wait(PRICED.name, 3)
    archived.wait(RAW.name, 3)
    assert len(archived.rows()) == 1
    assert len(list(reading.texts(archived.lake))) == 1


def test_a_second_archive_of_the_same_lake_ends_at_once(archived: Archived) -> None:
    archived.until(lambda: "reading on" in archived.log.read_text())
    first, archived.process = archived.process, archived.start()
    try:
        status, said = archived.end()
        assert status == 1
        assert "another archive" in said
    finally:
        first.kill()
        first.wait()


def test_an_archive_without_its_progress_refuses_instead_of_doubling(broker: Broker, archived: Archived) -> None:
    broker.price(*traffic(5, 20))
    archived.wait(PRICED.name, 20)
    assert archived.stop() == 0
    shutil.rmtree(archived.lake / "_progress")
    archived.process = archived.start()
    status, said = archived.end()
    assert status == 1
    assert "restore that folder" in said


def test_a_full_disk_stops_the_line_until_there_is_room(broker: Broker, tmp_path: Path) -> None:
    small = tmp_path / "lake"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(small)], check=False)
    if mounted.returncode:
        pytest.skip("this machine mounts no small disk")
    archived = Archived(tmp_path, broker)
    try:
        broker.price(*traffic(6, 40))
        archived.wait(PRICED.name, 40)
        (small / "filler").write_bytes(b"x" * (shutil.disk_usage(small).free - 4_096))
        broker.price(*traffic(7, 40))
        archived.until(lambda: "the lake takes no files" in archived.log.read_text())
        assert archived.next_offset(PRICED.name) == 40
        assert not list(small.rglob("*.partial"))
        before = len(archived.rows())
        (small / "filler").unlink()
        archived.wait(PRICED.name, 80)
        assert len(archived.rows()) > before
        assert archived.stop() == 0
    finally:
        archived.kill()
        subprocess.run(["umount", "-l", str(small)], check=True)


def test_the_ledgers_own_role_may_compare(server: Server, database: str) -> None:
    with psycopg.connect(server.dsn("postgres", database), autocommit=True) as admin:
        assert verifying.ledger_figures(admin) == {}
