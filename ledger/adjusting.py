"""Amounts that no call made: one login proposes, another approves, the one writer posts. All SQL of it.

Who may approve is decided by the database, for every login: a proposal is under `session_user`, and so is a decision.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import psycopg

from ledger import store
from ledger.batching import Batch
from ledger.database import Connection
from ledger.periods import span_of
from ledger.received import Received
from ledger.state import State
from ledger.writing import writing
from tokenledger.records.meters import MANUAL_ADJUSTMENT

POSTED_AT_ONCE: Final = 100
_BOOK: Final = "by hand"
"""What stands for a price book where there is none."""
_DAY_US: Final = 86_400_000_000
_BUCKET_US: Final = 900_000_000
_PROPOSE: Final = """
    INSERT INTO adjustments (tenant_id, month, charged_at_us, amount_usd_pico, reason, reference, provider, model,
        project, feature, cost_centre)
    VALUES (%(tenant_id)s, %(first)s::date, %(charged_at_us)s, %(amount_usd_pico)s, %(reason)s, %(reference)s,
        %(provider)s, %(model)s, %(project)s, %(feature)s, %(cost_centre)s)
    ON CONFLICT (tenant_id, reference) DO NOTHING RETURNING adjustment_no
"""
_SAME: Final = """
    SELECT adjustment_no FROM adjustments
    WHERE tenant_id = %(tenant_id)s AND reference = %(reference)s AND month = %(first)s::date
        AND amount_usd_pico = %(amount_usd_pico)s
"""
_DECIDE: Final = "INSERT INTO adjustment_decisions (adjustment_no, approves, reason) VALUES (%s, %s, %s)"
_LIST: Final = """
    SELECT adjustment_no, tenant_id, to_char(month, 'YYYY-MM'), amount_usd_pico, a.reason, reference, proposed_by,
        CASE WHEN approves IS NULL THEN 'proposed' WHEN NOT approves THEN 'refused'
            WHEN posting_id IS NULL THEN 'approved' ELSE 'posted' END,
        coalesce(decided_by, ''), coalesce(d.reason, ''), posted_at_us
    FROM adjustments a
    LEFT JOIN adjustment_decisions d USING (adjustment_no)
    LEFT JOIN adjustment_postings USING (adjustment_no)
    ORDER BY adjustment_no
"""
_WAITING: Final = """
    SELECT adjustment_no, tenant_id, charged_at_us, amount_usd_pico, provider, model, project, feature, cost_centre
    FROM adjustments a
    WHERE adjustment_no > %s AND EXISTS (
            SELECT FROM adjustment_decisions d WHERE d.adjustment_no = a.adjustment_no AND approves)
        AND NOT EXISTS (SELECT FROM adjustment_postings p WHERE p.adjustment_no = a.adjustment_no)
    ORDER BY adjustment_no LIMIT %s
"""
_POST: Final = """
    INSERT INTO postings (posting_id, posted_at_us, subject_id, charged_at_us, dim_no, book_no, subject_kind, cause,
        charge_category, charge_class, calls, incomplete_calls)
    VALUES (%s, %s, %s, %s, %s, %s, 'manual', 'adjustment', %s::charge_category, %s::charge_class, 0, 0)
"""
_LINE: Final = """
    INSERT INTO lines (posting_id, posted_at_us, quantity, amount_usd_pico, list_amount_usd_pico, bucket_no, dim_no,
        rate_no, line_no)
    VALUES (%s, %s, 1, %s, %s, %s, %s, %s, 0)
"""
_POSTED: Final = "INSERT INTO adjustment_postings (adjustment_no, posting_id, posted_at_us) VALUES (%s, %s, %s)"


class AdjustmentError(ValueError):
    """What cannot be proposed or decided: which, why, and what would be right."""


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """A credit or a charge that no call made."""

    tenant_id: str
    """The tenant."""
    month: str
    """The month it is charged to, such as `2026-10`."""
    amount_usd_pico: int
    """The amount, 10⁻¹² USD; negative for a credit."""
    reason: str
    """Why."""
    reference: str | None = None
    """Number of the letter or ticket behind it; a second proposal under it is the first one again."""
    provider: str = ""
    """Provider it concerns; empty for none."""
    model: str | None = None
    """Model it concerns."""
    project: str | None = None
    """Project it concerns."""
    feature: str | None = None
    """Product feature it concerns."""
    cost_centre: str | None = None
    """Cost centre it concerns."""


class Adjustment(msgspec.Struct, frozen=True, kw_only=True):
    """A proposal and what became of it."""

    adjustment_no: int
    """Its number."""
    tenant_id: str
    """The tenant."""
    month: str
    """The month it is charged to."""
    amount_usd_pico: int
    """The amount, 10⁻¹² USD."""
    reason: str
    """Why, in the words of who proposed it."""
    reference: str | None
    """The letter or ticket behind it."""
    proposed_by: str
    """The login that proposed it."""
    state: str
    """`proposed`, `refused`, `approved` or `posted`."""
    decided_by: str
    """The login that decided; empty while nobody has."""
    decision: str
    """Why, in their words."""
    posted_at_us: int | None
    """When the writer posted it, µs UTC."""


def propose(connection: Connection, proposal: Proposal) -> int:
    """Put an adjustment up for another's approval; its number. Raises AdjustmentError or PeriodError."""
    if not proposal.amount_usd_pico or not -(2**63) < proposal.amount_usd_pico < 2**63:
        raise AdjustmentError("an amount other than 0, below 9.2 million USD, would be right")
    span = span_of(connection, proposal.tenant_id, proposal.month)
    bound = msgspec.structs.asdict(proposal) | {
        "first": f"{proposal.month}-01",
        # The second day is within the month in every time zone, so every table shows it in the month it is for.
        "charged_at_us": span.starts_us + _DAY_US,
    }
    with connection.transaction():
        row = connection.execute(_PROPOSE, bound).fetchone() or (connection.execute(_SAME, bound).fetchone())
    if row is None:
        raise AdjustmentError(f"reference {proposal.reference} of {proposal.tenant_id} is another month or amount")
    return int(row[0])


def decide(connection: Connection, adjustment_no: int, *, approves: bool, reason: str) -> None:
    """Approve or refuse a proposal. Raises AdjustmentError, for one's own above all."""
    try:
        connection.execute(_DECIDE, (adjustment_no, approves, reason))
    except psycopg.errors.CheckViolation as error:
        raise AdjustmentError(str(error).splitlines()[0]) from error
    except psycopg.errors.UniqueViolation as error:
        raise AdjustmentError(f"adjustment {adjustment_no} was decided before; `adjust list` says how") from error
    except psycopg.errors.ForeignKeyViolation as error:
        raise AdjustmentError(f"there is no adjustment {adjustment_no}; `adjust list` shows those there are") from error


def adjustments(connection: Connection) -> list[Adjustment]:
    """Every adjustment, in the order of their proposal."""
    names = Adjustment.__struct_fields__
    return [Adjustment(**dict(zip(names, row, strict=True))) for row in connection.execute(_LIST)]


# The writer's part


def post(connection: Connection, state: State, *, now_us: int) -> int:
    """Post what was approved; how many. Only the writer may call this."""
    if connection.execute(_WAITING, (0, 1)).fetchone() is None:
        return 0
    with writing(connection, state):
        batch: Batch[Received] = Batch(connection, state, now_us, lambda one: one)
        rows = connection.execute(_WAITING, (0, POSTED_AT_ONCE)).fetchall()
        _post(connection, batch, rows=rows)
        batch.finish({}, {})
    return len(rows)


def _post(connection: Connection, batch: Batch[Received], *, rows: Sequence[tuple[Any, ...]]) -> None:
    state = batch.state
    posted_at_us = batch.poster.posted_at_us
    for table in ("postings", "lines"):
        batch.make_months(table, {posted_at_us})
    book_no = state.books.number(_BOOK)
    for number, tenant_id, at_us, amount, provider, model, project, feature, cost_centre in rows:
        dim_no = state.dimensions.number(
            (tenant_id, None, project, feature, cost_centre, None, provider, None, model, None, None)
        )
        said = f"adjustment {number}, by hand"
        rate_no = state.rates.number((tenant_id, (MANUAL_ADJUSTMENT, None, "", amount, 1, amount, 1, said)))
        posting_id = state.take_id()
        category = "credit" if amount < 0 else "adjustment"
        charge_class = "correction" if state.closed.holds(tenant_id, at_us) else None
        connection.execute(_POST, (posting_id, posted_at_us, number, at_us, dim_no, book_no, category, charge_class))
        connection.execute(_LINE, (posting_id, posted_at_us, amount, amount, at_us // _BUCKET_US, dim_no, rate_no))
        connection.execute(_POSTED, (number, posting_id, posted_at_us))
    store.add_numbers(connection, state)
