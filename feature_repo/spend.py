"""What each product feature has cost, from the ledger's roll-ups, as role `features`."""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from ledger.database import Connection
from tokenledger.records.features import SpendFeatures

BUCKET_US: Final = 900_000_000
"""Roll-ups are per quarter-hour."""
_DAY_US: Final = 86_400_000_000
_TOLD_AFTER_US: Final = 2 * 3600 * 1_000_000

Key = tuple[str, str]
"""Tenant and product feature; calls that name no feature have an empty one."""

_SUMS: Final = """
SELECT tenant_id, coalesce(feature, ''),
    coalesce(sum(amount_usd_pico) FILTER (WHERE bucket_no >= %(counted)s), 0),
    coalesce(sum(calls) FILTER (WHERE bucket_no >= %(counted)s), 0),
    coalesce(sum(incomplete_calls) FILTER (WHERE bucket_no >= %(counted)s), 0)
FROM (
    SELECT bucket_no, dim_no, amount_usd_pico, calls, incomplete_calls
    FROM rollups_15m WHERE bucket_no >= %(first)s AND bucket_no < %(end)s
    UNION ALL
    SELECT bucket_no, dim_no, amount_usd_pico, calls, incomplete_calls
    FROM rollup_deltas WHERE bucket_no >= %(first)s AND bucket_no < %(end)s
) AS both_parts
JOIN dimensions USING (dim_no)
GROUP BY 1, 2
"""


class Sums(NamedTuple):
    """What the calls of some span of time add up to."""

    known_cost_usd_pico: int = 0
    """Known cost, 10⁻¹² USD."""
    calls: int = 0
    """Calls."""
    incomplete_calls: int = 0
    """Calls whose cost is not wholly known."""


class Span(NamedTuple):
    """A span of time; those who called from `first_us` on are named, what came before `counted_us` counts nothing."""

    first_us: int
    counted_us: int
    end_us: int


def days_before(month_us: int, today_us: int) -> Span:
    """The month up to today."""
    return Span(month_us, month_us, today_us)


def today(today_us: int) -> Span:
    """Today, naming who called shortly before: at midnight their sums become 0 instead of staying as they were."""
    return Span(today_us - _TOLD_AFTER_US, today_us, today_us + _DAY_US)


def sums(connection: Connection, span: Span) -> dict[Key, Sums]:
    """Sums per tenant and feature. Raises what psycopg raises."""
    bounds = {
        "first": span.first_us // BUCKET_US,
        "counted": span.counted_us // BUCKET_US,
        "end": span.end_us // BUCKET_US,
    }
    rows = connection.execute(_SUMS, bounds)
    return {(tenant, feature): Sums(*(int(value) for value in counts)) for tenant, feature, *counts in rows}


def spend_features(
    before: Mapping[Key, Sums], this_day: Mapping[Key, Sums], also: Iterable[Key] = ()
) -> dict[Key, SpendFeatures]:
    """Day and month of everybody who is in either, and zeros for those of `also` who are not."""
    nothing = Sums()
    keys = dict.fromkeys((*before, *this_day, *also))
    return {key: _features(before.get(key, nothing), this_day.get(key, nothing)) for key in keys}


def _features(before: Sums, this_day: Sums) -> SpendFeatures:
    return SpendFeatures(
        known_cost_usd_pico_day=this_day.known_cost_usd_pico,
        known_cost_usd_pico_month=before.known_cost_usd_pico + this_day.known_cost_usd_pico,
        incomplete_calls_month=before.incomplete_calls + this_day.incomplete_calls,
        calls_month=before.calls + this_day.calls,
    )
