"""The ledger's side of a reconciliation, and where its results are kept."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from ledger.bills.comparing import Cell, Incomplete, Ours, Place, causes
from ledger.database import Connection

_OURS: Final = """
    SELECT day::text, provider, coalesce(model, ''), meter, sum(quantity)::bigint, sum(amount_usd_pico)::text
    FROM cost_by_meter
    WHERE day BETWEEN %(first)s AND %(last)s AND provider = ANY(%(providers)s)
        AND (%(tenants)s::text[] IS NULL OR tenant_id = ANY(%(tenants)s))
    GROUP BY 1, 2, 3, 4
"""
_CALLS: Final = """
    SELECT ((bucket_start AT TIME ZONE 'UTC')::date)::text, provider, coalesce(model, ''),
        sum(calls)::bigint, sum(incomplete_calls)::bigint
    FROM rollups
    WHERE meter = '' AND (bucket_start AT TIME ZONE 'UTC')::date BETWEEN %(first)s AND %(last)s
        AND provider = ANY(%(providers)s) AND (%(tenants)s::text[] IS NULL OR tenant_id = ANY(%(tenants)s))
    GROUP BY 1, 2, 3
"""
_KEEP: Final = """
    INSERT INTO reconciliations
        (first_day, last_day, providers, tenants, files, billed_usd_pico, our_usd_pico, causes, cells)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
    RETURNING reconciliation_no
"""
_KEPT: Final = """
    SELECT reconciliation_no, made_at, made_by, first_day::text, last_day::text, providers,
        billed_usd_pico::text, our_usd_pico::text, causes
    FROM reconciliations ORDER BY reconciliation_no DESC LIMIT %s
"""


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """What a bill is of."""

    first_day: str
    """First UTC day."""
    last_day: str
    """Last UTC day."""
    providers: tuple[str, ...]
    """Providers."""
    tenants: tuple[str, ...] | None = None
    """Tenants whose calls it holds; None for all."""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A reconciliation that was kept."""

    reconciliation_no: int
    """Its number."""
    made_at: datetime
    """When."""
    made_by: str
    """By whom."""
    first_day: str
    """First UTC day."""
    last_day: str
    """Last UTC day."""
    providers: tuple[str, ...]
    """Providers."""
    billed_usd_pico: int
    """By the bill, 10⁻¹² USD."""
    our_usd_pico: int
    """By the ledger."""
    causes: dict[str, int]
    """Cause → 10⁻¹² USD."""


def sees_all(connection: Connection) -> bool:
    """Whether the login may read every tenant; a bill compared with a part of the ledger says nothing."""
    return connection.execute("SELECT sees_all()").fetchone() == (True,)


def ours(connection: Connection, scope: Scope) -> tuple[list[Ours], Incomplete]:
    """What the ledger has of a bill's days and providers, and which of its calls are not wholly priced."""
    bound = _bound(scope)
    counts = {
        (day, provider, model): (calls, incomplete)
        for day, provider, model, calls, incomplete in connection.execute(_CALLS, bound)
    }
    entries = [
        Ours(
            place=Place(day, provider, model, meter), quantity=quantity, amount_usd_pico=int(amount),
            lines=counts.get((day, provider, model), (1, 0))[0],
        )
        for day, provider, model, meter, quantity, amount in connection.execute(_OURS, bound)
    ]  # fmt: skip
    return entries, {key: incomplete for key, (_, incomplete) in counts.items() if incomplete}


def _bound(scope: Scope) -> dict[str, object]:
    return {
        "first": scope.first_day,
        "last": scope.last_day,
        "providers": list(scope.providers),
        "tenants": list(scope.tenants) if scope.tenants is not None else None,
    }


def keep(connection: Connection, scope: Scope, *, cells: Sequence[Cell], files: dict[str, str]) -> int:
    """Store the result; its number. `files` is name → SHA-256."""
    differing = [cell for cell in cells if not cell.matches]
    row = connection.execute(
        _KEEP,
        (
            scope.first_day,
            scope.last_day,
            list(scope.providers),
            list(scope.tenants) if scope.tenants is not None else None,
            json.dumps(files),
            sum(cell.billed_usd_pico or 0 for cell in cells),
            sum(cell.our_usd_pico for cell in cells if cell.billed_usd_pico is not None),
            json.dumps({cause.value: str(amount) for cause, amount in causes(cells).items()}),
            msgspec.json.encode([_facts(cell) for cell in differing]).decode(),
        ),
    ).fetchone()
    assert row is not None  # noqa: S101  (INSERT … RETURNING gives one row)
    return int(row[0])


def _facts(cell: Cell) -> dict[str, object]:
    """Amounts as text: a JSON reader with doubles would damage them."""
    return cell.place._asdict() | {
        "billed_quantity": cell.billed_quantity,
        "our_quantity": cell.our_quantity,
        "billed_usd_pico": None if cell.billed_usd_pico is None else str(cell.billed_usd_pico),
        "our_usd_pico": str(cell.our_usd_pico),
        "causes": {cause.value: str(amount) for cause, amount in cell.causes.items()},
        "said": cell.said,
    }


def history(connection: Connection, most: int) -> list[Kept]:
    """The newest first."""
    return [
        Kept(
            reconciliation_no=number, made_at=made_at, made_by=made_by, first_day=first_day, last_day=last_day,
            providers=tuple(providers), billed_usd_pico=int(billed), our_usd_pico=int(our),
            causes={cause: int(amount) for cause, amount in found.items()},
        )
        for number, made_at, made_by, first_day, last_day, providers, billed, our, found
        in connection.execute(_KEPT, (most,))
    ]  # fmt: skip
