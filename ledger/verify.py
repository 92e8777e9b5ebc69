"""Proves that the ledger holds every raw record once and that all its sums agree; names every difference.

The law: per raw partition, what was seen is [start of the log when the writer first looked, its end) without a gap,
and equals winners + losers + duplicates + rejected; Σ lines = Σ calls = Σ roll-ups; Σ postings = number of calls.
Where old months of postings and lines were dropped, these two are compared with the calls whose postings are kept.
"""

import os
import sys
from typing import NamedTuple, Protocol

import msgspec
import psycopg
from confluent_kafka import KafkaException

from ledger.database import Connection, connect
from ledger.kafka import KafkaSide, TopicFacts
from ledger.settings import Settings
from tokenledger.records.topics import PRICED, RAW, REJECTED


class Kafka(Protocol):
    """What is asked of Kafka: where the topics end."""

    def facts(self, topics: list[str]) -> dict[str, TopicFacts]:
        """The topics as the cluster describes them."""


class Difference(NamedTuple):
    """Something that is not as it must be."""

    what: str
    """Which law is broken."""
    where: str
    """Partition, table or dimension."""
    expected: int
    """What one side says."""
    found: int
    """What the other side says."""

    def __str__(self) -> str:
        return f"{self.what}: {self.where}: expected {self.expected}, found {self.found}"


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What was compared, and what differed."""

    figures: dict[str, int]
    """Sums that were compared."""
    differences: list[Difference]
    """All that differed; empty if the ledger is right."""


def verify(connection: Connection, kafka: Kafka | None) -> list[Difference]:
    """Every difference; without Kafka, only what the ledger says of itself."""
    return report(connection, kafka).differences


def report(connection: Connection, kafka: Kafka | None) -> Report:
    """The comparison, on one snapshot of the ledger."""
    # Asked first: what is appended from now on is not missed.
    facts = kafka.facts([RAW.name, PRICED.name, REJECTED.name]) if kafka is not None else {}
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        # Whole tables are compared. Fresh ones have no statistics yet, and a nested loop for "few rows" takes hours.
        connection.execute("SELECT set_config('enable_nestloop', 'off', true), set_config('work_mem', '64MB', true)")
        first_id = _first_kept(connection)
        figures = _figures(connection, first_id)
        return Report(
            figures=figures,
            differences=[
                *_unread(connection, facts),
                *_unseen(connection, facts.get(RAW.name)),
                *_outcomes(connection),
                *_sums(figures),
                *_calls(connection, first_id),
            ],
        )


def _unread(connection: Connection, facts: dict[str, TopicFacts]) -> list[Difference]:
    """Records of the priced and the rejected topic that the writer has not taken."""
    rows = connection.execute("SELECT topic, partition, next_offset FROM offsets").fetchall()
    known = {(topic, partition): offset for topic, partition, offset in rows}
    ends = {
        (topic, partition): end
        for topic, fact in facts.items()
        if topic != RAW.name
        for partition, (_, end) in fact.spans.items()
    }
    return [
        Difference("records not yet written", f"{topic}/{partition}", end, known.get((topic, partition), 0))
        for (topic, partition), end in sorted(ends.items())
        if known.get((topic, partition), 0) < end
    ]


def _unseen(connection: Connection, raw: TopicFacts | None) -> list[Difference]:
    """Gaps in what was seen, up to the end of the log (or to the last record seen, without Kafka)."""
    rows = connection.execute(
        """
        SELECT o.topic, o.partition, o.first_offset, range_agg(r.seen) AS seen
        FROM origins o LEFT JOIN origin_ranges r USING (topic, partition)
        WHERE o.topic = %s GROUP BY 1, 2, 3 ORDER BY 1, 2
        """,
        (RAW.name,),
    ).fetchall()
    known = {partition: (first, seen) for _, partition, first, seen in rows}
    ends = {partition: end for partition, (_, end) in raw.spans.items()} if raw is not None else {}
    found = []
    for partition in sorted(known.keys() | ends.keys()):
        first, seen = known.get(partition, (0, None))
        spans = [(one.lower, one.upper) for one in seen or ()]
        end = max([ends.get(partition, first), *(upper for _, upper in spans)])
        place = f"{RAW.name}/{partition}"
        found += [
            Difference("raw records without outcome", f"{place} offsets [{start}, {stop})", stop - start, 0)
            for start, stop in _gaps(spans, first, end)
        ]
    return found


def _gaps(spans: list[tuple[int, int]], first: int, end: int) -> list[tuple[int, int]]:
    """What of [first, end) the spans leave out."""
    gaps = []
    at = first
    for start, stop in spans:
        if start > at:
            gaps.append((at, start))
        at = max(at, stop)
    return [*gaps, (at, end)] if at < end else gaps


def _outcomes(connection: Connection) -> list[Difference]:
    rows = connection.execute(
        """
        SELECT o.topic, o.partition, o.winners + o.losers + o.duplicates + o.rejected,
            coalesce((SELECT sum(upper(one) - lower(one)) FROM origin_ranges r, unnest(r.seen) AS one
                      WHERE r.topic = o.topic AND r.partition = o.partition), 0)::bigint
        FROM origins o ORDER BY 1, 2
        """
    )
    return [
        Difference("outcomes of raw records", f"{topic}/{partition}", seen, outcomes)
        for topic, partition, outcomes, seen in rows
        if outcomes != seen
    ]


_FIGURES = {
    "calls": "SELECT count(*) FROM calls",
    "witnesses": "SELECT count(*) FROM witnesses",
    "incomplete calls": "SELECT count(*) FROM calls WHERE cost_usd_pico IS NULL",
    "known cost of calls, pico-USD": "SELECT coalesce(sum(known_cost_usd_pico), 0) FROM calls",
    "known cost of lines, pico-USD": (
        "SELECT coalesce(sum(amount_usd_pico), 0) - coalesce((SELECT sum(l.amount_usd_pico) FROM lines l "
        "JOIN postings p USING (posting_id) WHERE p.reverses_posting_id < %(first_id)s), 0) FROM lines"
    ),
    "adjustments, pico-USD": (
        "SELECT coalesce(sum(amount_usd_pico), 0) FROM adjustments JOIN adjustment_postings USING (adjustment_no)"
    ),
    "known cost of roll-ups, pico-USD": "SELECT coalesce(sum(amount_usd_pico), 0) FROM rollups",
    "calls by postings": (
        "SELECT coalesce(sum(calls), 0) FROM postings WHERE subject_kind = 'call' "
        "AND coalesce(reverses_posting_id, %(first_id)s) >= %(first_id)s"
    ),
    "calls by roll-ups": "SELECT coalesce(sum(calls), 0) FROM rollups",
    "incomplete calls by postings": (
        "SELECT coalesce(sum(incomplete_calls), 0) FROM postings WHERE subject_kind = 'call' "
        "AND coalesce(reverses_posting_id, %(first_id)s) >= %(first_id)s"
    ),
    "incomplete calls by roll-ups": "SELECT coalesce(sum(incomplete_calls), 0) FROM rollups",
    "lines without posting": (
        "SELECT count(*) FROM lines l WHERE NOT EXISTS "
        "(SELECT FROM postings p WHERE p.posting_id = l.posting_id AND p.posted_at_us = l.posted_at_us)"
    ),
    "lines without rate": "SELECT count(*) FROM lines WHERE rate_no NOT IN (SELECT rate_no FROM rates)",
    "winners": "SELECT coalesce(sum(winners), 0) FROM origins",
    "losers": "SELECT coalesce(sum(losers), 0) FROM origins",
    "duplicates": "SELECT coalesce(sum(duplicates), 0) FROM origins",
    "rejected": "SELECT coalesce(sum(rejected), 0) FROM origins",
    "rejected by index": "SELECT count(*) FROM rejected",
    "redelivered": "SELECT coalesce(sum(redelivered), 0) FROM origins",
    "corrections of closed months awaiting approval": (
        "SELECT count(*) FROM periods m JOIN postings p ON p.posted_at_us > m.closed_at_us "
        "AND p.charged_at_us >= m.starts_us AND p.charged_at_us < m.ends_us "
        "JOIN dimensions d ON d.dim_no = p.dim_no AND d.tenant_id = m.tenant_id "
        "WHERE p.subject_kind = 'call' AND p.posted_at_us NOT IN (SELECT posted_at_us FROM run_batches) "
        "AND p.posted_at_us > coalesce((SELECT max(until_us) FROM period_approvals a "
        "WHERE a.tenant_id = m.tenant_id AND a.month = m.month), 0)"
    ),
}

_KEPT_FIGURES = {
    "calls with postings": "SELECT count(*) FROM calls WHERE posting_id >= %(first_id)s",
    "incomplete calls with postings": (
        "SELECT count(*) FROM calls WHERE cost_usd_pico IS NULL AND posting_id >= %(first_id)s"
    ),
    "known cost of calls with postings, pico-USD": (
        "SELECT coalesce(sum(known_cost_usd_pico), 0) FROM calls WHERE posting_id >= %(first_id)s"
    ),
    "adjustments with postings, pico-USD": (
        "SELECT coalesce(sum(amount_usd_pico), 0) FROM adjustments JOIN adjustment_postings USING (adjustment_no) "
        "WHERE posting_id >= %(first_id)s"
    ),
}
"""What kept postings and lines are compared with, once older ones were dropped."""

_COST = "known cost of calls, pico-USD"
_LINES = "known cost of lines, pico-USD"
_BOOKS_EQUAL = (
    (f"{_COST} + adjustments, pico-USD", _LINES),
    ("calls", "calls by postings"),
    ("incomplete calls", "incomplete calls by postings"),
)
_KEPT_EQUAL = (
    ("known cost of calls with postings, pico-USD + adjustments with postings, pico-USD", _LINES),
    ("calls with postings", "calls by postings"),
    ("incomplete calls with postings", "incomplete calls by postings"),
)
_EQUAL = (
    (f"{_COST} + adjustments, pico-USD", "known cost of roll-ups, pico-USD"),
    ("calls", "calls by roll-ups"),
    ("calls", "winners"),
    ("witnesses", "losers"),
    ("incomplete calls", "incomplete calls by roll-ups"),
    ("rejected", "rejected by index"),
)

_FIRST_KEPT = """
SELECT coalesce(max(next_id), 0) FROM batches WHERE posted_at_us < (
    SELECT coalesce(
        extract(epoch FROM min(to_date(right(c.relname, 6), 'YYYYMM'))::timestamp AT TIME ZONE 'UTC') * 1000000,
        9223372036854775807
    )
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'postings'::regclass
)
"""


def _first_kept(connection: Connection) -> int:
    """Every posting below it was of a month that was dropped; 0 if none was."""
    row = connection.execute(_FIRST_KEPT).fetchone()
    return int(row[0]) if row else 0


def _figures(connection: Connection, first_id: int) -> dict[str, int]:
    figures = {}
    for name, statement in (_FIGURES | (_KEPT_FIGURES if first_id else {})).items():
        row = connection.execute(statement, {"first_id": first_id}).fetchone()
        figures[name] = int(row[0]) if row else 0
    return figures


def _sums(figures: dict[str, int]) -> list[Difference]:
    unequal = [
        Difference("sums differ", f"{one} against {other}", _sum(figures, one), _sum(figures, other))
        for one, other in (*(_BOOKS_EQUAL if "calls with postings" not in figures else _KEPT_EQUAL), *_EQUAL)
        if _sum(figures, one) != _sum(figures, other)
    ]
    orphans = [name for name in ("lines without posting", "lines without rate") if figures[name]]
    return unequal + [Difference(name, "lines", 0, figures[name]) for name in orphans]


def _sum(figures: dict[str, int], names: str) -> int:
    """The figure of that name, or of several joined by a plus."""
    return sum(figures[name] for name in names.split(" + "))


def _calls(connection: Connection, first_id: int) -> list[Difference]:
    """Calls with kept postings whose lines do not add up to their own cost; the first few."""
    rows = connection.execute(
        """
        SELECT c.call_id, c.known_cost_usd_pico, coalesce(l.amount, 0)
        FROM calls c
        LEFT JOIN (SELECT posting_id, sum(amount_usd_pico) AS amount FROM lines GROUP BY 1) l USING (posting_id)
        WHERE c.known_cost_usd_pico <> coalesce(l.amount, 0) AND c.posting_id >= %s ORDER BY 1 LIMIT 20
        """,
        (first_id,),
    )
    return [
        Difference("lines of a call", f"call {call_id}", int(known), int(amount)) for call_id, known, amount in rows
    ]


def main(settings: Settings | None = None) -> int:
    """Print the comparison; 0 if all is right, 1 if not, 2 if it could not be made."""
    settings = settings or Settings.from_environment(os.environ, user="analyst")
    try:
        with connect(settings, application="tokenledger-verify") as connection:
            kafka = KafkaSide(settings.kafka_bootstrap)
            try:
                found = report(connection, kafka)
            finally:
                kafka.close()
    except (psycopg.OperationalError, KafkaException) as error:
        sys.stderr.write(f"verify: cannot compare: {error}; is the stack up?\n")
        return 2
    sys.stdout.write(rendered(found))
    return 1 if found.differences else 0


def rendered(found: Report) -> str:
    """The comparison for people."""
    width = max(map(len, found.figures))
    lines = [f"{name:{width}}  {figure:>24,}" for name, figure in found.figures.items()]
    lines += [f"DIFFERENCE  {difference}" for difference in found.differences]
    count = len(found.differences)
    lines.append(f"verify: {count} differences" if count else "verify: the ledger is right")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
