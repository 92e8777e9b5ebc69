"""Accounting months: closed once, answering the same for ever, with what came later shown beside.

A close notes the newest posting it holds. There is one writer, and each of its batches is posted later than the one
before, so nothing that is posted afterwards can slip under it.
"""

from datetime import UTC, datetime
from typing import Final

import msgspec

from ledger.database import Connection

_MONTH_SUMS: Final = """
    WITH bounds AS (
        SELECT (extract(epoch FROM %(month)s::date) / 900)::bigint AS first_bucket,
            (extract(epoch FROM %(month)s::date + interval '1 month') / 900)::bigint AS end_bucket
    ), posted AS (
        SELECT dim_no, calls::bigint, incomplete_calls::bigint, 0::bigint AS amount_usd_pico
        FROM postings, bounds
        WHERE posted_at_us <= %(until)s AND charged_at_us / 900000000 >= first_bucket
            AND charged_at_us / 900000000 < end_bucket
        UNION ALL
        SELECT dim_no, 0, 0, amount_usd_pico FROM lines, bounds
        WHERE posted_at_us <= %(until)s AND bucket_no >= first_bucket AND bucket_no < end_bucket
    )
    SELECT coalesce(sum(calls), 0)::bigint, coalesce(sum(incomplete_calls), 0)::bigint,
        coalesce(sum(amount_usd_pico), 0)::numeric(38, 0)
    FROM posted JOIN dimensions USING (dim_no)
    WHERE tenant_id = %(tenant)s
"""
_NEWEST: Final = "SELECT coalesce(max(posted_at_us), 0) FROM postings"
_CLOSE: Final = """
    INSERT INTO periods (tenant_id, month, closed_at_us, calls, incomplete_calls, known_cost_usd_pico, reason)
    VALUES (%s, %s::date, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING
"""
_LIST: Final = """
    SELECT tenant_id, to_char(month, 'YYYY-MM'), closed_at_us, closed_by, calls, incomplete_calls,
        known_cost_usd_pico, reason
    FROM periods ORDER BY month, tenant_id
"""
_ENDLESS_US: Final = 2**63 - 1


class PeriodError(ValueError):
    """A month that cannot be closed: which, why, and what would be right."""


class Sums(msgspec.Struct, frozen=True):
    """What a month comes to."""

    calls: int
    """Calls."""
    incomplete_calls: int
    """Of these, calls whose cost is not wholly known."""
    known_cost_usd_pico: int
    """Known cost, 10⁻¹² USD."""


class Period(msgspec.Struct, frozen=True, kw_only=True):
    """A closed month of a tenant."""

    tenant_id: str
    """The tenant."""
    month: str
    """`2026-11`, UTC."""
    closed_at_us: int
    """The newest posting it holds, µs UTC."""
    closed_by: str
    """Who closed it."""
    reason: str
    """In their words."""
    closed: Sums
    """What it came to."""


def sums(connection: Connection, tenant_id: str, month: str, *, until_us: int = _ENDLESS_US) -> Sums:
    """What a month comes to by everything posted up to an instant."""
    bound = {"tenant": tenant_id, "month": f"{month}-01", "until": until_us}
    row = connection.execute(_MONTH_SUMS, bound).fetchone()
    assert row is not None  # noqa: S101  (an aggregate gives one row)
    return Sums(row[0], row[1], int(row[2]))


def close(connection: Connection, tenant_id: str, month: str, *, reason: str, now: datetime) -> Period:
    """Close a month that is over. Raises PeriodError."""
    try:
        first = datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)
    except ValueError:
        raise PeriodError(f"month {month!r}; a month such as 2026-11 is right") from None
    following = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    if now < following:
        raise PeriodError(f"{month} is not over before {following:%Y-%m-%d} UTC")
    with connection.transaction():
        newest = connection.execute(_NEWEST).fetchone()
        assert newest is not None  # noqa: S101  (an aggregate gives one row)
        found = sums(connection, tenant_id, month, until_us=newest[0])
        values = (tenant_id, f"{month}-01", newest[0], *msgspec.structs.astuple(found), reason)
        if connection.execute(_CLOSE, values).rowcount != 1:
            raise PeriodError(f"{month} of {tenant_id} is closed already; later truth is posted beside it")
    return next(one for one in periods(connection) if (one.tenant_id, one.month) == (tenant_id, month))


def periods(connection: Connection) -> list[Period]:
    """Every closed month."""
    return [
        Period(
            tenant_id=tenant_id, month=month, closed_at_us=closed_at_us, closed_by=closed_by, reason=reason,
            closed=Sums(calls, incomplete, int(known)),
        )
        for tenant_id, month, closed_at_us, closed_by, calls, incomplete, known, reason in connection.execute(_LIST)
    ]  # fmt: skip
