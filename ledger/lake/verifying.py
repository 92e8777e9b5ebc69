"""Whether lake, manifests and ledger say the same of every day and tenant; names every difference."""

from datetime import date
from pathlib import Path
from typing import Final

import msgspec

from ledger.database import Connection
from ledger.lake import manifests
from ledger.lake.layout import day_named
from ledger.lake.manifests import Figures
from ledger.lake.progress import read_progress
from ledger.verify import Difference
from tokenledger.records.topics import PRICED

_AGAINST: Final = "ledger against lake"


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What was compared, and what differed."""

    days: int
    """Days that either side has."""
    calls: int
    """Calls in the lake on these days."""
    known_cost_usd_pico: int
    """Σ of their known cost."""
    differences: list[Difference]
    """All that differed; empty if the lake is right."""


def verify(lake: Path, connection: Connection | None, *, only: date | None = None) -> Report:
    """Compare the files with the manifests that were written, and, with a connection, with the ledger."""
    ledger = {} if connection is None else ledger_figures(connection)
    stated = manifests.written(lake)
    wanted = sorted({*manifests.days(lake), *stated, *ledger}) if only is None else [only]
    differences: list[Difference] = []
    calls = known = 0
    for day, made in manifests.make_all(lake, wanted).items():
        calls += sum(figures.calls for figures in made.tenants.values())
        known += sum(figures.known_cost_usd_pico for figures in made.tenants.values())
        if day in stated:
            differences += manifests.compare(stated[day], made, what="the files are not those of the manifest")
        if connection is not None:
            of_ledger = ledger.get(day, {})
            differences += manifests.compare_figures(of_ledger, made.tenants, what=_AGAINST, day=made.day)
    if differences and connection is not None:
        # Under traffic one of the two is always a little ahead; that is worth a word only where it may be the reason.
        differences = [*unread(lake, connection), *differences]
    return Report(days=len(wanted), calls=calls, known_cost_usd_pico=known, differences=differences)


def ledger_figures(connection: Connection) -> dict[date, dict[str, Figures]]:
    """Counts and sums of every day and tenant, as the ledger has them."""
    rows = connection.execute(
        """
        SELECT to_char(to_timestamp(charged_at_us / 1000000) AT TIME ZONE 'UTC', 'YYYY-MM-DD'), tenant_id,
            count(*), count(*) FILTER (WHERE cost_usd_pico IS NULL),
            sum(known_cost_usd_pico)::numeric, coalesce(sum(input_tokens), 0)::numeric,
            coalesce(sum(output_tokens), 0)::numeric
        FROM calls GROUP BY 1, 2 ORDER BY 1, 2
        """
    ).fetchall()
    found: dict[date, dict[str, Figures]] = {}
    for day, tenant_id, *numbers in rows:
        named = dict(zip(Figures.__struct_fields__, map(int, numbers), strict=True))
        found.setdefault(day_named(day), {})[tenant_id] = Figures(**named)
    return found


def unread(lake: Path, connection: Connection) -> list[Difference]:
    """Priced records that one of the two has taken and the other has not: until then their sums differ."""
    rows = connection.execute("SELECT partition, next_offset FROM offsets WHERE topic = %s", (PRICED.name,)).fetchall()
    ledger = {int(partition): int(offset) for partition, offset in rows}
    archived = {
        partition: one.next_offset for (topic, partition), one in read_progress(lake).items() if topic == PRICED.name
    }
    return [
        Difference("records that only one side has read", f"{PRICED.name}/{partition}", written, kept)
        for partition in sorted(ledger.keys() | archived.keys())
        if (written := ledger.get(partition, 0)) != (kept := archived.get(partition, 0))
    ]


def rendered(report: Report) -> str:
    """The comparison for people."""
    lines = [f"days {report.days:,}", f"calls {report.calls:,}", f"known cost, pico-USD {report.known_cost_usd_pico:,}"]
    lines += [f"DIFFERENCE  {difference}" for difference in report.differences]
    count = len(report.differences)
    lines.append(f"lake: {count} differences" if count else "lake: the lake is right")
    return "\n".join(lines) + "\n"
