"""All SQL of the write path. Every function runs inside the transaction of its caller."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import set_json_dumps
from psycopg.types.multirange import Multirange
from psycopg.types.range import Range

from ledger import copying
from ledger.adapters import ExactJsonLoader, KeyArray, KeyArrayDumper, encode_exactly
from ledger.amending import Existing
from ledger.calls import CALL_HEAD, ROW_COLUMNS
from ledger.charging import DIMENSIONS, RATE_FIELDS
from ledger.columns import priced_call
from ledger.database import Connection
from ledger.dropped import DroppedMonthError, dropped
from ledger.posting import Charged, Rows
from ledger.received import Origins, Received
from ledger.seen import Chunk, Ranges, Seen
from ledger.state import Numbered, State
from tokenledger.records import Line, PricedCall, Rejected

OffsetsByPartition = dict[tuple[str, int], int]


class AnotherWriterError(Exception):
    """Another writer works on this ledger."""


def prepare(connection: Connection, *, synchronous_commit: str) -> None:
    """Settings of a writer's session."""
    read_exactly(connection)
    set_json_dumps(encode_exactly, connection)
    connection.adapters.register_dumper(KeyArray, KeyArrayDumper)
    # Everything below looks rows up by key; a plan for a table believed small must not survive its growth.
    for name in ("enable_seqscan", "enable_hashjoin", "enable_mergejoin", "jit"):
        connection.execute("SELECT set_config(%s, 'off', false)", (name,))
    connection.execute("SELECT set_config('synchronous_commit', %s, false)", (synchronous_commit,))
    connection.execute("SELECT set_config('timezone', 'UTC', false)")


def read_exactly(connection: Connection) -> None:
    """Have JSON columns read without floats."""
    for name in ("json", "jsonb"):
        connection.adapters.register_loader(name, ExactJsonLoader)


def read_at_leisure(connection: Connection) -> None:
    """In this transaction: whoever only reads holds nobody up, and is not to be ended for thinking between answers."""
    connection.execute("SELECT set_config('idle_in_transaction_session_timeout', '10min', true)")


def load_state(connection: Connection) -> State:
    """The writer's memory as the ledger has it."""
    next_id, posted_at_us = connection.execute(
        "SELECT coalesce(max(next_id), 1), coalesce(max(posted_at_us), 0) FROM batches"
    ).fetchone() or (1, 0)
    offsets = connection.execute("SELECT topic, partition, next_offset FROM offsets").fetchall()
    return State(
        next_id=next_id,
        posted_at_us=posted_at_us,
        offsets={(topic, partition): offset for topic, partition, offset in offsets},
        numbered=_numbered(connection),
        seen=Seen(lambda chunk: _load_chunk(connection, chunk)),
    )


def _numbered(connection: Connection) -> Numbered:
    return Numbered(
        dimensions={tuple(row[1:]): row[0] for row in _numbers(connection, _DIMENSION_COLUMNS, table="dimensions")},
        rates={(row[1], tuple(row[2:])): row[0] for row in _numbers(connection, _RATE_COLUMNS, table="rates")},
        books={row[1]: row[0] for row in _numbers(connection, _BOOK_COLUMNS, table="book_versions")},
    )


def _columns(*names: str) -> sql.Composed:
    return sql.SQL(", ").join(sql.Identifier(name) for name in names)


def _numbers(connection: Connection, columns: Iterable[str], *, table: str) -> list[tuple[Any, ...]]:
    return connection.execute(sql.SQL("SELECT {} FROM {}").format(_columns(*columns), sql.Identifier(table))).fetchall()


def _load_chunk(connection: Connection, chunk: Chunk) -> Ranges:
    row = connection.execute(
        "SELECT seen FROM origin_ranges WHERE topic = %s AND partition = %s AND chunk_no = %s", chunk
    ).fetchone()
    if row is None:
        return []
    seen: Multirange[int] = row[0]
    return [(one.lower, one.upper) for one in seen if one.lower is not None and one.upper is not None]


def fence(connection: Connection, expected: OffsetsByPartition, *, newest_us: int) -> None:
    """Lock the offsets and see that they are where this writer left them, and that the newest batch is its own."""
    rows = connection.execute("SELECT topic, partition, next_offset FROM offsets ORDER BY 1, 2 FOR UPDATE").fetchall()
    found: OffsetsByPartition = {(topic, partition): offset for topic, partition, offset in rows}
    if found != expected:
        moved = {
            place: (expected.get(place), offset) for place, offset in found.items() if expected.get(place) != offset
        }
        message = f"offsets moved under this writer: {moved} (expected, found); only one may run on a ledger"
        raise AnotherWriterError(message)
    # A statement of its own: that of the lock does not see what was committed while it waited.
    (found_us,) = connection.execute("SELECT coalesce(max(posted_at_us), 0) FROM batches").fetchone() or (0,)
    if found_us != newest_us:
        message = f"the newest batch is of {found_us}, not of {newest_us}, this writer's; only one may run on a ledger"
        raise AnotherWriterError(message)


def end_holders(connection: Connection) -> int:
    """End the sessions of other writers that hold the offsets; how many.

    A writer that is frozen in the middle of a COPY holds them for as long as it likes: its session waits for bytes, and
    no timeout of the server ends that. One that only is slow writes its batch again.
    """
    ended = connection.execute(
        """
        SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE pid <> pg_backend_pid() AND datname = current_database() AND usename = current_user
            AND application_name = current_setting('application_name')
            AND pid IN (SELECT pid FROM pg_locks WHERE relation = 'offsets'::regclass AND granted)
        """
    )
    return ended.rowcount


def known_keys(connection: Connection, keys: Sequence[bytes]) -> dict[bytes, tuple[int, int]]:
    """Of these keys those the ledger knows: call_id and where to look for it first."""
    rows = connection.execute(
        "SELECT uuid_send(k.key), k.call_id, k.charged_at_us "
        "FROM unnest(%s) AS asked (key) JOIN call_keys k USING (key)",
        (KeyArray(b"".join(keys)),),
        binary=True,
    )
    return {bytes(key): (call_id, at_us) for key, call_id, at_us in rows}


def winners(connection: Connection, calls: Iterable[tuple[int, int]]) -> dict[int, tuple[bytes, int]]:
    """Fingerprint and append time of calls, by call_id; those not at the hint are missing."""
    wanted = list(calls)
    rows = connection.execute(
        """
        SELECT call_id, fingerprint, append_at_us
        FROM unnest(%s::bigint[], %s::bigint[]) AS asked (call_id, charged_at_us)
        JOIN calls USING (call_id, charged_at_us)
        """,
        ([call_id for call_id, _ in wanted], [at_us for _, at_us in wanted]),
        binary=True,
    )
    return {row[0]: row[1:] for row in rows}


_ALL_CALL_COLUMNS: Final = _columns(*ROW_COLUMNS)


def existing(
    connection: Connection, calls: Iterable[tuple[int, int]], *, writing: bool = False, whole: bool = False
) -> list[Existing]:
    """Calls with all that is kept of them; those whose charge was dropped with its month are left out, or an error.

    Calls that are no more are left out too: any may end while it is looked for, unless who looks is `writing`.
    """
    hints = dict(calls)
    cursor = connection.cursor(row_factory=dict_row)
    rows = cursor.execute(
        sql.SQL(
            "SELECT {} FROM unnest(%s::bigint[], %s::bigint[]) AS asked (call_id, charged_at_us) "
            "JOIN calls USING (call_id, charged_at_us)"
        ).format(_ALL_CALL_COLUMNS),
        (list(hints), list(hints.values())),
    ).fetchall()
    missing = sorted(hints.keys() - {row["call_id"] for row in rows})
    if missing:  # superseded since the hint was written, by a record of another month
        statement = sql.SQL("SELECT {} FROM calls WHERE call_id = ANY(%s)").format(_ALL_CALL_COLUMNS)
        rows += cursor.execute(statement, (missing,)).fetchall()
    assert not writing or len(rows) == len(hints), f"keys lead to calls that are not there: {missing}"  # noqa: S101
    lines = _lines(connection, [row["posting_id"] for row in rows])
    # One without lines may have had none.
    gone = dropped(connection, sorted({row["posting_id"] for row in rows} - lines.keys()))
    if gone and whole:
        raise DroppedMonthError
    witnesses = _witnesses(connection, list(hints))
    return [
        Existing(
            charged=Charged(*(row[name] for name in CALL_HEAD[:4])),
            id_reuse=row["id_reuse"],
            winner=priced_call(row, tuple(lines.get(row["posting_id"], ()))),
            witnesses=tuple(witnesses.get(row["call_id"], ())),
        )
        for row in sorted(rows, key=lambda row: int(row["call_id"]))
        if row["posting_id"] not in gone
    ]


def _lines(connection: Connection, postings: list[int]) -> dict[int, list[Line]]:
    rows = connection.execute(
        """
        SELECT posting_id, meter, quantity, amount_usd_pico, list_amount_usd_pico, list_pico, list_per,
            contracted_pico, contracted_per, price_id, model, matched
        FROM lines JOIN rates USING (rate_no) WHERE posting_id = ANY(%s) ORDER BY posting_id, line_no
        """,
        (postings,),
    )
    found: dict[int, list[Line]] = {}
    for posting_id, *values in rows:
        found.setdefault(posting_id, []).append(Line(**dict(zip(Line.__struct_fields__, values, strict=True))))
    return found


def _witnesses(connection: Connection, calls: list[int]) -> dict[int, list[PricedCall]]:
    rows = connection.execute(
        "SELECT call_id, record FROM witnesses WHERE call_id = ANY(%s) ORDER BY call_id, fingerprint", (calls,)
    )
    found: dict[int, list[PricedCall]] = {}
    for call_id, record in rows:
        found.setdefault(call_id, []).append(msgspec.convert(record, PricedCall))
    return found


def point_keys(connection: Connection, keys: Sequence[tuple[bytes, Charged]]) -> None:
    """Lead known keys to another call."""
    ordered = sorted(keys)
    connection.execute(
        """
        UPDATE call_keys k SET call_id = moved.call_id, charged_at_us = moved.charged_at_us
        FROM unnest(%s, %s::bigint[], %s::bigint[]) AS moved (key, call_id, charged_at_us) WHERE k.key = moved.key
        """,
        (
            KeyArray(b"".join(key for key, _ in ordered)),
            [charged.call_id for _, charged in ordered],
            [charged.charged_at_us for _, charged in ordered],
        ),
    )


def delete_calls(connection: Connection, calls: Sequence[Charged]) -> None:
    """Remove the rows for people of calls that are charged anew or no more."""
    connection.execute(
        "DELETE FROM calls USING unnest(%s::bigint[], %s::bigint[]) AS gone (call_id, charged_at_us) "
        "WHERE calls.call_id = gone.call_id AND calls.charged_at_us = gone.charged_at_us",
        ([charged.call_id for charged in calls], [charged.charged_at_us for charged in calls]),
    )


def delete_witnesses(connection: Connection, witnesses: Sequence[tuple[int, bytes]]) -> None:
    """Remove witnesses that were elected or moved."""
    connection.execute(
        "DELETE FROM witnesses w USING unnest(%s::bigint[], %s::bytea[]) AS gone (call_id, fingerprint) "
        "WHERE w.call_id = gone.call_id AND w.fingerprint = gone.fingerprint",
        ([call_id for call_id, _ in witnesses], [fingerprint for _, fingerprint in witnesses]),
    )


def flag_id_reuse(connection: Connection, calls: Sequence[Charged]) -> None:
    """Flag calls that stay as they are otherwise."""
    connection.execute(
        "UPDATE calls SET id_reuse = true FROM unnest(%s::bigint[], %s::bigint[]) AS flagged (call_id, charged_at_us) "
        "WHERE calls.call_id = flagged.call_id AND calls.charged_at_us = flagged.charged_at_us",
        ([charged.call_id for charged in calls], [charged.charged_at_us for charged in calls]),
    )


def ensure_months(connection: Connection, table: str, instants_us: Iterable[int]) -> None:
    """Make the monthly partitions that hold these instants."""
    for at_us in sorted(instants_us):
        connection.execute("SELECT ensure_month(%s::regclass, %s)", (table, at_us))


_COPY: Final = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)")
_COPY_KEYS: Final = _COPY.format(sql.Identifier("call_keys"), _columns(*copying.KEY_COLUMNS))
_COPY_POSTINGS: Final = _COPY.format(sql.Identifier("postings"), _columns(*copying.POSTING_COLUMNS))
_COPY_LINES: Final = _COPY.format(sql.Identifier("lines"), _columns(*copying.LINE_COLUMNS))
_COPY_CALLS: Final = _COPY.format(sql.Identifier("calls"), _ALL_CALL_COLUMNS)


def streams(rows: Rows) -> list[tuple[sql.Composed, bytes]]:
    """What to copy, table by table, and how."""
    found = (
        (_COPY_LINES, [posting.lines for posting in rows.postings]),
        (_COPY_CALLS, [charge.call for charge in rows.charges]),
        # In key order: neighbours on an index page are written together.
        (_COPY_KEYS, sorted(rows.keys)),
        (_COPY_POSTINGS, [posting.row for posting in rows.postings]),
    )
    return [(statement, copying.block(packed)) for statement, packed in found if packed]


def copy_rows(connection: Connection, rows: Rows) -> None:
    """Add rows to the books."""
    cursor = connection.cursor()
    for statement, stream in streams(rows):
        with cursor.copy(statement) as copy:
            copy.write(stream)
    for witness in rows.witnesses:
        cursor.execute("INSERT INTO witnesses VALUES (%s, %s, %s, %s::jsonb)", (*witness[:3], witness[3].decode()))


_DIMENSION_COLUMNS: Final = {"dim_no": "int4", **dict.fromkeys(DIMENSIONS, "text")}
_RATE_COLUMNS: Final = {"rate_no": "int4", "tenant_id": "text"} | {
    name: "int8" if name.endswith(("_pico", "_per")) else "text" for name in RATE_FIELDS
}
_BOOK_COLUMNS: Final = {"book_no": "int4", "book_version": "text"}


def add_numbers(connection: Connection, state: State) -> None:
    """Store the values this part of the batch numbered: the next part may read rows that refer to them."""
    dimensions = [(number, *values) for values, number in state.dimensions.take_unwritten()]
    rates = [(number, tenant_id, *values) for (tenant_id, values), number in state.rates.take_unwritten()]
    books = [(number, version) for version, number in state.books.take_unwritten()]
    _add(connection, dimensions, table="dimensions", columns=_DIMENSION_COLUMNS)
    _add(connection, rates, table="rates", columns=_RATE_COLUMNS)
    _add(connection, books, table="book_versions", columns=_BOOK_COLUMNS)


def _add(connection: Connection, rows: Iterable[tuple[Any, ...]], *, table: str, columns: dict[str, str]) -> None:
    if rows:
        with connection.cursor().copy(_COPY.format(sql.Identifier(table), _columns(*columns))) as copy:
            copy.set_types(list(columns.values()))
            for row in rows:
                copy.write_row(row)


def add_rejected(connection: Connection, rejected: Sequence[tuple[Received, Rejected]], posted_at_us: int) -> None:
    """Index records that were refused."""
    connection.cursor().executemany(
        """
        INSERT INTO rejected (kept_topic, kept_partition, kept_offset, reason, field, detail, stage, tenant_id,
            event_id, topic, partition, "offset", append_at_us, attempt_no, code_version, ce_source, posted_at_us)
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
        ON CONFLICT DO NOTHING
        """,
        [(one.topic, one.partition, one.offset, *_without_nul(rejected_), posted_at_us) for one, rejected_ in rejected],
    )


def _without_nul(rejected: Rejected) -> list[Any]:
    """The fields, bounded and without what no text column takes: a reason must be storable whatever it is about."""
    values = [getattr(rejected, name) for name in Rejected.__struct_fields__]
    return [
        value.encode("utf-8", "replace").decode().replace("\0", "\ufffd")[:2000] if isinstance(value, str) else value
        for value in values
    ]


def add_origins(connection: Connection, origins: Origins, seen: Iterable[tuple[Chunk, Ranges]]) -> None:
    """Count outcomes and store what was seen."""
    cursor = connection.cursor()
    cursor.executemany(
        """
        INSERT INTO origins AS o (topic, partition, first_offset, winners, losers, duplicates, rejected, redelivered)
        VALUES (%s, %s, 0, %s, %s, %s, %s, %s)
        ON CONFLICT (topic, partition) DO UPDATE SET winners = o.winners + excluded.winners,
            losers = o.losers + excluded.losers, duplicates = o.duplicates + excluded.duplicates,
            rejected = o.rejected + excluded.rejected, redelivered = o.redelivered + excluded.redelivered
        """,
        [(*place, *msgspec.structs.astuple(outcomes)) for place, outcomes in sorted(origins.items())],
    )
    cursor.executemany(
        """
        INSERT INTO origin_ranges VALUES (%s, %s, %s, %s)
        ON CONFLICT (topic, partition, chunk_no) DO UPDATE SET seen = excluded.seen
        """,
        [(*chunk, Multirange([Range(start, end) for start, end in ranges])) for chunk, ranges in sorted(seen)],
    )


def add_batch(connection: Connection, state: State, *, records: int, code_version: str) -> None:
    """Note the batch."""
    connection.execute(
        "INSERT INTO batches VALUES (%s, %s, %s, %s)", (state.posted_at_us, state.next_id(), records, code_version)
    )


def move_offsets(connection: Connection, expected: OffsetsByPartition, reached: OffsetsByPartition) -> None:
    """Compare and set: the last statement of every batch."""
    for place, offset in sorted(reached.items()):
        moved = connection.execute(
            "UPDATE offsets SET next_offset = %s WHERE topic = %s AND partition = %s AND next_offset = %s",
            (offset, *place, expected.get(place)),
        )
        if moved.rowcount != 1:
            message = f"offset of {place} is no longer {expected.get(place)}: another writer moved it"
            raise AnotherWriterError(message)
