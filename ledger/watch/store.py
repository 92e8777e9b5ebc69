"""All SQL that writes down what was heard. Every function runs inside the transaction of its caller."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Final

from psycopg.types.multirange import Multirange
from psycopg.types.range import Range

from ledger.database import Connection
from ledger.watch import arrivals, sequences
from ledger.watch.arrivals import Source
from ledger.watch.hearing import Heard, Place
from ledger.watch.ranges import Ranges
from ledger.watch.sequences import Epoch, Epochs, Numbered
from tokenledger.records.topics import RAW

MOST_SOURCES: Final = 10_000
"""More names than anyone gives producers are a producer that makes one up for each record: they are one together."""
MOST_EPOCHS: Final = 1_000
"""So many of the newest epochs of a source are kept."""
_MOST_FRESH_EPOCHS: Final = 50
"""A source that begins more epochs at a time makes one up for each record: the numbers of the others say nothing."""
OTHERS: Final = "(others)"
_MINUTE_US: Final = 60_000_000
KEPT_MINUTES: Final = 3 * 24 * 60
_KEPT_DAYS: Final = 90
_DAY_US: Final = 24 * 3600 * 1_000_000


def offsets(connection: Connection) -> dict[Place, int]:
    """Where to read on."""
    rows = connection.execute("SELECT topic, partition, next_offset FROM watch_offsets WHERE topic = %s", (RAW.name,))
    return {(topic, partition): offset for topic, partition, offset in rows}


def move(connection: Connection, reached: dict[Place, int]) -> None:
    """Note how far was read."""
    connection.cursor().executemany(
        "INSERT INTO watch_offsets VALUES (%s, %s, %s) "
        "ON CONFLICT (topic, partition) DO UPDATE SET next_offset = excluded.next_offset",
        [(*place, offset) for place, offset in sorted(reached.items())],
    )


def since_us(connection: Connection, *, whole: bool, now_us: int) -> int:
    """From when on the log was watched; noted the first time. 0 if it was whole then."""
    connection.execute("UPDATE watch SET since_us = %s WHERE since_us IS NULL", (0 if whole else now_us,))
    row = connection.execute("SELECT since_us FROM watch").fetchone()
    assert row is not None, "table watch has lost its row"  # noqa: S101  (our own mistake, not the world's)
    return int(row[0])


def note(connection: Connection, records: Sequence[Heard], *, watching_since_us: int, now_us: int) -> None:
    """Count the records, and take in their numbers and times."""
    known = _sources(connection, {one.ce_source for one in records})
    records = _with_known_sources(connection, records, known=known)
    _note_arrivals(connection, records, known=known)
    _note_minutes(
        connection, Counter((one.append_at_us // _MINUTE_US, one.tenant_id, one.ce_source) for one in records)
    )
    numbered: dict[str, list[Numbered]] = defaultdict(list)
    for one in records:
        if one.number is not None and one.ce_source:
            numbered[one.ce_source].append(Numbered(one.epoch, one.number, one.event_id, one.append_at_us))
    for source, heard in sorted(numbered.items()):
        stated = {one.epoch for one in heard if one.epoch is not None}
        before = _epochs(connection, source, stated=stated)
        ignored = set(sorted(stated - before.keys())[_MOST_FRESH_EPOCHS:])
        taken = [one for one in heard if one.epoch not in ignored]
        after = sequences.fold(before, taken, watching_since_us=watching_since_us)
        changed = [epoch for name, epoch in after.items() if epoch is not before.get(name)]
        _keep_epochs(connection, source, epochs=changed, now_us=now_us)


def _sources(connection: Connection, names: set[str]) -> dict[str, Source]:
    rows = connection.execute(
        "SELECT ce_source, records, first_at_us, last_at_us, period_at_us, pauses_us, earlier_pauses_us "
        "FROM sources WHERE ce_source = ANY(%s)",
        (sorted(names),),
    )
    return {
        row[0]: Source(
            records=row[1], first_at_us=row[2], last_at_us=row[3], period_at_us=row[4],
            pauses_us=tuple(row[5]), earlier_pauses_us=tuple(row[6]),
        )
        for row in rows
    }  # fmt: skip


def _with_known_sources(
    connection: Connection, records: Sequence[Heard], *, known: dict[str, Source]
) -> Sequence[Heard]:
    """The same, where a source beyond the bound bears the common name."""
    fresh = {one.ce_source for one in records} - known.keys() - {"", OTHERS}
    if not fresh:
        return records
    row = connection.execute("SELECT count(*) FROM sources").fetchone()
    room = max(MOST_SOURCES - (row[0] if row else 0), 0)
    if len(fresh) <= room:
        return records
    named = set(sorted(fresh)[:room])
    beyond = fresh - named
    known |= _sources(connection, {OTHERS})
    # Numbers of many sources together say nothing.
    return [one._replace(ce_source=OTHERS, number=None) if one.ce_source in beyond else one for one in records]


def _note_arrivals(connection: Connection, records: Iterable[Heard], *, known: dict[str, Source]) -> None:
    times: dict[str, list[int]] = defaultdict(list)
    for one in records:
        if one.ce_source and not one.again:
            times[one.ce_source].append(one.append_at_us)
    connection.cursor().executemany(
        """
        INSERT INTO sources (ce_source, records, first_at_us, last_at_us, period_at_us, pauses_us, earlier_pauses_us)
        VALUES (%s, %s, %s, %s, %s, %s, %s)
        ON CONFLICT (ce_source) DO UPDATE SET records = excluded.records, first_at_us = excluded.first_at_us,
            last_at_us = excluded.last_at_us, period_at_us = excluded.period_at_us, pauses_us = excluded.pauses_us,
            earlier_pauses_us = excluded.earlier_pauses_us, retired_at_us = NULL
        """,
        [_source_row(name, arrivals.heard(known.get(name), times[name])) for name in sorted(times)],
    )


def _source_row(name: str, source: Source) -> tuple[Any, ...]:
    return (
        name, source.records, source.first_at_us, source.last_at_us, source.period_at_us, list(source.pauses_us),
        list(source.earlier_pauses_us),
    )  # fmt: skip


def _note_minutes(
    connection: Connection,
    counts: Counter[tuple[int, str, str]],
    *,
    rejected: Counter[tuple[int, str, str]] | None = None,
) -> None:
    rejected = rejected or Counter()
    connection.cursor().executemany(
        """
        INSERT INTO source_minutes AS m VALUES (%s, %s, %s, %s, %s)
        ON CONFLICT (minute_no, tenant_id, ce_source)
        DO UPDATE SET records = m.records + excluded.records, rejected = m.rejected + excluded.rejected
        """,
        [(*key, counts[key], rejected[key]) for key in sorted(counts.keys() | rejected.keys())],
    )


def _epochs(connection: Connection, source: str, *, stated: set[str]) -> Epochs:
    """The stated epochs asked for, and the guessed ones in their order."""
    rows = connection.execute(
        """
        SELECT epoch, seen, first_no, first_id, given_up, first_at_us, last_at_us, settled_no FROM source_epochs
        WHERE ce_source = %(source)s AND epoch = ANY(%(stated)s)
        UNION ALL
        (SELECT epoch, seen, first_no, first_id, given_up, first_at_us, last_at_us, settled_no FROM source_epochs
        WHERE ce_source = %(source)s AND starts_with(epoch, '~') ORDER BY substr(epoch, 2)::bigint DESC LIMIT 2)
        """,
        {"source": source, "stated": sorted(stated)},
    ).fetchall()
    found = [
        Epoch(
            epoch=row[0], seen=_ranges(row[1]), first_no=row[2], first_id=row[3], given_up=row[4], first_at_us=row[5],
            last_at_us=row[6], settled_no=row[7],
        )
        for row in reversed(rows)
    ]  # fmt: skip
    return {epoch.epoch: epoch for epoch in found}


def _ranges(stored: Multirange[int]) -> Ranges:
    return tuple((one.lower, one.upper) for one in stored if one.lower is not None and one.upper is not None)


def _keep_epochs(connection: Connection, source: str, *, epochs: Iterable[Epoch], now_us: int) -> None:
    connection.cursor().executemany(
        """
        INSERT INTO source_epochs AS e (ce_source, epoch, seen, first_no, first_id, given_up, first_at_us, last_at_us,
            settling_no, settling_at_us)
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
        ON CONFLICT (ce_source, epoch) DO UPDATE SET seen = excluded.seen, first_no = excluded.first_no,
            first_id = excluded.first_id, given_up = excluded.given_up, first_at_us = excluded.first_at_us,
            last_at_us = excluded.last_at_us
        """,
        [
            (
                source, epoch.epoch, Multirange([Range(start, end) for start, end in epoch.seen]), epoch.first_no,
                epoch.first_id, epoch.given_up, epoch.first_at_us, epoch.last_at_us, epoch.high + 1, now_us,
            )
            for epoch in epochs
        ],
    )  # fmt: skip


def settle(connection: Connection, *, gap_us: int, now_us: int) -> None:
    """What has been missing for long enough becomes a gap."""
    connection.execute(
        """
        UPDATE source_epochs SET settled_no = settling_no, settling_no = upper(seen), settling_at_us = %(now)s
        WHERE settled_no < upper(seen) AND settling_at_us <= %(now)s - %(gap)s
        """,
        {"now": now_us, "gap": gap_us},
    )


_FRESH_REJECTS: Final = """
SELECT CASE WHEN append_at_us > 0 THEN append_at_us ELSE posted_at_us END / 60000000, coalesce(tenant_id, ''),
    coalesce(e.ce_source, r.ce_source, ''), count(*)
FROM rejected r LEFT JOIN source_epochs e
    ON r.ce_source LIKE '%%/%%' AND e.ce_source = regexp_replace(r.ce_source, '/[^/]*$', '')
    AND e.epoch = regexp_replace(r.ce_source, '^.*/', '')
WHERE posted_at_us > %s AND posted_at_us <= %s GROUP BY 1, 2, 3
"""


def note_rejected(connection: Connection) -> dict[tuple[str, str], int]:
    """Count what the writer has rejected since; tenants and sources of these, with the newest minute of each."""
    row = connection.execute(
        "SELECT rejected_posted_at_us, (SELECT coalesce(max(posted_at_us), 0) FROM batches) FROM watch"
    ).fetchone()
    assert row is not None, "table watch has lost its row"  # noqa: S101  (our own mistake, not the world's)
    after_us, through_us = row
    rejected: Counter[tuple[int, str, str]] = Counter()
    newest: dict[tuple[str, str], int] = {}
    for minute, tenant, source, count in connection.execute(_FRESH_REJECTS, (after_us, through_us)):
        rejected[minute, tenant, source] += count
        newest[tenant, source] = max(newest.get((tenant, source), 0), minute)
    _note_minutes(connection, Counter(), rejected=rejected)
    connection.execute("UPDATE watch SET rejected_posted_at_us = %s", (max(through_us, after_us),))
    return newest


def prune(connection: Connection, *, now_us: int) -> None:
    """Forget what nobody asks for any more."""
    connection.execute("DELETE FROM source_minutes WHERE minute_no < %s", (now_us // _MINUTE_US - KEPT_MINUTES,))
    old_us = now_us - _KEPT_DAYS * _DAY_US
    connection.execute(
        """
        DELETE FROM source_epochs e USING (
            SELECT ce_source, epoch, row_number() OVER (PARTITION BY ce_source ORDER BY last_at_us DESC) AS place
            FROM source_epochs
        ) AS placed
        WHERE (e.ce_source, e.epoch) = (placed.ce_source, placed.epoch) AND placed.place > %s
        """,
        (MOST_EPOCHS,),
    )
    connection.execute("DELETE FROM source_epochs WHERE last_at_us < %s", (old_us,))
    connection.execute("DELETE FROM sources WHERE last_at_us < %s", (old_us,))
    connection.execute("DELETE FROM alerts WHERE closed_at_us < %s", (now_us - 4 * _KEPT_DAYS * _DAY_US,))
