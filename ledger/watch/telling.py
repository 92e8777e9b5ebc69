"""What the watcher found, for people: sources, gaps, silence, alerts."""

from typing import NamedTuple

import msgspec

from ledger.database import Connection
from ledger.watch import arrivals
from ledger.watch.arrivals import Patience, Source


class Known(NamedTuple):
    """A source."""

    ce_source: str
    """Who."""
    records: int
    """Records so far."""
    first_at_us: int
    """When the log took the first, µs UTC."""
    last_at_us: int
    """And the latest."""
    usual_us: int | None
    """Its usual longest pause; None while that is not known."""
    allowed_us: int | None
    """How long it may be quiet; None while that is not known."""
    retired: bool
    """Whether someone said that it will be quiet for good."""
    numbered: int
    """Epochs of it that number their records."""
    missing: int
    """Numbers of these that never reached the log."""
    given_up: int
    """Missing numbers that are no longer looked for."""
    silent: bool
    """Whether it should have spoken, as the watcher found."""


_SOURCES = """
SELECT s.ce_source, s.records, s.first_at_us, s.last_at_us, period_at_us, pauses_us, earlier_pauses_us,
    retired_at_us IS NOT NULL, EXISTS (
        SELECT FROM alerts WHERE closed_at_us IS NULL AND state = 'silent' AND about = 'source ' || s.ce_source
    ), coalesce(numbered.epochs, 0), coalesce(missing.records, 0)::bigint,
    coalesce(numbered.given_up, 0)::bigint
FROM sources s
LEFT JOIN (SELECT ce_source, count(*) AS epochs, sum(given_up) AS given_up FROM source_epochs GROUP BY 1) AS numbered
    USING (ce_source)
LEFT JOIN (SELECT ce_source, sum(records) AS records FROM sequence_gaps GROUP BY 1) AS missing USING (ce_source)
ORDER BY s.last_at_us DESC
"""


def sources(connection: Connection, patience: Patience) -> list[Known]:
    """Every source, the one that spoke last first."""
    found = []
    for name, records, first, last, period, pauses, earlier, retired, silent, *counts in connection.execute(_SOURCES):
        source = Source(
            records=records, first_at_us=first, last_at_us=last, period_at_us=period, pauses_us=tuple(pauses),
            earlier_pauses_us=tuple(earlier),
        )  # fmt: skip
        allowed = arrivals.allowed_us(source, patience)
        numbered, missing, given_up = counts
        found.append(
            Known(
                name, records, first, last, arrivals.usual_us(source), allowed, retired=retired, numbered=numbered,
                missing=missing, given_up=given_up, silent=silent,
            )
        )  # fmt: skip
    return found


class Gap(NamedTuple):
    """Numbers that a producer gave and no record in the log bears."""

    ce_source: str
    """Who."""
    epoch: str
    """Which of its epochs."""
    first_no: int
    """The first missing number."""
    last_no: int
    """The last."""
    records: int
    """How many."""
    last_at_us: int
    """When the log took the epoch's latest record, µs UTC."""


def gaps(connection: Connection) -> list[Gap]:
    """Every gap."""
    rows = connection.execute(
        "SELECT ce_source, epoch, first_no, last_no, records, last_at_us FROM sequence_gaps ORDER BY 1, last_at_us, 3"
    )
    return [Gap(*row) for row in rows]


def retire(connection: Connection, ce_source: str, *, reason: str, now_us: int) -> bool:
    """Expect no more of a source until it speaks again; whether there is one of that name."""
    with connection.transaction():
        done = connection.execute(
            "UPDATE sources SET retired_at_us = %s WHERE ce_source = %s", (now_us, ce_source)
        ).rowcount
        detail = msgspec.json.encode({"ce_source": ce_source, "reason": reason}).decode()
        if done:
            connection.execute("INSERT INTO audit_log (action, detail) VALUES ('retire source', %s)", (detail,))
    return bool(done)


class Alert(NamedTuple):
    """Something that is or was wrong."""

    alert_no: int
    """Its number."""
    state: str
    """Which kind of trouble."""
    about: str
    """Source, tenant, partition, …"""
    summary: str
    """Figures, as last seen."""
    opened_at_us: int
    """When it was found, µs UTC."""
    last_seen_at_us: int
    """When it was last there."""
    closed_at_us: int | None
    """When it was over; None while it is open."""


def alerts(connection: Connection, *, only_open: bool, state: str | None, most: int) -> list[Alert]:
    """The open ones first, then the newest."""
    rows = connection.execute(
        "SELECT alert_no, state, about, summary, opened_at_us, last_seen_at_us, closed_at_us FROM alerts "
        "WHERE (closed_at_us IS NULL OR NOT %(open)s) AND (%(state)s::text IS NULL OR state = %(state)s) "
        "ORDER BY closed_at_us IS NOT NULL, opened_at_us DESC LIMIT %(most)s",
        {"open": only_open, "state": state, "most": most},
    )
    return [Alert(*row) for row in rows]


def judged_at_us(connection: Connection) -> int:
    """When alerts were last judged, µs UTC; 0 if never."""
    row = connection.execute("SELECT judged_at_us FROM watch").fetchone()
    return int(row[0]) if row else 0


def compare_again(connection: Connection) -> None:
    """Have the ledger's sums compared in the next round."""
    connection.execute("UPDATE watch SET verified_at_us = 0")
