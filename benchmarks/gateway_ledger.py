"""What stands behind a gateway in production, as cheap as it can be: `python -m benchmarks.gateway_ledger`.

Reads the outbox as the shipper does (cursor once a second, segments deleted behind it) and posts finished calls to
Postgres as the writer does, so that the gateway's look at the ledger finds its attempts charged. No Kafka and no Flink:
on two cores they would take what is to be measured. A call has the columns the gateway asks for and one line a batch.
"""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
from psycopg import Connection

from ledger.keys import event_key as ledger_key
from serving.gateway import epochs
from serving.gateway.cursors import Cursor, CursorFile
from serving.gateway.envelopes import event_key
from serving.gateway.records import Intent
from serving.gateway.tailing import Place, Tail

_BATCH_S = 0.2
_SAVE_S = 1.0
_COPY = """
COPY calls (
    posting_id, revision, reading_version, explicit_leaves, known_cost_usd_pico, partition, append_at_us, dim_no,
    id_reuse, tenant_id, event_id, event_key, ce_source, provider, status, usage, usage_source, usage_reading,
    event_time_source, price_status, book_version, fingerprint, rank, topic, code_version,
    call_id, charged_at_us, started_at_us, cost_usd_pico, "offset"
) FROM STDIN
"""
_SAME = "1 0 1 0 0 0 0 1 f acme e e s openai ok {} reported openai started_at priced b \\\\x00 \\\\x00 t v".replace(
    " ", "\t"
)


class Behind:
    """One epoch, tailed and posted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._cursor = CursorFile(folder)
        known = self._cursor.cursor
        self._tail = Tail(folder, Place(known.segment, known.offset))
        self._open = {intent.event_id: intent for intent in known.open}
        self._saved_s = time.monotonic()

    def finished(self) -> list[Intent]:
        """Attempts whose outcome has come since."""
        done = []
        for one in self._tail.read():
            if isinstance(one, Intent):
                self._open[one.event_id] = one
            elif (intent := self._open.pop(one.event_id, None)) is not None:
                done.append(intent)
        return done

    def acknowledge(self, *, at_once: bool = False) -> None:
        """As the shipper does: the cursor durable, then what lies behind it deleted."""
        if not at_once and time.monotonic() - self._saved_s < _SAVE_S:
            return
        self._saved_s = time.monotonic()
        place = self._tail.place
        self._cursor.write(
            Cursor(segment=place.segment, offset=place.offset, sequence=0, open=tuple(self._open.values()))
        )
        for number in epochs.segments(self.folder):
            if number < place.segment:
                epochs.segment_path(self.folder, number).unlink()


def post(connection: Connection, epoch: str, done: list[Intent], *, first: int, cost_usd_pico: int) -> None:
    """One batch of finished calls, in one transaction."""
    now_us = time.time_ns() // 1000
    keys = [ledger_key(one.tenant_id, event_key(epoch, one.event_id)).hex() for one in done]
    with connection.transaction(), connection.cursor() as cursor:
        with cursor.copy(_COPY) as copy:
            copy.write("".join(_call_rows(len(keys), first, now_us=now_us, cost_usd_pico=cost_usd_pico)))
        with cursor.copy("COPY call_keys (key, call_id, charged_at_us) FROM STDIN") as copy:
            copy.write("".join(f"{key}\t{first + at}\t{now_us}\n" for at, key in enumerate(keys)))
        amount = len(done) * cost_usd_pico
        cursor.execute("INSERT INTO lines VALUES (1, %s, 1, %s, %s, %s, 1, 1, 0)",
                       (now_us, amount, amount, now_us // 900_000_000))  # fmt: skip
        cursor.execute("INSERT INTO batches VALUES (%s, %s, %s, 'benchmark')", (now_us, first + len(done), len(done)))


def _call_rows(count: int, first: int, *, now_us: int, cost_usd_pico: int) -> Iterator[str]:
    for number in range(first, first + count):
        yield f"{_SAME}\t{number}\t{now_us}\t{now_us}\t{cost_usd_pico}\t{number}\n"


def _prepared(connection: Connection) -> None:
    now_us = time.time_ns() // 1000
    for parent in ("calls", "lines"):
        connection.execute("SELECT ensure_month(%s::regclass, %s)", (parent, now_us))
    connection.execute("""INSERT INTO dimensions (dim_no, tenant_id, feature, provider, model)
        VALUES (1, 'acme', 'search', 'openai', 'gpt-4o-mini') ON CONFLICT DO NOTHING""")


def main() -> int:
    """`OUTBOX DSN COST_USD_PICO`; until told to end."""
    root, dsn, cost = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    asked_to_stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: asked_to_stop.append(number))
    behind: dict[Path, Behind] = {}
    with psycopg.connect(dsn, autocommit=True) as connection:
        _prepared(connection)
        connection.execute("SET synchronous_commit = off")
        found = connection.execute("SELECT coalesce(max(next_id), 0) FROM batches").fetchone()
        posted = found[0] if found else 0
        while not asked_to_stop and os.getppid() != 1:
            time.sleep(_BATCH_S)
            for folder in epochs.listed(root):
                with contextlib.suppress(FileNotFoundError):
                    epoch = behind.get(folder) or behind.setdefault(folder, Behind(folder))
                    while done := epoch.finished():
                        post(connection, folder.name, done, first=posted, cost_usd_pico=cost)
                        posted += len(done)
                    epoch.acknowledge()
        for epoch in behind.values():
            epoch.acknowledge(at_once=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
