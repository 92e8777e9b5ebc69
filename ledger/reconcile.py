"""The ledger against a journal: the same records priced without Kafka, Flink or Postgres must give the same totals.

The journal is what the broker acknowledged (`tokenledger send --journal`). Its side of the comparison reads no table
and the ledger's side reads no journal, so a loss or a double count on the way shows as a difference.
"""

import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from ledger.database import Connection
from tokenledger.merge import Candidate, candidate_for, resolve
from tokenledger.process import Context, default_context, process
from tokenledger.readers import Options, Unreadable, read
from tokenledger.records.priced import PricedCall


class Share(NamedTuple):
    """What a total is of."""

    tenant_id: str
    """Tenant."""
    model: str
    """The priced model; else the one the reply names, else the one asked for; blank for none."""
    meter: str
    """Meter; `calls` for the number of calls."""


class Total(NamedTuple):
    """Quantity and money of one share."""

    quantity: int
    """In the meter's base unit."""
    amount_usd_pico: int
    """10⁻¹² USD."""


_CALLS: Final = "calls"
_METERS: Final = """
    SELECT tenant_id, coalesce(model, ''), meter, sum(quantity)::numeric(38, 0), sum(amount_usd_pico)::numeric(38, 0)
    FROM cost_by_meter WHERE tenant_id = ANY(%s) GROUP BY 1, 2, 3
"""
_COUNTS: Final = """
    SELECT tenant_id, coalesce(model, ''), count(*), 0::numeric
    FROM cost_by_request WHERE tenant_id = ANY(%s) GROUP BY 1, 2
"""


def journal_totals(paths: Iterable[str], context: Context) -> dict[Share, Total]:
    """Totals of the journal's calls: every record processed, one record of each call counted."""
    candidates = []
    for found in read(paths, Options(), on_problem=_refuse):
        priced = process(found.raw, context)
        if isinstance(priced, PricedCall):
            candidates.append(_candidate(priced))
    totals: dict[Share, list[int]] = defaultdict(lambda: [0, 0])
    for call in resolve(candidates):
        for share, quantity, amount_usd_pico in call.winner.record:
            totals[share][0] += quantity
            totals[share][1] += amount_usd_pico
    return {share: Total(*total) for share, total in totals.items() if any(total)}


def ledger_totals(connection: Connection, tenants: Sequence[str]) -> dict[Share, Total]:
    """The same totals as the ledger's views give them."""
    totals = {}
    for tenant_id, model, meter, quantity, amount in connection.execute(_METERS, [list(tenants)]):
        totals[Share(tenant_id, model, meter)] = Total(int(quantity), int(amount))
    for tenant_id, model, count, _ in connection.execute(_COUNTS, [list(tenants)]):
        totals[Share(tenant_id, model, _CALLS)] = Total(count, 0)
    return {share: total for share, total in totals.items() if any(total)}


def differences(journal: dict[Share, Total], ledger: dict[Share, Total]) -> list[str]:
    """One sentence for every share in which they differ; none means equal to the pico-dollar."""
    nothing = Total(0, 0)
    return [
        f"{share.tenant_id}, {share.model or 'no model'}, {share.meter}: the journal has "
        f"{journal.get(share, nothing).quantity} for {journal.get(share, nothing).amount_usd_pico} pico-USD, the "
        f"ledger {ledger.get(share, nothing).quantity} for {ledger.get(share, nothing).amount_usd_pico}"
        for share in sorted(journal.keys() | ledger.keys())
        if journal.get(share) != ledger.get(share)
    ]


def compare(connection: Connection, journals: Iterable[str]) -> tuple[dict[Share, Total], list[str]]:
    """The journals' totals and how the ledger's differ from them, for the journals' tenants."""
    expected = journal_totals(journals, default_context())
    tenants = sorted({share.tenant_id for share in expected})
    return expected, differences(expected, ledger_totals(connection, tenants))


def _candidate(priced: PricedCall) -> Candidate[list[tuple[Share, int, int]]]:
    call = priced.call
    model = priced.priced_model or call.response_model or call.request_model or ""
    shares = [(Share(call.tenant_id, model, _CALLS), 1, 0)]
    for line in priced.lines:
        share = Share(call.tenant_id, line.model or model, line.meter)
        shares.append((share, line.quantity, line.amount_usd_pico))
    return candidate_for(priced, shares)


def _refuse(problem: Unreadable) -> None:
    sys.stderr.write(f"{problem.source_file}: {problem.reason}: {problem.detail}\n")
