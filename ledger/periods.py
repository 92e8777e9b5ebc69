"""Accounting months: closed once, answering the same for ever, with what came later shown beside, approved or not.

A month of a tenant begins and ends in its own time zone. A close notes the newest posting it holds; there is one
writer, and no batch of its is under way while the close is made, so nothing that is posted afterwards can slip under
it. What is posted to a closed month later is a correction, and awaits approval unless it was approved before.
"""

from datetime import datetime
from typing import Final, NamedTuple

import msgspec
import psycopg

from ledger.as_of import refuse_dropped
from ledger.closed import LOCK
from ledger.database import Connection

_SPAN: Final = """
    SELECT zone, (extract(epoch FROM %(first)s::timestamp AT TIME ZONE zone) * 1000000)::bigint,
        (extract(epoch FROM (%(first)s::timestamp + interval '1 month') AT TIME ZONE zone) * 1000000)::bigint,
        (SELECT ends_us FROM periods
            WHERE tenant_id = %(tenant)s AND month = (%(first)s::date - interval '1 month')::date),
        (SELECT starts_us FROM periods
            WHERE tenant_id = %(tenant)s AND month = (%(first)s::date + interval '1 month')::date)
    FROM (SELECT coalesce(
        (SELECT time_zone FROM tenants WHERE tenant_id = %(tenant)s AND upper_inf(known_us)), 'UTC'
    ) AS zone) AS stated
"""
_CLOSED_AT: Final = "SELECT closed_at_us FROM periods WHERE tenant_id = %s AND month = %s::date"
_CLOSED_SPAN: Final = "SELECT time_zone, starts_us, ends_us FROM periods WHERE tenant_id = %s AND month = %s::date"
_SUMS: Final = """
    WITH posted AS (
        SELECT dim_no, calls::bigint, incomplete_calls::bigint, 0::bigint AS amount_usd_pico
        FROM postings
        WHERE posted_at_us > %(since)s AND posted_at_us <= %(until)s
            AND charged_at_us >= %(starts)s AND charged_at_us < %(ends)s
        UNION ALL
        SELECT dim_no, 0, 0, amount_usd_pico FROM lines
        WHERE posted_at_us > %(since)s AND posted_at_us <= %(until)s
            AND bucket_no >= %(starts)s / 900000000 AND bucket_no < %(ends)s / 900000000
    )
    SELECT coalesce(sum(calls), 0)::bigint, coalesce(sum(incomplete_calls), 0)::bigint,
        coalesce(sum(amount_usd_pico), 0)::numeric(38, 0)
    FROM posted JOIN dimensions USING (dim_no)
    WHERE tenant_id = %(tenant)s
"""
# The roll-ups up to their watermark and what was posted between it and the close, added or taken off: so that a month
# can still be told when the books it was charged in are dropped.
_AGAIN: Final = """
    WITH period AS (
        SELECT tenant_id, starts_us, ends_us, CASE WHEN closed_at_us < posted_at_us THEN -1 ELSE 1 END AS sign,
            least(closed_at_us, posted_at_us) AS first_us, greatest(closed_at_us, posted_at_us) AS last_us
        FROM periods, compaction WHERE tenant_id = %(tenant)s AND month = %(first)s::date
    ), posted AS (
        SELECT dim_no, calls::bigint, incomplete_calls::bigint, amount_usd_pico
        FROM rollups_15m, period WHERE bucket_no >= starts_us / 900000000 AND bucket_no < ends_us / 900000000
        UNION ALL
        SELECT dim_no, sign * calls, sign * incomplete_calls, 0
        FROM postings, period WHERE posted_at_us > first_us AND posted_at_us <= last_us
            AND charged_at_us >= starts_us AND charged_at_us < ends_us
        UNION ALL
        SELECT dim_no, 0, 0, sign * amount_usd_pico
        FROM lines, period WHERE posted_at_us > first_us AND posted_at_us <= last_us
            AND bucket_no >= starts_us / 900000000 AND bucket_no < ends_us / 900000000
    )
    SELECT coalesce(sum(calls), 0)::bigint, coalesce(sum(incomplete_calls), 0)::bigint,
        coalesce(sum(amount_usd_pico), 0)::numeric(38, 0)
    FROM posted JOIN dimensions USING (dim_no)
    WHERE tenant_id = %(tenant)s
"""
_CORRECTIONS: Final = """
    WITH period AS (
        SELECT tenant_id, month, starts_us, ends_us, closed_at_us, coalesce(
            (SELECT max(until_us) FROM period_approvals a
                WHERE a.tenant_id = periods.tenant_id AND a.month = periods.month), 0) AS approved_us
        FROM periods
        WHERE tenant_id = %(tenant)s AND month = %(first)s::date
    ), posted AS (
        SELECT posting_id, posted_at_us, postings.calls, incomplete_calls,
            CASE
                WHEN run_no IS NOT NULL THEN kind || ' run ' || run_no
                WHEN subject_kind = 'manual' THEN 'adjustment ' || subject_id
                WHEN reverses_posting_id IS NULL AND subject_id = posting_id THEN 'late call'
                ELSE 'superseded'
            END AS what,
            run_no IS NOT NULL OR subject_kind = 'manual' OR posted_at_us <= approved_us AS is_approved
        FROM period
        JOIN postings ON posted_at_us > closed_at_us AND charged_at_us >= starts_us AND charged_at_us < ends_us
        JOIN dimensions USING (dim_no)
        LEFT JOIN run_batches USING (posted_at_us)
        LEFT JOIN run_kinds() USING (run_no)
        WHERE dimensions.tenant_id = period.tenant_id
    )
    SELECT what, is_approved, sum(calls)::bigint, sum(incomplete_calls)::bigint,
        coalesce(sum(amount_usd_pico), 0)::numeric(38, 0), min(posted_at_us), max(posted_at_us)
    FROM posted
    LEFT JOIN (
        SELECT posting_id, sum(amount_usd_pico) AS amount_usd_pico FROM lines
        WHERE posted_at_us > (SELECT closed_at_us FROM period) GROUP BY posting_id
    ) AS amounts USING (posting_id)
    GROUP BY what, is_approved
    ORDER BY min(posted_at_us), what
"""
_NEWEST: Final = "SELECT coalesce(max(posted_at_us), 0) FROM batches"
_CLOSE: Final = """
    INSERT INTO periods (tenant_id, month, closed_at_us, calls, incomplete_calls, known_cost_usd_pico, reason,
        time_zone, starts_us, ends_us)
    VALUES (%s, %s::date, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (tenant_id, month) DO NOTHING
"""
_APPROVE: Final = """
    INSERT INTO period_approvals (tenant_id, month, until_us, calls, known_cost_usd_pico, reason)
    VALUES (%s, %s::date, %s, %s, %s, %s)
"""
_LIST: Final = """
    SELECT tenant_id, to_char(month, 'YYYY-MM'), closed_at_us, closed_by, calls, incomplete_calls,
        known_cost_usd_pico, reason, time_zone
    FROM periods ORDER BY month, tenant_id
"""
_ENDLESS_US: Final = 2**63 - 1
_QUARTER_US: Final = 900_000_000


class PeriodError(ValueError):
    """A month that cannot be closed or corrected: which, why, and what would be right."""


class Sums(msgspec.Struct, frozen=True):
    """What a month comes to."""

    calls: int
    """Calls."""
    incomplete_calls: int
    """Of these, calls whose cost is not wholly known."""
    known_cost_usd_pico: int
    """Known cost, 10⁻¹² USD."""

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(
            self.calls + other.calls,
            self.incomplete_calls + other.incomplete_calls,
            self.known_cost_usd_pico + other.known_cost_usd_pico,
        )


class Span(NamedTuple):
    """When a month of a tenant begins and ends."""

    time_zone: str
    """IANA time zone it was taken in."""
    starts_us: int
    """First instant, µs UTC."""
    ends_us: int
    """First instant after it, µs UTC."""


class Period(msgspec.Struct, frozen=True, kw_only=True):
    """A closed month of a tenant."""

    tenant_id: str
    """The tenant."""
    month: str
    """`2026-11`."""
    time_zone: str
    """IANA time zone it was closed in."""
    closed_at_us: int
    """The newest posting it holds, µs UTC."""
    closed_by: str
    """Who closed it."""
    reason: str
    """In their words."""
    closed: Sums
    """What it came to."""


class Correction(msgspec.Struct, frozen=True, kw_only=True):
    """What was posted to a closed month after its close, for one reason."""

    what: str
    """`late call`, `superseded`, `reprice run 3`, `reread run 4`, `adjustment 5`, …"""
    is_approved: bool
    """Whether somebody approved it."""
    sums: Sums
    """By how much it changes the month."""
    first_us: int
    """When the first of it was posted, µs UTC."""
    last_us: int
    """And the last."""


def span_of(connection: Connection, tenant_id: str, month: str) -> Span:
    """When that month begins and ends. Raises PeriodError.

    As it was closed; else by the tenant's time zone as it is stated now, but from where the month before was closed and
    up to where the month after was: a tenant that moves has no instant twice and loses none.
    """
    first = _first(month)
    row = connection.execute(_CLOSED_SPAN, (tenant_id, first)).fetchone()
    if row is not None:
        return Span(*row)
    try:
        row = connection.execute(_SPAN, {"tenant": tenant_id, "first": first}).fetchone()
    except psycopg.errors.InvalidParameterValue as error:
        message = f"tenant {tenant_id}: {str(error).splitlines()[0]}; a name such as Europe/Berlin would be right"
        raise PeriodError(message) from error
    assert row is not None  # noqa: S101  (the row comes from a value that is always there)
    zone, starts_us, ends_us, before_us, after_us = row
    span = Span(zone, before_us or starts_us, after_us or ends_us)
    if span.starts_us % _QUARTER_US or span.ends_us % _QUARTER_US:
        message = (
            f"{month} of {tenant_id} does not begin and end on a quarter-hour of UTC in {zone}, as it did when local "
            "mean time was kept; roll-ups are by the quarter-hour"
        )
        raise PeriodError(message)
    return span


def _first(month: str) -> str:
    try:
        return f"{datetime.strptime(month, '%Y-%m'):%Y-%m-01}"  # noqa: DTZ007  (a month has no zone of its own)
    except ValueError:
        raise PeriodError(f"month {month!r}; a month such as 2026-11 is right") from None


def sums(
    connection: Connection, tenant_id: str, month: str, *, since_us: int = -1, until_us: int = _ENDLESS_US
) -> Sums:
    """What a month comes to by everything posted after one instant and up to another."""
    return _sums_in(
        connection, tenant_id, span=span_of(connection, tenant_id, month), since_us=since_us, until_us=until_us
    )


def _sums_in(connection: Connection, tenant_id: str, *, span: Span, since_us: int, until_us: int) -> Sums:
    bound = {
        "tenant": tenant_id, "since": since_us, "until": until_us, "starts": span.starts_us, "ends": span.ends_us,
    }  # fmt: skip
    row = connection.execute(_SUMS, bound).fetchone()
    assert row is not None  # noqa: S101  (an aggregate gives one row)
    return Sums(row[0], row[1], int(row[2]))


def sums_again(connection: Connection, period: Period) -> Sums:
    """What a closed month came to, told anew. Raises ValueError where what was posted since the close was dropped."""
    refuse_dropped(connection, period.closed_at_us)
    bound = {"tenant": period.tenant_id, "first": _first(period.month)}
    row = connection.execute(_AGAIN, bound).fetchone()
    assert row is not None  # noqa: S101  (an aggregate gives one row)
    return Sums(row[0], row[1], int(row[2]))


def close(connection: Connection, tenant_id: str, month: str, *, reason: str, now: datetime) -> Period:
    """Close a month that is over. Raises PeriodError."""
    first = _first(month)
    month = first[:7]
    span = span_of(connection, tenant_id, month)
    if now.timestamp() * 1e6 < span.ends_us:
        over = datetime.fromtimestamp(span.ends_us / 1e6, now.tzinfo)
        raise PeriodError(f"{month} of {tenant_id} is not over before {over:%Y-%m-%d %H:%M %Z} ({span.time_zone})")
    # Nearly all of it is added up before the writer has to wait.
    before_us = _newest(connection)
    before = _sums_in(connection, tenant_id, span=span, since_us=-1, until_us=before_us)
    with connection.transaction():
        connection.execute(LOCK)
        if span_of(connection, tenant_id, month) != span:
            raise PeriodError(f"{month} of {tenant_id} began or ended elsewhere a moment ago; close it again")
        newest_us = _newest(connection)
        found = before + _sums_in(connection, tenant_id, span=span, since_us=before_us, until_us=newest_us)
        values = (tenant_id, first, newest_us, *msgspec.structs.astuple(found), reason, *span)
        if connection.execute(_CLOSE, values).rowcount != 1:
            raise PeriodError(f"{month} of {tenant_id} is closed already; later truth is posted beside it")
    return next(one for one in periods(connection) if (one.tenant_id, one.month) == (tenant_id, month))


def _newest(connection: Connection) -> int:
    row = connection.execute(_NEWEST).fetchone()
    assert row is not None  # noqa: S101  (an aggregate gives one row)
    return int(row[0])


def periods(connection: Connection) -> list[Period]:
    """Every closed month."""
    return [
        Period(
            tenant_id=tenant_id, month=month, closed_at_us=closed_at_us, closed_by=closed_by, reason=reason,
            closed=Sums(calls, incomplete, int(known)), time_zone=time_zone,
        )
        for tenant_id, month, closed_at_us, closed_by, calls, incomplete, known, reason, time_zone
        in connection.execute(_LIST)
    ]  # fmt: skip


def corrections(connection: Connection, tenant_id: str, month: str) -> list[Correction]:
    """What was posted to a closed month since its close; empty for one that is open.

    Raises ValueError where what was posted since the close was dropped.
    """
    row = connection.execute(_CLOSED_AT, (tenant_id, _first(month))).fetchone()
    if row is not None:
        refuse_dropped(connection, row[0])
    return _kept_corrections(connection, tenant_id, month=month)


def awaiting(connection: Connection, tenant_id: str, *, month: str) -> list[Correction]:
    """Corrections of a closed month that nobody approved; no month of the books goes that holds one."""
    return [one for one in _kept_corrections(connection, tenant_id, month=month) if not one.is_approved]


def _kept_corrections(connection: Connection, tenant_id: str, *, month: str) -> list[Correction]:
    rows = connection.execute(_CORRECTIONS, {"tenant": tenant_id, "first": _first(month)})
    return [
        Correction(
            what=what, is_approved=is_approved, sums=Sums(calls, incomplete, int(known)), first_us=first_us,
            last_us=last_us,
        )
        for what, is_approved, calls, incomplete, known, first_us, last_us in rows
    ]  # fmt: skip


def approve(connection: Connection, tenant_id: str, month: str, *, reason: str) -> Sums:
    """Approve the corrections of a closed month that await it; what they come to. Raises PeriodError."""
    with connection.transaction():
        connection.execute(LOCK)
        newest_us = _newest(connection)
        found = awaiting(connection, tenant_id, month=month)
        if not found:
            raise PeriodError(f"{month} of {tenant_id}: no correction awaits approval")
        total = sum((one.sums for one in found), Sums(0, 0, 0))
        values = (tenant_id, _first(month), newest_us, total.calls, total.known_cost_usd_pico, reason)
        connection.execute(_APPROVE, values)
    return total
