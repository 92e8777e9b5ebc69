"""A second ledger from the log, and whether it says what the first one says.

The log is the truth that both are made of, so a rebuilt ledger equals the original per call and per meter, as far back
as the log reaches. Interrupted, it reads on where it was: where to read stands in the new database.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import msgspec
import psycopg
from psycopg import sql

from ledger import store
from ledger.database import Connection, connect
from ledger.kafka import KafkaSide, received
from ledger.migrate import migrate
from ledger.settings import Settings
from ledger.topics import register_topics
from ledger.writer import write
from tokenledger.records.topics import PRICED, RAW, REJECTED

_CALLS: Final = """
    SELECT tenant_id, encode(fingerprint, 'hex'), event_key, known_cost_usd_pico, cost_usd_pico, price_status,
        id_reuse
    FROM calls ORDER BY tenant_id COLLATE "C", fingerprint, event_key COLLATE "C"
"""
_METERS: Final = """
    SELECT tenant_id, provider, coalesce(model, ''), meter, sum(quantity)::text, sum(amount_usd_pico)::text
    FROM cost_by_meter
    WHERE meter <> 'adjustment.manual'  -- by hand: no log has it
    GROUP BY 1, 2, 3, 4
"""
_OFFSETS: Final = "SELECT topic, partition, next_offset FROM offsets"
_NAMED_AT_MOST: Final = 20
_FETCH_ROWS: Final = 10_000

Place = tuple[str, int]


class Progress(NamedTuple):
    """How far a rebuild is."""

    done: int
    """Records read."""
    left: int
    """Records to the end of the log as it was at the start."""


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """The original beside the rebuilt ledger."""

    calls: int
    """Calls that are in both and equal."""
    only_original: int
    """Calls the original alone has: older than the log reaches, or come since."""
    only_rebuilt: int
    """Calls the rebuilt ledger alone has."""
    differing: int
    """Calls in both whose cost or status differs."""
    meters: int
    """Totals by tenant, provider, model and meter that differ."""
    log_starts_later: bool
    """Whether the log no longer holds its first records."""
    unread: int
    """Records the original has read and the rebuilt ledger has not."""
    named: tuple[str, ...]
    """Some of the differences, in words."""

    @property
    def is_equal(self) -> bool:
        """Whether both say the same."""
        return not (self.only_original or self.only_rebuilt or self.differing or self.meters)


def make_database(admin_dsn: str, name: str) -> None:
    """A database of that name with today's schema; one that is there is brought up to date."""
    with psycopg.connect(admin_dsn, autocommit=True) as admin:
        if admin.execute("SELECT FROM pg_database WHERE datname = %s", (name,)).fetchone() is None:
            admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    with psycopg.connect(admin_dsn, dbname=name, autocommit=True) as admin:
        migrate(admin)


def rebuild(settings: Settings, *, on_progress: Callable[[Progress], None], stop: Callable[[], bool]) -> bool:
    """Write the log, up to its present end, into the database the settings name; False if it was stopped before."""
    kafka = KafkaSide(settings.kafka_bootstrap)
    try:
        with connect(settings, application="tokenledger-rebuild") as connection:
            store.prepare(connection, synchronous_commit="off")
            facts = kafka.facts([PRICED.name, REJECTED.name, RAW.name])
            register_topics(connection, facts, consumed=(PRICED.name, REJECTED.name))
            state = store.load_state(connection)
            ends = {
                (topic, partition): end
                for topic in (PRICED.name, REJECTED.name)
                for partition, (_, end) in facts[topic].spans.items()
            }
            kafka.assign(state.offsets)
            done = 0
            while left := sum(max(end - state.offsets[place], 0) for place, end in ends.items()):
                if stop():
                    return False
                batch = kafka.batch(records=settings.batch_records, wait_ms=settings.batch_wait_ms)
                if batch:
                    write(connection, state, batch, decode=received, now_us=time.time_ns() // 1_000)
                done += len(batch)
                on_progress(Progress(done, left))
    finally:
        kafka.close()
    return True


def compare(original: Connection, rebuilt: Connection, *, log_starts_later: bool) -> Comparison:
    """Every call and every total of both."""
    counts = {"calls": 0, "only_original": 0, "only_rebuilt": 0, "differing": 0}
    named: list[str] = []
    for what, one in _merged(_rows(original), _rows(rebuilt)):
        counts[what] += 1
        if what != "calls" and len(named) < _NAMED_AT_MOST:
            named.append(f"{what.replace('_', ' ')}: {one[0]}/{one[2]}, {one[3]} pico-USD")
    meters = _meters(original) ^ _meters(rebuilt)
    return Comparison(
        **counts,
        meters=len({total[:4] for total in meters}),
        log_starts_later=log_starts_later,
        unread=_unread(original, rebuilt),
        named=tuple(named),
    )


def _rows(connection: Connection) -> Iterator[tuple[Any, ...]]:
    with connection.transaction(), connection.cursor(name="calls") as cursor:
        cursor.itersize = _FETCH_ROWS
        yield from cursor.execute(_CALLS)


def _merged(
    original: Iterator[tuple[Any, ...]], rebuilt: Iterator[tuple[Any, ...]]
) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Two ordered readings side by side."""
    one, other = next(original, None), next(rebuilt, None)
    while one is not None or other is not None:
        key, other_key = one and _key(one), other and _key(other)
        if other_key is None or (key is not None and key < other_key):
            assert one is not None  # noqa: S101  (one of the two is there)
            yield "only_original", one
            one = next(original, None)
        elif key is None or other_key < key:
            assert other is not None  # noqa: S101  (as above)
            yield "only_rebuilt", other
            other = next(rebuilt, None)
        else:
            assert one is not None  # noqa: S101  (as above)
            yield ("calls" if one == other else "differing"), one
            one, other = next(original, None), next(rebuilt, None)


def _key(row: tuple[Any, ...]) -> tuple[bytes, ...]:
    return tuple(str(value or "").encode() for value in row[:3])


def _meters(connection: Connection) -> set[tuple[Any, ...]]:
    return set(connection.execute(_METERS).fetchall())


def _unread(original: Connection, rebuilt: Connection) -> int:
    def offsets(connection: Connection) -> dict[Place, int]:
        return {(topic, partition): offset for topic, partition, offset in connection.execute(_OFFSETS)}

    there = offsets(rebuilt)
    return sum(max(offset - there.get(place, 0), 0) for place, offset in offsets(original).items())
