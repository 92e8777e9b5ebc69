"""The checker is held to what it is for: a ledger that was made wrong on purpose must turn it red, the right one green.

Each case breaks one thing that keeps the ledger right, on a real Postgres, and feeds it the generator's traffic.
"""

import contextlib
import json
from collections.abc import Sequence
from functools import cache
from typing import Any

import msgspec
import psycopg
import pytest

from ledger import compact, store
from ledger.batching import apply
from ledger.private_postgres import Server
from ledger.received import Received
from tests.faults.check import Verdict, compared, loaded
from tests.faults.journal import Ack, Journal, Logged
from tests.faults.test_workload import book
from tests.faults.workload import Run, Traffic
from tests.ledger.books import PLACE, Books, through_the_wire
from tokenledger import merge
from tokenledger.process import Context, process
from tokenledger.records.raw import RawEvent

pytestmark = pytest.mark.slow
_START_US = 1_795_000_000_000_000
_RUN = Run(seed=9, events=2_500, start_us=_START_US, rate=1_000, prefix="faults")
_BATCH, _PARTITIONS, _CRASHES_AT = 250, 4, 3


class CrashError(Exception):
    """The writer is dead."""


@cache
def _traffic() -> tuple[dict[int, dict[str, Any]], list[Received], list[Logged]]:
    """What the journal says, what price_job makes of it, and the log."""
    context = Context(book())
    entries: dict[int, dict[str, Any]] = {}
    log: list[Logged] = []
    received: list[Received] = []
    for event in Traffic(_RUN).events():
        entry = json.loads(msgspec.json.encode({"n": event.n, **event.entry}))
        entries[event.n] = entries[entry["first"]] if "first" in entry else entry
        place = Logged(sum(event.key) % _PARTITIONS, event.n, _START_US + event.n * 1_000, event.n)
        raw = RawEvent(
            value=event.value, headers=event.headers, key=event.key, topic="llm.raw.v1",
            partition=place.partition, offset=place.offset, append_at_us=place.at_us,
        )  # fmt: skip
        log.append(place)
        received.append(Received(*PLACE, event.n, process(raw, context)))
    return entries, received, log


class World:
    """A log, a journal of it, and a writer that may die and come back."""

    def __init__(self, server: Server, database: str, books: Books) -> None:
        self.server, self.database, self.books = server, database, books
        entries, self.received, log = _traffic()
        self.log = list(log)
        acks = [Ack(one.n, one.partition, one.offset) for one in self.log]
        self.journal = Journal(_RUN._asdict(), entries, acks)

    @property
    def admin_dsn(self) -> str:
        """Past every policy."""
        return self.server.dsn("postgres", self.database)

    def write_all(self) -> None:
        """From where the ledger says to the end of the log, dying where it dies."""
        while batch := self._next():
            try:
                apply(
                    self.books.connection, self.books.state, batch, decode=through_the_wire,
                    now_us=_START_US + batch[0].offset * 1_000, part_records=100,
                )  # fmt: skip
            except CrashError:
                self.books = Books(self.books.connection)
        while compact.compact(self.books.connection):
            pass

    def _next(self) -> Sequence[Received]:
        first = self.books.state.offsets[PLACE]
        return self.received[first : first + _BATCH]

    def verdict(self) -> Verdict:
        """What the checker makes of it."""
        return compared(self.journal, self.log, loaded(self.admin_dsn, _RUN.prefix))

    def execute(self, statement: psycopg.sql.SQL, *values: object) -> None:
        """As the owner of everything, in a transaction of its own."""
        with psycopg.connect(self.admin_dsn, autocommit=True) as admin:
            admin.execute(statement, values)


@pytest.fixture
def world(server: Server, database: str, books: Books) -> World:
    return World(server, database, books)


def _crash_once(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The third batch dies in the middle."""
    right = getattr(store, name)
    calls = iter(range(10_000))

    def dying(*arguments: Any, **named: Any) -> Any:
        if next(calls) == _CRASHES_AT:
            raise CrashError
        return right(*arguments, **named)

    monkeypatch.setattr(store, name, dying)


def _broken(world: World) -> set[str]:
    world.write_all()
    return world.verdict().broken


@pytest.mark.parametrize("dies_in", ["copy_rows", "add_origins", "move_offsets"])
def test_the_ledger_as_it_is_turns_the_checker_green_also_when_the_writer_dies_in_a_batch(
    world: World, monkeypatch: pytest.MonkeyPatch, dies_in: str
) -> None:
    _crash_once(monkeypatch, dies_in)
    world.write_all()
    verdict = world.verdict()
    assert verdict.problems == []
    assert verdict.figures["calls"] > 2_000
    assert verdict.figures["known cost, pico-USD"] > 0
    assert (verdict.figures["lost"], verdict.figures["doubled"]) == (0, 0)


def _blind(monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer looks for no keys: only the constraint stands between a duplicate and a second charge."""
    monkeypatch.setattr(store, "known_keys", lambda *_: {})


def test_a_writer_that_looks_for_no_keys_is_refused_by_the_unique_key(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    _blind(monkeypatch)
    with pytest.raises(psycopg.errors.UniqueViolation):
        world.write_all()


def test_without_the_unique_key_calls_are_doubled_and_the_checker_sees_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.execute(psycopg.sql.SQL("ALTER TABLE call_keys DROP CONSTRAINT call_keys_pkey"))
    _blind(monkeypatch)
    assert {"I1", "I2"} <= _broken(world)
    assert world.verdict().figures["doubled"] > 10


def test_offsets_that_are_committed_before_the_rows_lose_a_batch_and_the_checker_sees_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def first_of_all(_connection: object, expected: store.OffsetsByPartition, **_: object) -> None:
        reached = min(expected[PLACE] + _BATCH, len(world.received))
        world.execute(psycopg.sql.SQL("UPDATE offsets SET next_offset = %s"), reached)

    monkeypatch.setattr(store, "fence", first_of_all)
    monkeypatch.setattr(store, "move_offsets", lambda *_: None)
    _crash_once(monkeypatch, "copy_rows")
    assert {"I1", "I2", "I3"} <= _broken(world)
    assert world.verdict().figures["lost"] > 10


def test_a_ledger_that_ignores_rank_charges_the_wrong_record_and_the_checker_sees_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = merge._elect

    def first_come(records: list[Any], response_key: str | None, *, id_reuse: bool) -> Any:
        found = right(records, response_key, id_reuse=id_reuse)
        first, *others = sorted((found.winner, *found.losers), key=lambda one: one.origin)
        return msgspec.structs.replace(found, winner=first, losers=tuple(others))

    monkeypatch.setattr(merge, "_elect", first_come)
    assert "I2" in _broken(world)


def test_a_staged_part_that_is_lost_is_seen(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    right = store.copy_rows
    calls = iter(range(10_000))
    monkeypatch.setattr(store, "copy_rows", lambda *given: None if next(calls) == _CRASHES_AT else right(*given))
    # A later record of a lost call stops the writer, which finds a key that leads nowhere.
    with contextlib.suppress(AssertionError):
        world.write_all()
    assert {"I1", "I2"} <= world.verdict().broken


def test_a_delta_that_is_folded_twice_is_seen(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compact, "_FOLD_LATENCY", compact._FOLD_LINES)
    assert _broken(world) == {"I2"}


def test_a_delta_that_is_passed_over_is_seen(world: World) -> None:
    world.write_all()
    world.execute(psycopg.sql.SQL("DELETE FROM rollups_15m WHERE ctid = (SELECT min(ctid) FROM rollups_15m)"))
    assert world.verdict().broken == {"I2"}


def test_a_record_that_vanished_from_the_log_is_a_loss(world: World) -> None:
    world.write_all()
    gone = world.log.pop(100)
    assert world.verdict().figures["lost"] >= 1
    assert any(str(gone.n) in str(problem) for problem in world.verdict().problems if problem.invariant == "I1")


def test_a_line_that_is_one_pico_off_is_seen(world: World) -> None:
    world.write_all()
    world.execute(
        psycopg.sql.SQL(
            "UPDATE lines SET amount_usd_pico = amount_usd_pico + 1 WHERE posting_id = (SELECT min(posting_id) FROM "
            "lines) AND line_no = 0"
        )
    )
    assert world.verdict().broken == {"I2", "I4"}
    assert world.verdict().figures["money difference, pico-USD"] == 1
