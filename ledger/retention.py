"""Old months of the books are dropped, whole and oldest first, once nothing they say can still be asked or changed.

Postings and lines of a month go together; calls and roll-ups stay, so every total stays, and so do keys, so that what
is sent again is known. `calls` has no such command: a key must lead to the record that counts, or no later record of
the call could be compared with it.
"""

from typing import Final, NamedTuple

import psycopg
from psycopg import sql

from ledger.database import Connection
from ledger.verify import verify

_LOCK: Final = "SET LOCAL lock_timeout = '5s'"
# Materialised: else the comparison may be made of every table there is, whose names end in no month.
_MONTHS: Final = """
    WITH kept AS MATERIALIZED (
        SELECT to_date(right(c.relname, 6), 'YYYYMM')::timestamp AS month
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'postings'::regclass
    )
    SELECT to_char(month, 'YYYY-MM'), (extract(epoch FROM month) * 1000000)::bigint,
        (extract(epoch FROM month + interval '1 month') * 1000000)::bigint,
        pg_total_relation_size(to_regclass('postings_' || to_char(month, 'YYYYMM')))
            + coalesce(pg_total_relation_size(to_regclass('lines_' || to_char(month, 'YYYYMM'))), 0)
    FROM kept
    WHERE to_char(month, 'YYYY-MM') < %s ORDER BY month
"""
_FOLDED: Final = "SELECT posted_at_us FROM compaction"
# Charged to the months that go, by whatever was posted in them: to be closed, or an invoice could still be made of it.
_OPEN: Final = """
    SELECT DISTINCT tenant_id, to_char(to_timestamp(charged_at_us / 1e6) AT TIME ZONE 'UTC', 'YYYY-MM') AS month
    FROM postings JOIN dimensions USING (dim_no)
    WHERE posted_at_us < %(end)s
        AND NOT EXISTS (SELECT FROM periods p WHERE p.tenant_id = dimensions.tenant_id
            AND charged_at_us >= p.starts_us AND charged_at_us < p.ends_us)
    ORDER BY 2, 1 LIMIT 20
"""
# Posted to a closed month in the months that go: what it came to could afterwards be neither listed nor approved.
_AWAITING: Final = """
    SELECT DISTINCT m.tenant_id, to_char(m.month, 'YYYY-MM') AS month
    FROM periods m
    JOIN postings p ON p.posted_at_us < %(end)s AND p.posted_at_us > m.closed_at_us
        AND p.charged_at_us >= m.starts_us AND p.charged_at_us < m.ends_us
    JOIN dimensions d ON d.dim_no = p.dim_no AND d.tenant_id = m.tenant_id
    WHERE p.subject_kind <> 'manual' AND p.posted_at_us NOT IN (SELECT posted_at_us FROM run_batches)
        AND p.posted_at_us > coalesce(
            (SELECT max(until_us) FROM period_approvals a WHERE a.tenant_id = m.tenant_id AND a.month = m.month), 0)
    ORDER BY 2, 1 LIMIT 20
"""
_WAITING: Final = "SELECT count(*) FROM repricings r JOIN postings p USING (posting_id) WHERE p.posted_at_us < %(end)s"
_NOTE: Final = "INSERT INTO audit_log (action, detail) VALUES ('retention', jsonb_build_object('dropped', %s::text))"


class Month(NamedTuple):
    """A month of the books."""

    name: str
    """`2026-01`, by when it was posted."""
    starts_us: int
    """Its first instant, µs UTC."""
    ends_us: int
    """The first instant after it, µs UTC."""
    size_bytes: int
    """What dropping it frees."""


def months_before(connection: Connection, month: str) -> list[Month]:
    """Months of the books that were posted before `2026-01`, oldest first."""
    return [Month(*row) for row in connection.execute(_MONTHS, (month,))]


def hindrances(connection: Connection, months: list[Month], *, now_us: int) -> list[str]:
    """Why these may not go; empty if they may."""
    end = {"end": months[-1].ends_us}
    found = []
    if months[-1].ends_us > now_us:
        found.append(f"{months[-1].name} is not over")
    (folded_us,) = connection.execute(_FOLDED).fetchone() or (0,)
    if (
        folded_us < months[-1].ends_us
        and connection.execute(
            "SELECT 1 FROM postings WHERE posted_at_us > %s AND posted_at_us < %s LIMIT 1", (folded_us, end["end"])
        ).fetchone()
    ):
        found.append("roll-ups do not yet hold all of it; the compactor has to run first")
    found += [f"{tenant} has not closed {month}" for tenant, month in connection.execute(_OPEN, end)]
    found += [
        f"{tenant} has not approved what was posted to {month} since its close"
        for tenant, month in connection.execute(_AWAITING, end)
    ]
    (waiting,) = connection.execute(_WAITING, end).fetchone() or (0,)
    if waiting:
        found.append(f"{waiting} calls of it wait to be charged anew")
    if not found:  # it reads the whole ledger
        found += [f"the ledger is not right as it is: {one}" for one in verify(connection, None)]
    return found


def drop(admin: psycopg.Connection[tuple[object, ...]], months: list[Month]) -> None:
    """Drop them, all or none. `admin` owns the tables and is in autocommit mode."""
    with admin.transaction():
        # Whoever reads or writes the books waits for this, and it waits for nobody long.
        admin.execute(_LOCK)
        for month in months:
            for table in ("lines", "postings"):
                name = f"{table}_{month.name.replace('-', '')}"
                admin.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(name)))
        admin.execute(_NOTE, (", ".join(month.name for month in months),))
