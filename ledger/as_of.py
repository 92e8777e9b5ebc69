"""The cost table as the books stood at an instant, and what was posted after it and why.

Postings and lines are only added to, each with the instant it was posted, so any past answer can be given again.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec
from psycopg import sql

from ledger.database import Connection

_DAY_US: Final = 86_400_000_000
_TIME: Final = "to_timestamp(bucket_no * 900.0) AT TIME ZONE 'UTC'"
_DIMENSIONS: Final = {
    "provider": "d.provider",
    "model": "coalesce(d.model, '')",
    "api": "coalesce(d.api, '')",
    "tenant": "d.tenant_id",
    "environment": "coalesce(d.environment, '')",
    "project": "coalesce(d.project, '')",
    "feature": "coalesce(d.feature, '')",
    "cost_centre": "coalesce(d.cost_centre, '')",
    "api_key": "coalesce(d.api_key_id, '')",
    "tier": "coalesce(d.service_tier_served, '')",
    "processing": "coalesce(d.processing, '')",
    "hour": f"to_char({_TIME}, 'YYYY-MM-DD HH24:00')",
    "day": f"to_char({_TIME}, 'YYYY-MM-DD')",
    "month": f"to_char({_TIME}, 'YYYY-MM')",
}
DIMENSIONS: Final = tuple(_DIMENSIONS)
"""What these tables can be grouped by: what postings keep, which is less than what calls say."""

# The roll-ups up to their watermark, and what was posted between it and the instant: added where the instant is later,
# taken off where it is earlier. An answer about yesterday reads what was posted since, not the books from the start.
_TABLE: Final = sql.SQL("""
SELECT {groups}, sum(calls)::bigint, sum(incomplete_calls)::bigint, sum(amount_usd_pico)::numeric(38, 0)
FROM (
    SELECT dim_no, bucket_no::bigint, calls, incomplete_calls, amount_usd_pico FROM rollups_15m
    UNION ALL
    SELECT dim_no, charged_at_us / 900000000, sign * calls, sign * incomplete_calls, 0
    FROM postings, LATERAL (SELECT CASE WHEN posted_at_us > %(until)s THEN -1 ELSE 1 END AS sign) AS side
    WHERE posted_at_us > (SELECT least(posted_at_us, %(until)s) FROM compaction)
        AND posted_at_us <= (SELECT greatest(posted_at_us, %(until)s) FROM compaction)
    UNION ALL
    SELECT dim_no, bucket_no, 0, 0, CASE WHEN posted_at_us > %(until)s THEN -1 ELSE 1 END * amount_usd_pico
    FROM lines
    WHERE posted_at_us > (SELECT least(posted_at_us, %(until)s) FROM compaction)
        AND posted_at_us <= (SELECT greatest(posted_at_us, %(until)s) FROM compaction)
) AS posted
JOIN dimensions d USING (dim_no)
GROUP BY {groups}
HAVING sum(calls) <> 0 OR sum(amount_usd_pico) <> 0
""")
_CHANGES: Final = sql.SQL("""
WITH caused AS (
    SELECT posting_id, posted_at_us, dim_no, charged_at_us / 900000000 AS bucket_no,
        postings.calls::bigint, incomplete_calls::bigint,
        CASE
            WHEN run_no IS NOT NULL THEN kind || ' run ' || run_no
            WHEN subject_kind = 'manual' THEN 'adjustment ' || subject_id
            WHEN reverses_posting_id IS NOT NULL OR subject_id <> posting_id THEN 'superseded'
            WHEN charged_at_us < %(since)s THEN 'late call'
            ELSE 'new call'
        END || CASE WHEN charge_class = 'correction' THEN ', correction' ELSE '' END AS cause
    FROM postings
    LEFT JOIN run_batches USING (posted_at_us)
    LEFT JOIN run_kinds() USING (run_no)
    WHERE posted_at_us > %(since)s AND posted_at_us <= %(until)s
)
SELECT {groups}, cause, sum(calls)::bigint, sum(incomplete_calls)::bigint, sum(amount_usd_pico)::numeric(38, 0)
FROM (
    SELECT dim_no, bucket_no, cause, calls, incomplete_calls, 0::bigint AS amount_usd_pico FROM caused
    UNION ALL
    SELECT lines.dim_no, lines.bucket_no::bigint, cause, 0, 0, amount_usd_pico
    FROM lines JOIN caused USING (posting_id, posted_at_us)
    WHERE lines.posted_at_us > %(since)s AND lines.posted_at_us <= %(until)s
) AS posted
JOIN dimensions d USING (dim_no)
GROUP BY {groups}, cause
HAVING sum(calls) <> 0 OR sum(amount_usd_pico) <> 0 OR sum(incomplete_calls) <> 0
""")


# Where no month of the books is left, they begin after the last batch that was in them.
_BEGIN: Final = """
    SELECT begin_us FROM (
        SELECT coalesce(
            (extract(epoch FROM min(to_date(right(c.relname, 6), 'YYYYMM'))::timestamp AT TIME ZONE 'UTC') * 1000000
                )::bigint,
            (SELECT max(posted_at_us) + 1 FROM batches)) AS begin_us
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'postings'::regclass
    ) AS kept
    WHERE EXISTS (SELECT FROM batches WHERE posted_at_us < begin_us)
"""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """One group of calls as the books stood."""

    group: tuple[str, ...]
    """Its values of the dimensions asked for."""
    calls: int
    """Calls."""
    incomplete_calls: int
    """Of these, calls whose cost was not wholly known."""
    known_cost_usd_pico: int
    """Their known cost, 10⁻¹² USD."""


class Change(Standing, frozen=True, kw_only=True):
    """What was posted to one group between two instants, by cause; figures are differences."""

    cause: str
    """`new call`; `late call`, made before the first instant; `superseded`, by a record that counts more;
    `reprice run 3`, `reread run 4`, `arrival run 5` (of a price), `stale run 6`; `adjustment 7`. To a closed month: the
    same with `, correction`."""


def standing(connection: Connection, *, by: Sequence[str], until_us: int) -> list[Standing]:
    """The cost table of everything posted up to an instant, dearest first. Raises ValueError for a dimension."""
    refuse_dropped(connection, until_us)
    rows = connection.execute(_TABLE.format(groups=_groups(by)), {"until": until_us})
    found = [
        Standing(group=tuple(row[: len(by)]), calls=row[-3], incomplete_calls=row[-2], known_cost_usd_pico=int(row[-1]))
        for row in rows
    ]
    return sorted(found, key=lambda one: (-one.known_cost_usd_pico, one.group))


def changes(connection: Connection, *, by: Sequence[str], since_us: int, until_us: int) -> list[Change]:
    """What was posted after one instant and up to another, the largest first; adds up to the difference of the two."""
    refuse_dropped(connection, since_us)
    rows = connection.execute(_CHANGES.format(groups=_groups(by)), {"since": since_us, "until": until_us})
    found = [
        Change(
            group=tuple(row[: len(by)]), cause=row[-4], calls=row[-3], incomplete_calls=row[-2],
            known_cost_usd_pico=int(row[-1]),
        )
        for row in rows
    ]  # fmt: skip
    return sorted(found, key=lambda one: (-abs(one.known_cost_usd_pico), one.group, one.cause))


def refuse_dropped(connection: Connection, at_us: int) -> None:
    """What was posted after an instant must still be there. Raises ValueError where it was dropped."""
    row = connection.execute(_BEGIN).fetchone()
    if row is not None and at_us < row[0] - 1:
        begin = datetime.fromtimestamp(-(-row[0] // 1_000_000), UTC)
        said = f"{begin:%Y-%m-%d}" if row[0] % _DAY_US == 0 else f"{begin:%Y-%m-%dT%H:%M:%SZ}"
        raise ValueError(f"costs: the books before {said} were dropped; they can be asked as of then or later")


def _groups(by: Sequence[str]) -> sql.Composed:
    unknown = [name for name in by if name not in _DIMENSIONS]
    if unknown or not by:
        message = (
            f"costs: the books as of an instant have no dimension {', '.join(unknown) or '(none given)'}; there are "
            f"{', '.join(DIMENSIONS)}"
        )
        raise ValueError(message)
    return sql.SQL(", ").join(sql.SQL(_DIMENSIONS[name]) for name in by)
