"""What a ledger's size costs: its writer and the product's own queries on 0, 10 and 50 million lines, in one run.

Everything is asked through the product's functions. The empty ledger is written in turns with the filled one, batch by
batch, so the ratio holds on a busy machine. 50 million lines take 28 GB of disk and half an hour on quiet cores:
`uv run python -m benchmarks.ledger_size [--lines 10000000 50000000] [--records 80000]`.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Final, NamedTuple

import psycopg
from psycopg import sql

from benchmarks.filled_ledger import BATCH_CALLS, LINES_A_CALL, Admin, Filling, bytes_on_disk
from benchmarks.writer_vs_copy import workload
from ledger import kafka as ledger_kafka
from ledger import store
from ledger import writer as ledger_writer
from ledger.as_of import changes, standing
from ledger.compact import compact
from ledger.costs import Period, table
from ledger.database import Connection, connect
from ledger.kafka import Read
from ledger.migrate import migrate
from ledger.private_postgres import AS_DEPLOYED, Server, running
from ledger.rejected import Wanted, groups
from ledger.settings import Settings
from ledger.verify import report
from serving.gateway.spending import charges
from tokenledger.records.topics import PRICED

_PLACE: Final = (PRICED.name, 0)
_DAY_US: Final = 86_400_000_000
_TIMES: Final = 7
_FILL_FAST: Final = ("fsync", "full_page_writes")
"""What a ledger that is only being filled does without."""

Query = Callable[[Connection, int], object]
"""A connection, and the instant the ledger ends."""


class Asked(NamedTuple):
    """One of the product's questions."""

    user: str
    ask: Query
    times: int = _TIMES


def _gateway_changes(connection: Connection, end_us: int) -> object:
    return charges(connection, [], since_us=end_us - 60_000_000, tenants=_TENANTS, now_us=end_us)


def _gateway_whole(connection: Connection, end_us: int) -> object:
    return charges(connection, [], since_us=None, tenants=_TENANTS, now_us=end_us)


_TENANTS: Final = [f"tenant-{number:02}" for number in range(50)]
QUERIES: Final[dict[str, Asked]] = {
    "gateway: what changed since the last look": Asked("gateway", _gateway_changes),
    "gateway: spend of the month, at its start": Asked("gateway", _gateway_whole),
    "costs changed since yesterday": Asked(
        "analyst", lambda c, end_us: changes(c, by=("tenant",), since_us=end_us - _DAY_US, until_us=end_us)
    ),
    "costs as of yesterday": Asked(
        "analyst", lambda c, end_us: standing(c, by=("tenant",), until_us=end_us - _DAY_US), 3
    ),
    "cost_daily of one tenant, one week": Asked(
        "analyst",
        lambda c, end_us: c.execute(
            "SELECT * FROM rollups WHERE tenant_id = 'tenant-03' AND bucket_start >= to_timestamp(%s)",
            ((end_us - 7 * _DAY_US) // 1_000_000,),
        ).fetchall(),
    ),
    "costs of one day, by tenant and feature": Asked(
        "analyst", lambda c, end_us: table(c, by=("tenant", "feature"), period=Period(end_us - _DAY_US, end_us))
    ),
    "rejected records of one week, by reason": Asked(
        "keeper", lambda c, end_us: groups(c, Wanted(since_us=end_us - 7 * _DAY_US), by=("reason",))
    ),
    "verify: every sum of the whole ledger": Asked("analyst", lambda c, _: report(c, None), 1),
    "one call by its id": Asked(
        "analyst",
        lambda c, _: c.execute("SELECT * FROM cost_by_request WHERE call_id = 14123457").fetchall(),
    ),
}  # fmt: skip


class Writing:
    """One ledger's writer, measured batch by batch."""

    def __init__(self, server: Server, name: str) -> None:
        self.connection: Connection = connect(server.settings(name), application=name)
        self.connection.execute(
            "INSERT INTO offsets (topic, partition, next_offset) VALUES (%s, %s, 0) ON CONFLICT DO NOTHING", _PLACE
        )
        store.prepare(self.connection, synchronous_commit="on")
        self.state = store.load_state(self.connection)
        self.wall_s: list[float] = []

    def write(self, values: list[bytes], now_us: int) -> None:
        """One batch, as the writer takes it from the topic."""
        first = self.state.offsets[_PLACE]
        reads = [Read(*_PLACE, first + index, value, list) for index, value in enumerate(values)]
        started_s = time.perf_counter()
        ledger_writer.write(self.connection, self.state, reads, decode=ledger_kafka.received, now_us=now_us)
        self.wall_s.append(time.perf_counter() - started_s)


def writers(server: Server, names: tuple[str, str], *, records: int, turn: int) -> tuple[float, float]:
    """Records a second of both ledgers, from the median batch of each."""
    sides = [Writing(server, name) for name in names]
    start_us = time.time_ns() // 1000
    for values in workload(records, batch=BATCH_CALLS, first_partition=8 + 4 * turn, start_us=start_us):
        for side in sides if len(sides[0].wall_s) % 2 else reversed(sides):
            side.write(values, time.time_ns() // 1000)
    for side in sides:
        while compact(side.connection):
            pass
        side.connection.close()
    one, other = (BATCH_CALLS / statistics.median(side.wall_s) for side in sides)
    return one, other


def asked(settings: Callable[[str], Settings], end_us: int) -> dict[str, float]:
    """Median milliseconds of every question."""
    found = {}
    for name, query in QUERIES.items():
        with connect(settings(query.user), application="ledger-size") as connection:
            taken = []
            for _ in range(query.times):
                started_s = time.perf_counter()
                query.ask(connection, end_us)
                taken.append(1000 * (time.perf_counter() - started_s))
        found[name] = statistics.median(taken)
    return found


def tell(server: Server, admin: Admin, *, lines: int, records: int, turn: int, end_us: int) -> None:
    """Print the figures of the filled ledger as it is."""
    admin.execute("VACUUM (ANALYZE)")
    admin.execute("CHECKPOINT")
    sizes = bytes_on_disk(admin)
    [calls] = admin.execute("SELECT count(*) FROM postings").fetchone() or (0,)
    big = ", ".join(f"{name} {size / calls:.0f}" for name, size in list(sizes.items())[:6])
    print(f"\n{lines:,} lines, {calls:,} calls: {sum(sizes.values()) / calls:.0f} bytes a call: {big}", flush=True)
    for name, taken_ms in asked(lambda user: server.settings("filled", user=user), end_us).items():
        print(f"{taken_ms:10.1f} ms  {name}", flush=True)
    empty, filled = writers(server, ("empty", "filled"), records=records, turn=turn)
    print(f"writer {filled:.0f} records/s beside {empty:.0f} on an empty ledger: {filled / empty:.2f}", flush=True)


def main() -> None:
    """Fill, ask, write; then further back."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, nargs="+", default=[10_000_000, 50_000_000])
    parser.add_argument("--records", type=int, default=80_000)
    options = parser.parse_args()
    ledger_writer.tune_interpreter()
    end_us = time.time_ns() // 1000
    with running(AS_DEPLOYED | {"max_wal_size": "2GB"}) as server:
        for name in ("empty", "filled"):
            server.create(name)
            with psycopg.connect(server.dsn("postgres", name), autocommit=True) as made:
                migrate(made)
        with psycopg.connect(server.dsn("postgres", "filled"), autocommit=True) as admin:
            admin.execute("SET work_mem = '256MB'")
            filling = Filling(admin, calls=int(max(options.lines) / LINES_A_CALL), end_us=end_us)
            for turn, lines in enumerate(sorted(options.lines)):
                _durable(admin, is_on=False)
                batches = int(lines / LINES_A_CALL) // BATCH_CALLS
                filling.back_to(filling.last - batches * BATCH_CALLS + 1)
                _durable(admin, is_on=True)
                tell(server, admin, lines=lines, records=options.records, turn=turn, end_us=end_us)


def _durable(admin: Admin, *, is_on: bool) -> None:
    for name in _FILL_FAST:
        statement = sql.SQL("ALTER SYSTEM SET {} = {}")
        admin.execute(statement.format(sql.Identifier(name), sql.Literal("on" if is_on else "off")))
    admin.execute("SELECT pg_reload_conf()")


if __name__ == "__main__":
    main()
