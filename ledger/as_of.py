"""The cost table as the books stood at an instant, and what was posted after it and why.

Postings and lines are only added to, each with the instant it was posted, so any past answer can be given again.
"""

from collections.abc import Sequence
from typing import Final

import msgspec
from psycopg import sql

from ledger.database import Connection

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

_TABLE: Final = sql.SQL("""
SELECT {groups}, sum(calls)::bigint, sum(incomplete_calls)::bigint, sum(amount_usd_pico)::numeric(38, 0)
FROM (
    SELECT dim_no, charged_at_us / 900000000 AS bucket_no, calls::bigint, incomplete_calls::bigint,
        0::bigint AS amount_usd_pico
    FROM postings WHERE posted_at_us <= %(until)s
    UNION ALL
    SELECT dim_no, bucket_no::bigint, 0, 0, amount_usd_pico FROM lines WHERE posted_at_us <= %(until)s
) AS posted
JOIN dimensions d USING (dim_no)
GROUP BY {groups}
HAVING sum(calls) <> 0 OR sum(amount_usd_pico) <> 0
""")
_CHANGES: Final = sql.SQL("""
SELECT {groups}, cause::text, sum(calls)::bigint, sum(incomplete_calls)::bigint,
    sum(amount_usd_pico)::numeric(38, 0)
FROM (
    SELECT dim_no, charged_at_us / 900000000 AS bucket_no, cause, calls::bigint, incomplete_calls::bigint,
        0::bigint AS amount_usd_pico
    FROM postings WHERE posted_at_us > %(since)s AND posted_at_us <= %(until)s
    UNION ALL
    SELECT lines.dim_no, lines.bucket_no::bigint, cause, 0, 0, amount_usd_pico
    FROM lines JOIN postings USING (posting_id, posted_at_us)
    WHERE lines.posted_at_us > %(since)s AND lines.posted_at_us <= %(until)s
) AS posted
JOIN dimensions d USING (dim_no)
GROUP BY {groups}, cause
HAVING sum(calls) <> 0 OR sum(amount_usd_pico) <> 0 OR sum(incomplete_calls) <> 0
""")


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
    """`charge`, `reversal`, `reprice`, `reread` or `correction`."""


def standing(connection: Connection, *, by: Sequence[str], until_us: int) -> list[Standing]:
    """The cost table of everything posted up to an instant, dearest first. Raises ValueError for a dimension."""
    rows = connection.execute(_TABLE.format(groups=_groups(by)), {"until": until_us})
    found = [
        Standing(group=tuple(row[: len(by)]), calls=row[-3], incomplete_calls=row[-2], known_cost_usd_pico=int(row[-1]))
        for row in rows
    ]
    return sorted(found, key=lambda one: (-one.known_cost_usd_pico, one.group))


def changes(connection: Connection, *, by: Sequence[str], since_us: int, until_us: int) -> list[Change]:
    """What was posted after one instant and up to another, the largest first; adds up to the difference of the two."""
    rows = connection.execute(_CHANGES.format(groups=_groups(by)), {"since": since_us, "until": until_us})
    found = [
        Change(
            group=tuple(row[: len(by)]), cause=row[-4], calls=row[-3], incomplete_calls=row[-2],
            known_cost_usd_pico=int(row[-1]),
        )
        for row in rows
    ]  # fmt: skip
    return sorted(found, key=lambda one: (-abs(one.known_cost_usd_pico), one.group, one.cause))


def _groups(by: Sequence[str]) -> sql.Composed:
    unknown = [name for name in by if name not in _DIMENSIONS]
    if unknown or not by:
        message = (
            f"costs: the books as of an instant have no dimension {', '.join(unknown) or '(none given)'}; there are "
            f"{', '.join(DIMENSIONS)}"
        )
        raise ValueError(message)
    return sql.SQL(", ").join(sql.SQL(_DIMENSIONS[name]) for name in by)
