"""Whether lake, manifests and ledger say the same of every day and tenant; names every difference.

The lake keeps what a record came with. A call that was charged anew since is compared by its first charge; where calls
were read again or corrected in a closed month, only their count can be compared, and the report says so.
"""

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
    amended: int = 0
    """Days of tenants of which only the count of calls was compared."""


class Booked(msgspec.Struct, frozen=True, kw_only=True):
    """One tenant's day by the ledger, as its records came."""

    figures: Figures
    """Counts and sums."""
    is_amended: bool
    """Whether some of its calls were read again or corrected: then only `calls` can be that of the records."""


def verify(lake: Path, connection: Connection | None, *, only: date | None = None) -> Report:
    """Compare the files with the manifests that were written, and, with a connection, with the ledger."""
    ledger = {} if connection is None else ledger_figures(connection)
    stated = manifests.written(lake)
    wanted = sorted({*manifests.days(lake), *stated, *ledger}) if only is None else [only]
    differences: list[Difference] = []
    calls = known = amended = 0
    for day, made in manifests.make_all(lake, wanted).items():
        calls += sum(figures.calls for figures in made.tenants.values())
        known += sum(figures.known_cost_usd_pico for figures in made.tenants.values())
        if day in stated:
            differences += manifests.compare(stated[day], made, what="the files are not those of the manifest")
        if connection is not None:
            of_ledger = ledger.get(day, {})
            amended += sum(booked.is_amended for booked in of_ledger.values())
            expected = {tenant: _comparable(booked, made.tenants.get(tenant)) for tenant, booked in of_ledger.items()}
            differences += manifests.compare_figures(expected, made.tenants, what=_AGAINST, day=made.day)
    if differences and connection is not None:
        # Under traffic one of the two is always a little ahead; that is worth a word only where it may be the reason.
        differences = [*unread(lake, connection), *differences]
    return Report(days=len(wanted), calls=calls, known_cost_usd_pico=known, differences=differences, amended=amended)


def _comparable(booked: Booked, made: Figures | None) -> Figures:
    """What the lake should say."""
    if made is None or not booked.is_amended:
        return booked.figures
    return msgspec.structs.replace(made, calls=booked.figures.calls)


def ledger_figures(connection: Connection) -> dict[date, dict[str, Booked]]:
    """Counts and sums of every day and tenant, as the ledger has them from the records."""
    found: dict[date, dict[str, Booked]] = {}
    for day, tenant_id, is_amended, *numbers in connection.execute(_FIGURES).fetchall():
        named = dict(zip(Figures.__struct_fields__, map(int, numbers), strict=True))
        found.setdefault(day_named(day), {})[tenant_id] = Booked(figures=Figures(**named), is_amended=is_amended)
    return found


_FIGURES: Final = """
    WITH charged_anew AS (
        SELECT subject_id, bool_or(cause <> 'reprice') AS is_amended FROM postings
        WHERE subject_kind = 'call' AND cause IN ('reprice', 'reread', 'correction') GROUP BY subject_id
    ), last_charge AS (
        SELECT DISTINCT ON (subject_id) subject_id, is_amended, posting_id, incomplete_calls
        FROM charged_anew JOIN postings USING (subject_id)
        WHERE subject_kind = 'call' AND cause = 'charge' ORDER BY subject_id, posting_id DESC
    ), first_hand AS (
        SELECT subject_id, is_amended, incomplete_calls, coalesce(sum(amount_usd_pico), 0) AS known_cost_usd_pico
        FROM last_charge LEFT JOIN lines USING (posting_id) GROUP BY subject_id, is_amended, incomplete_calls
    )
    SELECT to_char(to_timestamp(charged_at_us / 1000000) AT TIME ZONE 'UTC', 'YYYY-MM-DD'), tenant_id,
        coalesce(bool_or(is_amended), false), count(*),
        sum(coalesce(first_hand.incomplete_calls, (cost_usd_pico IS NULL)::int)),
        sum(coalesce(first_hand.known_cost_usd_pico, calls.known_cost_usd_pico))::numeric,
        coalesce(sum(input_tokens), 0)::numeric, coalesce(sum(output_tokens), 0)::numeric
    FROM calls LEFT JOIN first_hand ON first_hand.subject_id = call_id
    GROUP BY 1, 2 ORDER BY 1, 2
"""


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
    if report.amended:
        lines.append(f"days of tenants with calls read again or corrected, compared by their count: {report.amended:,}")
    count = len(report.differences)
    lines.append(f"lake: {count} differences" if count else "lake: the lake is right")
    return "\n".join(lines) + "\n"
