"""Reading calls of the ledger again by today's dialects: what a mended reading changes, record by record.

A record is read from its own bytes where the raw topic still holds them, else from the usage object that is stored with
it. All records of a call are read, the one that counts and its witnesses: which of them counts may change too.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from psycopg import sql
from psycopg.types.json import Jsonb

from ledger import amending, store
from ledger.amending import Existing
from ledger.charging import charged_at_us
from ledger.closed import Closed, read_closed
from ledger.database import Connection
from ledger.fetching import Fetcher, Place
from ledger.repricing import Differs, Group, Wanted, group_of, is_closed
from tokenledger.process import Context, process_again, read_again
from tokenledger.records import PricedCall, RawEvent, Rejected
from tokenledger.records.versions import FIRST, READING_VERSIONS, reading_version

_READ_AT_ONCE: Final = 1_000
_FIND: Final = sql.SQL("""
SELECT call_id, charged_at_us FROM calls
WHERE charged_at_us >= %(since)s AND charged_at_us < %(until)s
    AND (%(tenant)s::text IS NULL OR tenant_id = %(tenant)s)
    AND (%(model)s::text IS NULL OR %(model)s IN (priced_model, response_model, request_model))
    AND (%(all)s OR reading_version < coalesce((%(versions)s ->> usage_reading)::bigint, %(first)s)
        OR call_id IN (
            SELECT call_id FROM witnesses
            WHERE coalesce((record -> 'call' ->> 'reading_version')::bigint, %(first)s)
                < coalesce((%(versions)s ->> (record -> 'call' ->> 'usage_reading'))::bigint, %(first)s)))
ORDER BY charged_at_us, call_id
""")
_RAISE: Final = """
    UPDATE calls SET reading_version = %s
    WHERE call_id = %s AND charged_at_us = %s AND posting_id = %s
"""

Reread = PricedCall | Rejected | None
Read = Callable[[Sequence[PricedCall]], list[Reread]]
"""Records as today's code reads them."""


class Meter(NamedTuple):
    """What differences are added up by."""

    group: Group
    """Model, tenant and day."""
    meter: str
    """The meter."""


class MeterSum(msgspec.Struct):
    """Differences of one meter."""

    before: int = 0
    """Quantity, in the meter's base unit."""
    after: int = 0
    before_usd_pico: int = 0
    after_usd_pico: int = 0


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """Some calls, read again."""

    differs: list[Differs]
    """Those that today's code reads otherwise."""
    same: list[Existing]
    """Those of an older version of their reading that today's code reads as they were read."""
    refused: Counter[str]
    """How many contradict themselves by today's reading, by reason; they stay as they are."""
    unreadable: Counter[str]
    """How many cannot be read again from what is left of them, by their reading; they stay as they are."""


def rereadings(connection: Connection, wanted: Wanted, *, read: Read, every: bool) -> Iterator[Found]:
    """Calls of an older reading (or every call) as today's code reads them, some at a time; memory stays small."""
    closed = read_closed(connection)
    store.read_exactly(connection)
    bound: dict[str, Any] = {
        "since": wanted.since_us, "until": wanted.until_us, "tenant": wanted.tenant_id, "model": wanted.model,
        "all": every, "versions": Jsonb(READING_VERSIONS), "first": FIRST,
    }  # fmt: skip
    with connection.transaction(), connection.cursor(name="rereading") as cursor:
        store.read_at_leisure(connection)
        cursor.execute(_FIND, bound)
        while hints := cursor.fetchmany(_READ_AT_ONCE):
            yield _found(store.existing(connection, hints), read, closed=closed)


def _found(calls: Sequence[Existing], read: Read, *, closed: Closed) -> Found:
    found = Found(differs=[], same=[], refused=Counter(), unreadable=Counter())
    records = [record for call in calls for record in (call.winner, *call.witnesses)]
    made = {id(record): again for record, again in zip(records, read(records), strict=True)}
    for call in calls:
        again = {}
        for record in (call.winner, *call.witnesses):
            one = made[id(record)]
            if isinstance(one, PricedCall):
                again[record.fingerprint] = one
            elif isinstance(one, Rejected):
                found.refused[one.reason.value] += 1
            else:
                found.unreadable[record.call.usage_reading] += 1
        _sort_out(found, call, again=again, closed=closed)
    return found


def _sort_out(found: Found, call: Existing, *, again: Mapping[str, PricedCall], closed: Closed) -> None:
    changed = {fingerprint: one for fingerprint, one in again.items() if fingerprint != one.fingerprint}
    if changed:
        [amendment] = amending.read_again(call, dict(again)).amendments
        after, pairs = amendment.winner, tuple(again.items())
        # Another record may count afterwards, and stand in another month: what it is charged to changes as well.
        corrects = is_closed(closed, call) or closed.holds(after.call.tenant_id, charged_at_us(after))
        found.differs.append(Differs(before=call, after=after, corrects=corrects, again=pairs))
    elif call.winner.fingerprint in again and call.winner.call.reading_version < reading_version(
        call.winner.call.usage_reading
    ):
        found.same.append(call)


def raise_versions(connection: Connection, calls: Iterable[Existing]) -> None:
    """Note that today's code reads these as they were read, so that nobody need look again."""
    rows = [(reading_version(call.winner.call.usage_reading), *call.charged[:3]) for call in calls]
    if rows:
        connection.cursor().executemany(_RAISE, rows)


def from_stored(context: Context) -> Read:
    """Reads records from the usage objects that are stored with them."""
    return lambda records: [read_again(record, context) for record in records]


def from_log(context: Context, log: Fetcher) -> Read:
    """Reads records from their own bytes where the raw topic still holds them, else as `from_stored` does."""

    def read(records: Sequence[PricedCall]) -> list[Reread]:
        places = {Place(one.topic, one.partition, one.offset) for one in records if one.topic}
        kept = {place: one for place, one in log.fetch(places) if one is not None}
        made: list[Reread] = []
        for record in records:
            one = kept.get(Place(record.topic, record.partition, record.offset))
            again = None
            if one is not None:
                raw = RawEvent(
                    value=one.value, key=one.key, headers=dict(one.headers), topic=record.topic,
                    partition=record.partition, offset=record.offset, append_at_us=record.append_at_us,
                )  # fmt: skip
                again = process_again(record, raw, context)
            made.append(read_again(record, context) if again is None else again)
        return made

    return read


def add_meters(sums: dict[Meter, MeterSum], differs: Sequence[Differs]) -> None:
    """Add what is read otherwise to the sums by model, tenant, day and meter."""
    for one in differs:
        before, after = one.before.winner, one.after
        group = group_of(one)
        for meter, quantity in before.call.usage.items():
            sums.setdefault(Meter(group, meter), MeterSum()).before += quantity
        for meter, quantity in after.call.usage.items():
            sums.setdefault(Meter(group, meter), MeterSum()).after += quantity
        for line in before.lines:
            sums.setdefault(Meter(group, line.meter), MeterSum()).before_usd_pico += line.amount_usd_pico
        for line in after.lines:
            sums.setdefault(Meter(group, line.meter), MeterSum()).after_usd_pico += line.amount_usd_pico
