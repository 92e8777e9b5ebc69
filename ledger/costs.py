"""The cost table from the ledger: the same columns as `tokenledger price` prints from files."""

from collections.abc import Mapping, Sequence
from typing import Final, LiteralString, NamedTuple

import msgspec
from psycopg import sql

from ledger.database import Connection

_TIME: Final = "to_timestamp(started_at_us / 1e6) AT TIME ZONE 'UTC'"
_DIMENSIONS: Final = {
    "provider": "provider",
    "model": "coalesce(priced_model, response_model, request_model, '')",
    "request_model": "coalesce(request_model, '')",
    "response_model": "coalesce(response_model, '')",
    "api": "coalesce(api, '')",
    "tenant": "tenant_id",
    "environment": "coalesce(environment, '')",
    "project": "coalesce(project, '')",
    "feature": "coalesce(feature, '')",
    "cost_centre": "coalesce(cost_centre, '')",
    "user": "coalesce(user_id, '')",
    "api_key": "coalesce(api_key_id, '')",
    "session": "coalesce(session_id, '')",
    "operation": "coalesce(operation_id, '')",
    "prompt": "coalesce(prompt_id, '')",
    "route": "coalesce(route, '')",
    "tier": "coalesce(service_tier_served, '')",
    "processing": "coalesce(processing, '')",
    "region": "coalesce(region, '')",
    "status": "status",
    "price_status": "price_status",
    "hour": f"to_char({_TIME}, 'YYYY-MM-DD HH24:00')",
    "day": f"to_char({_TIME}, 'YYYY-MM-DD')",
    "month": f"to_char({_TIME}, 'YYYY-MM')",
}
DIMENSIONS: Final = tuple(_DIMENSIONS)
"""What the table can be grouped by."""
_OF_REJECTED: Final = {"tenant": "coalesce(tenant_id, '')"}
"""What of these is known of a record that could not be understood."""


_ADJUSTED_TIME: Final = "to_timestamp(charged_at_us / 1e6) AT TIME ZONE 'UTC'"
_OF_ADJUSTED: Final = {
    "provider": "provider",
    "model": "coalesce(model, '')",
    "tenant": "tenant_id",
    "project": "coalesce(project, '')",
    "feature": "coalesce(feature, '')",
    "cost_centre": "coalesce(cost_centre, '')",
    "hour": f"to_char({_ADJUSTED_TIME}, 'YYYY-MM-DD HH24:00')",
    "day": f"to_char({_ADJUSTED_TIME}, 'YYYY-MM-DD')",
    "month": f"to_char({_ADJUSTED_TIME}, 'YYYY-MM')",
}
"""What of these is known of an amount that was posted by hand."""
_ADJUSTED: Final = sql.SQL("""
SELECT {groups}, sum(amount_usd_pico) FROM adjustments JOIN adjustment_postings USING (adjustment_no)
WHERE charged_at_us >= %(since_us)s AND charged_at_us < %(until_us)s
GROUP BY {places}
""")


_REJECTED: Final = sql.SQL("""
SELECT {groups}, count(*) FROM rejected
WHERE append_at_us >= %(since_us)s AND append_at_us < %(until_us)s
GROUP BY {places}
""")


class Period(NamedTuple):
    """From one instant to before another, µs UTC."""

    since_us: int = 0
    """The first instant of it."""
    until_us: int = 2**63 - 1
    """The first after it."""


ALWAYS: Final = Period()


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One group of calls."""

    group: tuple[str, ...]
    """Its values of the dimensions asked for; empty where a call does not say."""
    calls: int
    """Calls."""
    input_tokens: int
    """Inclusive input total."""
    output_tokens: int
    """Inclusive output total."""
    cache_read_tokens: int
    """Input tokens read from a prompt cache."""
    cost_usd_pico: int | None
    """What they cost, 10⁻¹² USD; None if that is not wholly known."""
    known_cost_usd_pico: int
    """The known part, 10⁻¹² USD."""
    incomplete_calls: int
    """Calls whose cost is not wholly known."""
    rejected: int
    """Records that could not be understood."""
    anomalies: int
    """Calls with something odd about them."""

    @property
    def cache_share(self) -> float | None:
        """Share of the input that came from a prompt cache; None without input."""
        return self.cache_read_tokens / self.input_tokens if self.input_tokens else None


_SUMS: Final = sql.SQL("""
SELECT {groups}, count(*), coalesce(sum(input_tokens), 0)::bigint, coalesce(sum(output_tokens), 0)::bigint,
    coalesce(sum(
        coalesce((usage ->> 'input.text.cache_read')::bigint, 0)
        + coalesce((usage ->> 'input.audio.cache_read')::bigint, 0)
        + coalesce((usage ->> 'input.image.cache_read')::bigint, 0)
        + coalesce((usage ->> 'input.video.cache_read')::bigint, 0)
    ), 0)::bigint,
    sum(known_cost_usd_pico), count(*) FILTER (WHERE cost_usd_pico IS NULL),
    count(*) FILTER (WHERE anomalies IS NOT NULL OR id_reuse)
FROM calls
WHERE charged_at_us >= %(since_us)s AND charged_at_us < %(until_us)s
GROUP BY {groups}
""")


def table(connection: Connection, *, by: Sequence[str] = ("provider", "model"), period: Period = ALWAYS) -> list[Row]:
    """What is charged to a period by these dimensions, dearest first. Raises ValueError for a dimension there is not.

    A rejected record is of the time when the log took it and has at most a tenant: it stands in the group that says
    nothing else. Adjustments are among the amounts of their group, without calls.
    """
    unknown = [name for name in by if name not in _DIMENSIONS]
    if unknown or not by:
        message = f"costs: no dimension {', '.join(unknown) or '(none given)'}; there are {', '.join(DIMENSIONS)}"
        raise ValueError(message)
    rejected = _of_others(connection, _REJECTED, _OF_REJECTED, by=by, period=period)
    adjusted = _of_others(connection, _ADJUSTED, _OF_ADJUSTED, by=by, period=period)
    groups = sql.SQL(", ").join(sql.SQL(_DIMENSIONS[name]) for name in by)
    found = {}
    for row in connection.execute(_SUMS.format(groups=groups), period._asdict()):
        group = tuple(row[: len(by)])
        calls, input_tokens, output_tokens, cached, known, incomplete, odd = (int(value) for value in row[len(by) :])
        known += adjusted.pop(group, 0)
        found[group] = Row(
            group=group,
            calls=calls,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            cache_read_tokens=cached,
            cost_usd_pico=None if incomplete else known,
            known_cost_usd_pico=known,
            incomplete_calls=incomplete,
            rejected=rejected.pop(group, 0),
            anomalies=odd,
        )
    without_calls = [
        _without_calls(group, rejected=rejected.get(group, 0), known_cost_usd_pico=adjusted.get(group, 0))
        for group in rejected.keys() | adjusted.keys()
    ]
    rows = [*found.values(), *without_calls]
    return sorted(rows, key=lambda row: (-row.known_cost_usd_pico, row.group))


def _of_others(
    connection: Connection,
    statement: sql.SQL,
    dimensions: Mapping[str, LiteralString],
    *,
    by: Sequence[str],
    period: Period,
) -> dict[tuple[str, ...], int]:
    """The figure of what is no call, a rejected record or an adjustment, of which few dimensions are known."""
    groups = sql.SQL(", ").join(sql.SQL(dimensions.get(name, "''")) for name in by)
    # By position: a group that is a constant cannot be named.
    places = sql.SQL(", ").join(sql.Literal(place + 1) for place in range(len(by)))
    rows = connection.execute(statement.format(groups=groups, places=places), period._asdict())
    return {tuple(row[:-1]): int(row[-1]) for row in rows}


def _without_calls(group: tuple[str, ...], *, rejected: int, known_cost_usd_pico: int) -> Row:
    return Row(
        group=group,
        calls=0,
        input_tokens=0,
        output_tokens=0,
        cache_read_tokens=0,
        cost_usd_pico=known_cost_usd_pico,
        known_cost_usd_pico=known_cost_usd_pico,
        incomplete_calls=0,
        rejected=rejected,
        anomalies=0,
    )
