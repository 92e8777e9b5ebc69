"""What is wrong at present: every kind of trouble as a query with bounded cost, and its findings in words."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from psycopg.types.multirange import Multirange

from ledger.database import Connection
from ledger.observing import SLOT_KEPT
from ledger.verify import Difference
from ledger.watch import arrivals
from ledger.watch.alerting import Finding, Subject
from ledger.watch.arrivals import Source
from ledger.watch.settings import Limits
from tokenledger.pricing.providers import is_self_hosted
from tokenledger.records.topics import PRICED, RAW, REJECTED

REJECTS: Final = "rejects"
INCOMPLETE: Final = "incomplete"
BEHIND: Final = "behind"
COMPACTION: Final = "compaction"
REPRICING: Final = "repricing"
SILENT: Final = "silent"
GAP: Final = "gap"
VERIFY: Final = "verify"
CAPTURE: Final = "capture"
STATES: Final = {
    REJECTS: "a tenant's source has too many records rejected",
    INCOMPLETE: "a model has too many calls without a whole price",
    BEHIND: "raw records have no outcome in time",
    COMPACTION: "roll-ups are not folded in time",
    REPRICING: "calls wait too long to be charged anew",
    SILENT: "a source has been quiet for longer than it ever is",
    GAP: "numbers that a producer gave never reached the log",
    VERIFY: "the ledger's sums do not agree",
    CAPTURE: "changes of configuration are not read from Postgres's log",
}
"""Every kind of alert, and what it says."""

_MINUTE_US: Final = 60_000_000
_BUCKET_US: Final = 900_000_000
_DAY_US: Final = 24 * 3600 * 1_000_000
_MOST: Final = 500
"""Findings of one kind: more of them are one trouble, not many."""
_LESSER: Final = 0.5
"""An alert on a share stays while it is above this part of what opens it."""
_FOLD_WITHIN_US: Final = 900_000_000
_REPRICE_WITHIN_US: Final = 1_800_000_000
_MIB: Final = 1024 * 1024
_KEPT_BYTES: Final = 256 * _MIB
"""So much of its log Postgres may keep for a slot that is not read on; a heartbeat moves the slot every few seconds."""

_REJECTS: Final = """
WITH asked AS (
    SELECT tenant_id, ce_source, %(minute)s::bigint AS through FROM source_minutes
    WHERE minute_no > %(minute)s - %(minutes)s AND rejected > 0
    UNION
    SELECT * FROM unnest(%(tenants)s::text[], %(sources)s::text[], %(newest)s::bigint[])
)
SELECT a.tenant_id, a.ce_source, a.through, counted.records::bigint, counted.rejected::bigint, (
    SELECT count(*) FROM parked JOIN rejected r USING (kept_topic, kept_partition, kept_offset)
    WHERE parked.append_at_us >= (a.through - %(minutes)s + 1) * 60000000
        AND parked.append_at_us < (a.through + 1) * 60000000 AND coalesce(until_us, %(now)s + 1) > %(now)s
        AND coalesce(r.tenant_id, '') = a.tenant_id
        AND (coalesce(r.ce_source, '') = a.ce_source OR starts_with(r.ce_source, a.ce_source || '/'))
)
FROM asked a CROSS JOIN LATERAL (
    SELECT coalesce(sum(records), 0) AS records, coalesce(sum(rejected), 0) AS rejected FROM source_minutes m
    WHERE minute_no > a.through - %(minutes)s AND minute_no <= a.through
        AND (m.tenant_id, m.ce_source) = (a.tenant_id, a.ce_source)
) AS counted
"""


def rejects(
    connection: Connection, limits: Limits, *, touched: Mapping[tuple[str, str], int], now_us: int
) -> list[Finding]:
    """Shares of rejects over the window that ends now, and over those that end where late rejects were appended."""
    bound = {
        "now": now_us,
        "minute": now_us // _MINUTE_US,
        "minutes": max(limits.window_us // _MINUTE_US, 1),
        "tenants": [tenant for tenant, _ in touched],
        "sources": [source for _, source in touched],
        "newest": list(touched.values()),
    }
    found: dict[Subject, Finding] = {}
    for tenant, source, through, records, rejected, parked in connection.execute(_REJECTS, bound):
        bad = rejected - parked
        # What was rejected may be counted a moment before the watcher has read its raw record.
        of = max(records - parked, bad)
        if bad <= 0 or of < limits.reject_records or bad < _LESSER * limits.reject_ratio * of:
            continue
        finding = Finding(
            Subject(REJECTS, f"tenant {tenant or '(none)'}, source {source or '(none)'}"),
            f"{bad:,} of {of:,} records rejected ({bad / of:.1%}) in {bound['minutes']} min until "
            f"{_instant((through + 1) * _MINUTE_US)}",
            opens=bad >= limits.reject_ratio * of,
            tenant_id=tenant or None,
        )
        if finding.subject not in found or finding.opens:
            found[finding.subject] = finding
    return list(found.values())[:_MOST]


_INCOMPLETE: Final = """
SELECT tenant_id, provider, coalesce(model, ''), sum(calls)::bigint, sum(incomplete_calls)::bigint
FROM (
    SELECT dim_no, calls, incomplete_calls FROM rollups_15m WHERE bucket_no >= %(bucket)s AND meter = ''
    UNION ALL
    SELECT dim_no, calls, incomplete_calls FROM postings
    WHERE posted_at_us > (SELECT posted_at_us FROM compaction) AND charged_at_us >= %(bucket)s::bigint * 900000000
) AS counted JOIN dimensions USING (dim_no)
GROUP BY 1, 2, 3
HAVING sum(incomplete_calls) > 0 AND sum(calls) >= %(calls)s AND sum(incomplete_calls) >= %(ratio)s * sum(calls)
ORDER BY 5 DESC LIMIT %(most)s
"""


def incomplete(connection: Connection, limits: Limits, *, now_us: int) -> list[Finding]:
    """Models of the last day with calls whose price is not wholly known; self-hosted ones are paid by the hour."""
    rows = connection.execute(
        _INCOMPLETE,
        {
            "bucket": (now_us - _DAY_US) // _BUCKET_US,
            "calls": limits.incomplete_calls,
            "ratio": _LESSER * limits.incomplete_ratio,
            "most": _MOST,
        },
    )
    return [
        Finding(
            Subject(INCOMPLETE, f"tenant {tenant}, {provider} {model or '(no model)'}"),
            f"{bad:,} of {calls:,} calls of the last day without a whole price ({bad / calls:.1%})",
            opens=bad >= limits.incomplete_ratio * calls,
            tenant_id=tenant,
        )
        for tenant, provider, model, calls, bad in rows
        if not is_self_hosted(provider, None)
    ]


def first_unseen(connection: Connection, partition: int, *, from_offset: int) -> int:
    """The first raw offset, from that one on, that has no outcome in the ledger yet."""
    row = connection.execute(
        "SELECT range_agg(seen), (SELECT first_offset FROM origins WHERE (topic, partition) = (%(topic)s, %(number)s)) "
        "FROM origin_ranges WHERE (topic, partition) = (%(topic)s, %(number)s) AND chunk_no >= %(chunk)s",
        {"topic": RAW.name, "number": partition, "chunk": from_offset >> 16},
    ).fetchone()
    seen: Multirange[int] | None = row[0] if row else None
    at = max(from_offset, (row[1] if row else None) or 0)
    for one in seen or ():
        if one.lower is not None and one.upper is not None and one.lower <= at < one.upper:
            return one.upper
    return at


def behind(
    due: Mapping[int, int], unseen: Mapping[int, int], *, unread: Mapping[str, int], limits: Limits
) -> list[Finding]:
    """Raw records that should have their outcome by now: per partition where they end, and where outcomes end."""
    late = {number: end - unseen[number] for number, end in due.items() if end > unseen[number]}
    if not late:
        return []
    places = ", ".join(f"{RAW.name}/{number}/{unseen[number]}" for number in sorted(late))
    waiting = ", ".join(f"{count:,} of {topic}" for topic, count in unread.items())
    summary = (
        f"up to {sum(late.values()):,} raw records without outcome {limits.behind_us // 1_000_000} s after their "
        f"append, from {places}; the writer has yet to read {waiting}"
    )
    return [Finding(Subject(BEHIND, RAW.name), summary)]


def unread(connection: Connection, ends: Mapping[tuple[str, int], int]) -> dict[str, int]:
    """How many records of the priced and the rejected topic the writer has not taken."""
    rows = connection.execute("SELECT topic, partition, next_offset FROM offsets").fetchall()
    known = {(topic, partition): offset for topic, partition, offset in rows}
    return {
        topic: sum(max(end - known.get(place, 0), 0) for place, end in ends.items() if place[0] == topic)
        for topic in (PRICED.name, REJECTED.name)
    }


def books(connection: Connection, *, now_us: int) -> list[Finding]:
    """Work inside the ledger that waits for too long."""
    found = []
    row = connection.execute(
        "SELECT posted_at_us FROM batches WHERE posted_at_us > (SELECT posted_at_us FROM compaction) ORDER BY 1 LIMIT 1"
    ).fetchone()
    if row is not None and now_us - row[0] > _FOLD_WITHIN_US:
        summary = f"batches since {_instant(row[0])} are not folded into the roll-ups; sums are right, but slower"
        found.append(Finding(Subject(COMPACTION, "rollups_15m"), summary))
    row = connection.execute(
        "SELECT run_no, (extract(epoch FROM made_at) * 1000000)::bigint FROM repricing_runs "
        "WHERE run_no = (SELECT run_no FROM repricings LIMIT 1)"
    ).fetchone()
    if row is not None and now_us - row[1] > _REPRICE_WITHIN_US:
        found.append(Finding(Subject(REPRICING, f"run {row[0]}"), f"calls wait since {_instant(row[1])}"))
    return found


_SLOTS: Final = """
SELECT slot_name, active, coalesce(wal_status, 'lost') = 'lost',
    coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::bigint
FROM pg_replication_slots WHERE slot_type = 'logical' AND database = current_database()
"""


def capture(connection: Connection) -> list[Finding]:
    """Slots of this database that are not read on, and what Postgres keeps for them meanwhile."""
    found = []
    for name, is_read, is_lost, kept_bytes in connection.execute(_SLOTS):
        SLOT_KEPT.labels(name).set(kept_bytes)
        if not is_lost and kept_bytes < _KEPT_BYTES:
            continue
        kept = "Postgres has given it up" if is_lost else f"Postgres keeps {kept_bytes // _MIB:,} MiB of its log"
        summary = f"{kept}, and {'its reader does not get on' if is_read else 'nobody reads it'}"
        found.append(Finding(Subject(CAPTURE, f"slot {name}"), summary))
    return found


def silent(connection: Connection, limits: Limits, *, now_us: int) -> list[Finding]:
    """Sources that should have spoken."""
    found = []
    for name, source in sources(connection, late_us=limits.patience.floor_us, now_us=now_us).items():
        allowed = arrivals.allowed_us(source, limits.patience)
        quiet_us = now_us - source.last_at_us
        if allowed is not None and quiet_us > allowed:
            usual = arrivals.usual_us(source) or 0
            summary = (
                f"quiet since {_instant(source.last_at_us)}: {_span(quiet_us)}, where {_span(allowed)} are allowed "
                f"and {_span(usual)} usual"
            )
            found.append(Finding(Subject(SILENT, f"source {name}"), summary))
    return found[:_MOST]


def sources(connection: Connection, *, late_us: int, now_us: int) -> dict[str, Source]:
    """Sources that are not retired and were quiet for at least so long."""
    rows = connection.execute(
        "SELECT ce_source, records, first_at_us, last_at_us, period_at_us, pauses_us, earlier_pauses_us FROM sources "
        "WHERE retired_at_us IS NULL AND last_at_us <= %s ORDER BY last_at_us DESC",
        (now_us - late_us,),
    )
    return {
        row[0]: Source(
            records=row[1], first_at_us=row[2], last_at_us=row[3], period_at_us=row[4], pauses_us=tuple(row[5]),
            earlier_pauses_us=tuple(row[6]),
        )
        for row in rows
    }  # fmt: skip


_GAPS: Final = """
SELECT ce_source, epoch, count(*), sum(records)::bigint, (array_agg(first_no ORDER BY first_no))[1:3],
    (array_agg(last_no ORDER BY first_no))[1:3]
FROM sequence_gaps GROUP BY 1, 2 ORDER BY max(last_at_us) DESC LIMIT %s
"""


def gaps(connection: Connection) -> list[Finding]:
    """Epochs with numbers that never arrived."""
    found = []
    for source, epoch, count, records, firsts, lasts in connection.execute(_GAPS, (_MOST,)):
        ranges = [str(first) if first == last else f"{first}-{last}" for first, last in zip(firsts, lasts, strict=True)]
        more = f" and {count - len(ranges):,} more" if count > len(ranges) else ""
        summary = f"{records:,} numbers never arrived: {', '.join(ranges)}{more}"
        found.append(Finding(Subject(GAP, f"source {source}, epoch {epoch}"), summary))
    return found


def verified(differences: list[Difference]) -> list[Finding]:
    """What the comparison of the sums found; what is only under way is told by `behind`."""
    wrong = [one for one in differences if one.what not in {"raw records without outcome", "records not yet written"}]
    if not wrong:
        return []
    return [Finding(Subject(VERIFY, "the ledger"), f"{len(wrong):,} differences; the first: {wrong[0]}")]


def _instant(at_us: int) -> str:
    return f"{datetime.fromtimestamp(at_us // 1_000_000, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _span(us: int) -> str:
    seconds = us // 1_000_000
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds} s"
