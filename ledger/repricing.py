"""Charging calls anew: what another book would change, the queue of what shall be, and the writer's part of it.

Numbers in the ledger are given by its one writer, so it alone posts. The command finds what differs and queues it; the
writer takes from the queue between its batches, in transactions of its own: reversal and new charge, or neither.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from psycopg import sql

from ledger import store
from ledger.amending import Existing
from ledger.batching import Batch, Repricing
from ledger.closed import Closed, read_closed
from ledger.database import Connection
from ledger.received import PricedFromWire, Received, decode_priced
from ledger.state import State
from ledger.writing import writing
from tokenledger.process import Context, price_again
from tokenledger.records import PricedCall
from tokenledger.records.wire import encode_priced, encode_records

TAKEN_AT_ONCE: Final = 500
_READ_AT_ONCE: Final = 1_000
_DAY_US: Final = 86_400_000_000
_FIND: Final = sql.SQL("""
SELECT call_id, charged_at_us FROM calls
WHERE book_version <> %(book)s AND charged_at_us >= %(since)s AND charged_at_us < %(until)s
    AND (%(tenant)s::text IS NULL OR tenant_id = %(tenant)s)
    AND (%(model)s::text IS NULL OR %(model)s IN (priced_model, response_model, request_model))
ORDER BY charged_at_us, call_id
""")
# What people asked for is not replaced by what goes by itself, and a reading by nothing that would not be one.
_QUEUE: Final = """
    INSERT INTO repricings AS waits (call_id, charged_at_us, posting_id, run_no, corrects, record, again)
    SELECT call_id, charged_at_us, posting_id, %s, corrects, record, again
    FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::boolean[], %s::bytea[], %s::bytea[])
        AS asked (call_id, charged_at_us, posting_id, corrects, record, again)
    ON CONFLICT (call_id) DO UPDATE SET charged_at_us = EXCLUDED.charged_at_us, posting_id = EXCLUDED.posting_id,
        run_no = EXCLUDED.run_no, corrects = EXCLUDED.corrects, record = EXCLUDED.record, again = EXCLUDED.again
    WHERE EXISTS (
        SELECT FROM repricing_runs before, repricing_runs now
        WHERE before.run_no = waits.run_no AND now.run_no = EXCLUDED.run_no
            AND (now.kind IN (before.kind, 'reread') OR now.kind = 'reprice' AND before.kind <> 'reread'))
    RETURNING call_id
"""
_RUN: Final = """
    INSERT INTO repricing_runs (reason, book_version, kind) VALUES (%s, %s, %s) RETURNING run_no
"""
_RAN: Final = """
    UPDATE repricing_runs SET calls = calls + %s, before_usd_pico = before_usd_pico + %s,
        after_usd_pico = after_usd_pico + %s
    WHERE run_no = %s
"""
_TAKE: Final = """
    SELECT r.call_id, r.charged_at_us, r.corrects, r.record, r.again, r.run_no, c.tenant_id,
        c.posting_id = r.posting_id
    FROM (
        SELECT * FROM repricings WHERE run_no = (SELECT min(run_no) FROM repricings)
        ORDER BY call_id LIMIT %s FOR UPDATE
    ) AS r
    LEFT JOIN calls c ON c.call_id = r.call_id AND c.charged_at_us = r.charged_at_us
"""
_TAKEN: Final = "DELETE FROM repricings WHERE call_id = ANY(%s)"
_CARRIED_OUT: Final = "INSERT INTO run_batches (posted_at_us, run_no) VALUES (%s, %s)"
_WAITS: Final = "SELECT FROM repricings LIMIT 1"
_LEFT: Final = "SELECT count(*) FROM repricings WHERE %(run)s::bigint IS NULL OR run_no = %(run)s"

_decode_again: Final = msgspec.json.Decoder(list[tuple[str, PricedFromWire]]).decode


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which calls to look at."""

    since_us: int = 0
    """Charged from then on, µs UTC."""
    until_us: int = 2**63 - 1
    """Charged before then."""
    tenant_id: str | None = None
    """Of this tenant; None for all."""
    model: str | None = None
    """Priced as this model, answered by it or asked for; None for all."""


class Differs(msgspec.Struct, frozen=True, kw_only=True):
    """A call that is to be charged otherwise."""

    before: Existing
    """As it is charged."""
    after: PricedCall
    """By the other book; in a rereading the winner as it was read again."""
    corrects: bool
    """Whether its month is closed, or the one it comes to stand in."""
    again: tuple[tuple[str, PricedCall], ...] = ()
    """In a rereading every record that was read again, with the fingerprint it had."""


class Group(NamedTuple):
    """What differences are added up by."""

    model: str
    tenant_id: str
    day_no: int
    """Days since 1970, UTC."""


class Sum(msgspec.Struct):
    """Differences of one group."""

    calls: int = 0
    before_usd_pico: int = 0
    after_usd_pico: int = 0
    priced: int = 0
    """Calls that had no whole price and have one now."""
    closed: int = 0
    """Calls of a closed month."""


def differences(connection: Connection, wanted: Wanted, context: Context) -> Iterator[list[Differs]]:
    """Calls that the book charges otherwise than the ledger has them, some at a time; memory stays small."""
    closed = read_closed(connection)
    store.read_exactly(connection)
    bound = {"book": context.book.version, "since": wanted.since_us, "until": wanted.until_us}
    bound |= {"tenant": wanted.tenant_id, "model": wanted.model}
    with connection.transaction(), connection.cursor(name="repricing") as cursor:
        store.read_at_leisure(connection)
        cursor.execute(_FIND, bound)
        while hints := cursor.fetchmany(_READ_AT_ONCE):
            yield differing([(call, context) for call in store.existing(connection, hints)], closed)


def differing(calls: Iterable[tuple[Existing, Context]], closed: Closed) -> list[Differs]:
    """Those of some calls that the book beside them charges otherwise than the ledger has them."""
    return [
        Differs(before=call, after=after, corrects=is_closed(closed, call))
        for call, context in calls
        if money(after := price_again(call.winner, context)) != money(call.winner)
    ]


def is_closed(closed: Closed, call: Existing) -> bool:
    """Whether the call's month is closed."""
    return closed.holds(call.winner.call.tenant_id, call.charged.charged_at_us)


def money(priced: PricedCall) -> tuple[object, ...]:
    """What a book decides of a call."""
    lines = tuple((line.meter, line.model, line.quantity, line.amount_usd_pico, line.price_id) for line in priced.lines)
    return (
        priced.price_status, lines, priced.cost_usd_pico, priced.known_cost_usd_pico, priced.chargeable_usd_pico,
        priced.priced_model,
    )  # fmt: skip


def add_up(sums: dict[Group, Sum], differs: Sequence[Differs]) -> None:
    """Add differences to the sums by model, tenant and day."""
    for one in differs:
        before, after = one.before.winner, one.after
        into = sums.setdefault(group_of(one), Sum())
        into.calls += 1
        into.before_usd_pico += before.known_cost_usd_pico
        into.after_usd_pico += after.known_cost_usd_pico
        into.priced += before.cost_usd_pico is None and after.cost_usd_pico is not None
        into.closed += one.corrects


def group_of(one: Differs) -> Group:
    """Where a difference is added up."""
    after = one.after
    model = after.priced_model or after.call.response_model or after.call.request_model or ""
    return Group(model, after.call.tenant_id, one.before.charged.charged_at_us // _DAY_US)


def begin_run(connection: Connection, *, reason: str, book_version: str, kind: str = "reprice") -> int:
    """Note that calls are about to be queued; the number of the run."""
    row = connection.execute(_RUN, (reason, book_version, kind)).fetchone()
    assert row is not None  # noqa: S101  (INSERT … RETURNING gives one row)
    return int(row[0])


def queue(connection: Connection, differs: Sequence[Differs], *, run_no: int) -> int:
    """Have the writer charge these anew, and note what the run comes to; how many.

    A call that waits for a run that counts more is left to it: one people asked for, or a rereading.
    """
    if not differs:
        return 0
    # In the order in which the writer takes them: two that lock several rows never wait for each other.
    ordered = sorted(differs, key=lambda one: one.before.charged.call_id)
    columns = zip(*map(_queued, ordered), strict=True)
    with connection.transaction():
        rows = connection.execute(_QUEUE, (run_no, *map(list, columns))).fetchall()
        taken = {call_id for (call_id,) in rows}
        sums: dict[Group, Sum] = {}
        add_up(sums, [one for one in ordered if one.before.charged.call_id in taken])
        before_usd_pico = sum(one.before_usd_pico for one in sums.values())
        after_usd_pico = sum(one.after_usd_pico for one in sums.values())
        connection.execute(_RAN, (len(taken), before_usd_pico, after_usd_pico, run_no))
    return len(taken)


def _queued(one: Differs) -> tuple[object, ...]:
    charged = one.before.charged
    again = encode_records(one.again) if one.again else None
    return (
        charged.call_id, charged.charged_at_us, charged.posting_id, one.corrects, encode_priced(one.after), again,
    )  # fmt: skip


def left(connection: Connection, run_no: int | None = None) -> int:
    """Calls that wait for the writer, of one run or of all."""
    row = connection.execute(_LEFT, {"run": run_no}).fetchone()
    return int(row[0]) if row else 0


# The writer's part


def drain(connection: Connection, state: State, *, now_us: int) -> int:
    """Charge what waits for one run, at most so many at once; how many left the queue. Only the writer may call this.

    A call that was charged otherwise meanwhile is left as it is: a record that counts more came for it. So is one whose
    month was closed meanwhile: nobody approved its correction.
    """
    if connection.execute(_WAITS).fetchone() is None:
        return 0
    with writing(connection, state):
        rows = connection.execute(_TAKE, (TAKEN_AT_ONCE,)).fetchall()
        batch: Batch[Received] = Batch(connection, state, now_us, lambda one: one)
        batch.recharge([_repricing(row) for row in rows if row[-1] and _is_approved(row, state.closed)])
        connection.execute(_TAKEN, ([row[0] for row in rows],))
        if rows:
            connection.execute(_CARRIED_OUT, (batch.poster.posted_at_us, rows[0][5]))
        batch.finish({}, {})
    return len(rows)


def _is_approved(row: tuple[Any, ...], closed: Closed) -> bool:
    _, at_us, corrects, *_, tenant_id, _ = row
    return bool(corrects) or not closed.holds(tenant_id, at_us)


def _repricing(row: tuple[Any, ...]) -> Repricing:
    call_id, at_us, corrects, record, again, *_ = row
    return Repricing(
        call_id=call_id,
        charged_at_us=at_us,
        corrects=corrects,
        priced=decode_priced(bytes(record)),
        again=None if again is None else dict(_decode_again(bytes(again))),
    )
