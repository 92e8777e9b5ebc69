"""What the ledger holds, by SQL of its own: rows, lines, roll-ups, outcomes. Nothing of the product is used here."""

from collections import Counter
from typing import Any, Final, NamedTuple

import psycopg

Connection = psycopg.Connection[tuple[Any, ...]]
Group = tuple[str, str, str, int]
"""Tenant, feature, model, hour since 1970."""
TOPIC: Final = "llm.raw.v1"


class Row(NamedTuple):
    """One call as the ledger has it."""

    tenant: str
    feature: str
    model: str
    hour: int
    cost_usd_pico: int
    is_complete: bool
    is_reused: bool


class Books(NamedTuple):
    """All that is compared, of one snapshot."""

    calls: dict[str, Row]
    times: Counter[str]
    """How often each call is there."""
    line_sums: dict[str, int]
    """Call → the sum of the lines of the posting that charges it."""
    meters: dict[tuple[str, str, str], tuple[int, int]]
    """Tenant, model, meter → quantity and amount by all lines ever posted."""
    by_lines: dict[Group, int]
    by_rollups: dict[Group, int]
    counted: dict[Group, tuple[int, int]]
    """Calls and incomplete calls by roll-ups."""
    rejected: list[tuple[int, int, str]]
    outcomes: dict[tuple[int, str], int]
    """Partition and outcome → how many."""
    seen: dict[int, list[tuple[int, int]]]


_CALLS: Final = """
    SELECT CASE WHEN response_id IS NULL THEN 'e:' || event_id ELSE 'r:' || response_id END, tenant_id,
        coalesce(feature, ''), coalesce(priced_model, response_model, request_model, ''),
        charged_at_us / 3600000000, known_cost_usd_pico, cost_usd_pico IS NOT NULL, id_reuse, posting_id
    FROM calls WHERE tenant_id LIKE %(tenants)s
"""
_LINE_SUMS: Final = """
    SELECT l.posting_id, sum(l.amount_usd_pico)::bigint FROM lines l JOIN dimensions d USING (dim_no)
    WHERE d.tenant_id LIKE %(tenants)s GROUP BY 1
"""
_METERS: Final = """
    SELECT d.tenant_id, d.model, r.meter, sum(l.quantity)::text, sum(l.amount_usd_pico)::text
    FROM lines l JOIN dimensions d USING (dim_no) JOIN rates r USING (rate_no)
    WHERE d.tenant_id LIKE %(tenants)s GROUP BY 1, 2, 3
"""
_BY_LINES: Final = """
    SELECT d.tenant_id, coalesce(d.feature, ''), coalesce(d.model, ''), l.bucket_no / 4, sum(l.amount_usd_pico)::text
    FROM lines l JOIN dimensions d USING (dim_no) WHERE d.tenant_id LIKE %(tenants)s GROUP BY 1, 2, 3, 4
"""
_BY_ROLLUPS: Final = """
    SELECT tenant_id, coalesce(feature, ''), coalesce(model, ''),
        (floor(extract(epoch FROM bucket_start) / 3600))::bigint, sum(amount_usd_pico)::text, sum(calls)::text,
        sum(incomplete_calls)::text
    FROM rollups
    WHERE tenant_id LIKE %(tenants)s GROUP BY 1, 2, 3, 4
"""
_REJECTED: Final = """
    SELECT partition, "offset", reason FROM rejected WHERE topic = %(topic)s
"""
_OUTCOMES: Final = """
    SELECT partition, winners, losers, duplicates, rejected FROM origins WHERE topic = %(topic)s
"""
_SEEN: Final = """
    SELECT partition, lower(one), upper(one) FROM origin_ranges, unnest(seen) AS one
    WHERE topic = %(topic)s ORDER BY 1, 2
"""


def load(connection: Connection, prefix: str) -> Books:
    """Everything of the tenants whose names begin like this, on one snapshot."""
    bound = {"tenants": prefix + "-%", "topic": TOPIC}
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        connection.execute("SET LOCAL enable_nestloop = off")
        calls = connection.execute(_CALLS, bound).fetchall()
        sums: dict[int, int] = dict(connection.execute(_LINE_SUMS, bound).fetchall())
        lines = connection.execute(_BY_LINES, bound).fetchall()
        rollups = connection.execute(_BY_ROLLUPS, bound).fetchall()
        meters = connection.execute(_METERS, bound).fetchall()
        rejected = connection.execute(_REJECTED, bound).fetchall()
        outcomes = connection.execute(_OUTCOMES, bound).fetchall()
        seen = connection.execute(_SEEN, bound).fetchall()
    return Books(
        calls={name: Row(*values) for name, *values, _ in calls},
        times=Counter(row[0] for row in calls),
        line_sums={row[0]: sums.get(row[-1], 0) for row in calls},
        meters={row[:3]: (int(row[3]), int(row[4])) for row in meters if (row[3], row[4]) != ("0", "0")},
        by_lines=_summed((row[:4], int(row[4])) for row in lines),
        by_rollups=_summed((row[:4], int(row[4])) for row in rollups),
        counted=_counted(rollups),
        rejected=[(row[0], row[1], row[2]) for row in rejected],
        outcomes={
            (partition, name): count
            for partition, *counts in outcomes
            for name, count in zip(("winners", "losers", "duplicates", "rejected"), counts, strict=True)
            if count
        },
        seen=_spans(seen),
    )


def _summed(pairs: Any) -> dict[Group, int]:
    sums: Counter[Group] = Counter()
    for group, amount in pairs:
        sums[group] += amount
    return {group: amount for group, amount in sums.items() if amount}


def _counted(rows: list[tuple[Any, ...]]) -> dict[Group, tuple[int, int]]:
    calls = _summed((row[:4], int(row[5])) for row in rows)
    incomplete = _summed((row[:4], int(row[6])) for row in rows)
    return {group: (calls.get(group, 0), incomplete.get(group, 0)) for group in calls.keys() | incomplete.keys()}


def _spans(rows: list[tuple[Any, ...]]) -> dict[int, list[tuple[int, int]]]:
    """Neighbouring ranges joined, by partition."""
    spans: dict[int, list[tuple[int, int]]] = {}
    for partition, start, stop in rows:
        known = spans.setdefault(partition, [])
        if known and known[-1][1] == start:
            known[-1] = (known[-1][0], stop)
        else:
            known.append((start, stop))
    return spans


def reached(connection: Connection) -> dict[int, int]:
    """How far each partition was seen without a gap."""
    spans = _spans(connection.execute(_SEEN, {"topic": TOPIC}).fetchall())
    return {partition: known[0][1] for partition, known in spans.items()}
