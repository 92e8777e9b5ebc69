"""Routing decisions as the ledger has them: what was chosen, and what the whole operation came to."""

from typing import Final

import msgspec
from psycopg.rows import args_row

from ledger.database import Connection
from tokenledger.records.decision import RouteDecision

_READ: Final = """
    SELECT call.decision, made.incurred_cost_usd_pico, made.incomplete_calls, made.escalated, made.total_us
    FROM routing_decisions AS made JOIN calls AS call USING (call_id)
    WHERE made.mode <> 'shadow' AND extract(epoch FROM made.decided_at) * 1000000 >= %(since_us)s
        AND (%(route)s::text IS NULL OR made.route = %(route)s)
    ORDER BY made.call_id
    LIMIT %(most)s
"""


class Decided(msgspec.Struct, frozen=True):
    """One decision that was followed."""

    decision: RouteDecision
    """It."""
    incurred_cost_usd_pico: int
    """Known cost of every attempt of the operation, 10⁻¹² USD."""
    incomplete_calls: int
    """Attempts whose cost is not wholly known."""
    escalated: bool
    """Whether a stronger tier was asked after all."""
    total_us: int | None
    """First attempt's start to last attempt's end, µs."""


def read(connection: Connection, *, since_us: int, route: str | None, most: int) -> list[Decided]:
    """Decisions that traffic followed, the oldest first; those of shadow mode changed nothing and tell nothing."""
    with connection.cursor(row_factory=args_row(_decided)) as cursor:
        return cursor.execute(_READ, {"since_us": since_us, "route": route, "most": most}).fetchall()


def _decided(decision: object, cost: int, incomplete: int, escalated: bool, total_us: int | None) -> Decided:  # noqa: FBT001
    return Decided(msgspec.convert(decision, RouteDecision), int(cost), incomplete, escalated, total_us)
