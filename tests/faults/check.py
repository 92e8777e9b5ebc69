"""Holds the ledger against a run's journal by arithmetic of its own: what was lost, doubled, or costs otherwise.

    python -m tests.faults.check --journal FILE --dsn DSN --bootstrap HOST:PORT [--rebuilt DSN]

It reads the journal, the raw topic and the database, and uses no code of the product. Exit status: 0 nothing differs,
1 something does.
"""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import psycopg

from tests.faults import books, journal, log
from tests.faults.books import Books, Group
from tests.faults.journal import Expected, Journal, Logged

_NAMED_AT_MOST: Final = 5
REPLAYED_FROM: Final = 10_000_000
"""Numbers of records that the generator did not send, but an operator, from the rejected topic."""


class Problem(NamedTuple):
    """Something that is not as it must be."""

    invariant: str
    """"I1" … "I10"."""
    what: str
    expected: Any
    found: Any

    def __str__(self) -> str:
        return f"{self.invariant} {self.what}: expected {self.expected}, found {self.found}"


class Verdict(NamedTuple):
    """What a comparison came to."""

    problems: list[Problem]
    figures: dict[str, int]

    @property
    def broken(self) -> set[str]:
        """The invariants that do not hold."""
        return {problem.invariant for problem in self.problems}


def compared(run: Journal, log: Sequence[Logged], found: Books, *, alone: bool = True) -> Verdict:
    """The ledger against the journal; `alone` says that nobody else wrote to the topic."""
    expected = journal.expected(run, log)
    lost, doubled = _once(expected, found)
    difference, money = _money(expected, found)
    problems = [
        *lost, *doubled, *money, *_broker(expected), *_rejected(expected, found, alone=alone),
        *_conserved(expected, found, log, alone=alone), *_lines(expected, found),
    ]  # fmt: skip
    figures = {
        "events sent": len(run.entries),
        "acknowledged": len({ack.n for ack in run.acks}),
        "records in the log": len(log),
        "sent again from the rejected": len({one.n for one in log if one.n >= REPLAYED_FROM}),
        "calls": len(expected.calls),
        "rejected": len(expected.rejected),
        "lost": sum(len(problem.expected) for problem in lost)
        + len(expected.lost_by_broker)
        + len(expected.rejected.keys() - {(partition, offset) for partition, offset, _ in found.rejected}),
        "doubled": sum(problem.found for problem in doubled),
        "money difference, pico-USD": difference,
        "known cost, pico-USD": sum(call.cost_usd_pico for call in expected.calls.values()),
    }
    return Verdict(problems, figures)


def _broker(expected: Expected) -> list[Problem]:
    return [
        Problem("I1", f"the broker acknowledged record {ack.n}", f"{ack.partition}/{ack.offset}", "not in the log")
        for ack in expected.lost_by_broker[:_NAMED_AT_MOST]
    ]


def _once(expected: Expected, found: Books) -> tuple[list[Problem], list[Problem]]:
    """I1: every call once, and no other."""
    missing = sorted(expected.calls.keys() - found.times.keys())
    doubled = [
        Problem("I1", f"extra copies of call {name}", 0, count - 1) for name, count in found.times.items() if count > 1
    ]
    invented = sorted(found.times.keys() - expected.calls.keys())
    lost = [Problem("I1", f"{len(missing)} calls lost", missing, "nowhere")] if missing else []
    extra = [Problem("I1", f"{len(invented)} calls nobody made: {invented[:3]}", 0, len(invented))] if invented else []
    return lost, doubled + extra


def _money(expected: Expected, found: Books) -> tuple[int, list[Problem]]:
    """I2: every call costs what it must; journal, calls, lines and roll-ups have the same sums in every group."""
    problems = []
    difference = 0
    for name, call in expected.calls.items():
        row = found.calls.get(name)
        cost = row.cost_usd_pico if row else 0
        difference += abs(call.cost_usd_pico - cost)
        facts = (call.tenant, call.feature, call.model, call.hour, call.cost_usd_pico, call.is_complete, call.is_reused)
        if row is not None and tuple(row) != facts:
            problems.append(Problem("I2", f"call {name}", facts, tuple(row)))
    by_journal: Counter[Group] = Counter()
    counts: Counter[Group] = Counter()
    for call in expected.calls.values():
        group = (call.tenant, call.feature, call.model, call.hour)
        by_journal[group] += call.cost_usd_pico
        counts[group] += 1
    whole = {group: amount for group, amount in by_journal.items() if amount}
    problems += _differing("I2", "lines of", whole, found.by_lines)
    problems += _differing("I2", "roll-ups of", whole, found.by_rollups)
    calls = {group: calls for group, (calls, _) in found.counted.items()}
    problems += _differing("I2", "calls by roll-ups of", dict(counts), calls)
    return max(difference, _distance(whole, found.by_lines), _distance(whole, found.by_rollups)), problems


def _distance(one: Mapping[Group, int], other: Mapping[Group, int]) -> int:
    return sum(abs(one.get(group, 0) - other.get(group, 0)) for group in one.keys() | other.keys())


def _differing(invariant: str, what: str, expected: Mapping[Any, Any], found: Mapping[Any, Any]) -> list[Problem]:
    return [
        Problem(invariant, f"{what} {key}", expected.get(key), found.get(key))
        for key in sorted(expected.keys() | found.keys(), key=str)
        if expected.get(key) != found.get(key)
    ]


def _rejected(expected: Expected, found: Books, *, alone: bool) -> list[Problem]:
    """I1 and I3 for what cannot be understood: each record is in the index once, with its reason."""
    times = Counter((partition, offset) for partition, offset, _ in found.rejected)
    reasons = {(partition, offset): reason for partition, offset, reason in found.rejected}
    problems = [Problem("I1", f"rejected record {place}", 1, count) for place, count in times.items() if count > 1]
    if not alone:
        reasons = {place: reason for place, reason in reasons.items() if place in expected.rejected}
    return problems + _differing("I1", "rejected record", expected.rejected, reasons)


def _conserved(expected: Expected, found: Books, log: Sequence[Logged], *, alone: bool) -> list[Problem]:
    """I3: per partition, every offset was seen, and each has the outcome it must have."""
    places: dict[int, list[int]] = {}
    for one in log:
        places.setdefault(one.partition, []).append(one.offset)
    problems = []
    for partition, offsets in sorted(places.items()):
        spans = found.seen.get(partition, [])
        unseen = [offset for offset in offsets if not any(start <= offset < stop for start, stop in spans)]
        if unseen:
            problems.append(Problem("I3", f"offsets of partition {partition} seen", unseen[:10], "not seen"))
    if not alone:
        return problems
    totals: Counter[str] = Counter()
    taken: Counter[int] = Counter()
    for (partition, outcome), count in found.outcomes.items():
        totals[outcome] += count
        taken[partition] += count
    wanted = {outcome: count for outcome, count in expected.outcomes.items() if count}
    problems += _differing("I3", "outcome", wanted, totals)
    records = {partition: len(offsets) for partition, offsets in places.items()}
    if refused := sum(partition == journal.REFUSED_PARTITION for partition, _ in expected.rejected):
        records[journal.REFUSED_PARTITION] = refused
    return problems + _differing("I3", "records of partition", records, taken)


def _lines(expected: Expected, found: Books) -> list[Problem]:
    """I4: the lines of each call add up to its cost, and the lines of each meter to what the journal used of it."""
    problems = [
        Problem("I4", f"lines of call {name}", row.cost_usd_pico, found.line_sums.get(name))
        for name, row in found.calls.items()
        if found.line_sums.get(name) != row.cost_usd_pico
    ]
    used: dict[tuple[str, str, str], tuple[int, int]] = {}
    for call in expected.calls.values():
        for meter, (quantity, amount) in call.lines.items():
            before = used.get((call.tenant, call.model, meter), (0, 0))
            used[call.tenant, call.model, meter] = (before[0] + quantity, before[1] + amount)
    return problems + _differing("I4", "meter", used, found.meters)


def same(original: Books, rebuilt: Books) -> list[Problem]:
    """I10: a ledger made again from the log holds the same calls, lines and roll-ups."""
    return [
        *_differing("I10", "call", original.calls, rebuilt.calls),
        *_differing("I10", "meter", original.meters, rebuilt.meters),
        *_differing("I10", "lines of", original.by_lines, rebuilt.by_lines),
        *_differing("I10", "roll-ups of", original.by_rollups, rebuilt.by_rollups),
        *_differing("I10", "calls by roll-ups of", original.counted, rebuilt.counted),
    ]


def loaded(dsn: str, prefix: str) -> Books:
    """The books behind a connection string."""
    with psycopg.connect(dsn, autocommit=True, application_name="faults-check") as connection:
        return books.load(connection, prefix)


def settled(dsn: str, ends: Mapping[int, int], *, within_s: float, sleep: Callable[[float], None] = time.sleep) -> bool:
    """Whether the ledger has seen the log up to these ends in time."""
    until_s = time.monotonic() + within_s
    while True:
        try:
            with psycopg.connect(dsn, autocommit=True) as connection:
                seen = books.reached(connection)
            if all(seen.get(partition, 0) >= end for partition, end in ends.items()):
                return True
        except psycopg.OperationalError:
            pass
        if time.monotonic() > until_s:
            return False
        sleep(0.5)


def rendered(verdict: Verdict) -> str:
    """For people."""
    lines = [f"{name:28} {figure:>22,}" for name, figure in verdict.figures.items()]
    for invariant in sorted(verdict.broken):
        broken = [problem for problem in verdict.problems if problem.invariant == invariant]
        lines += [f"BROKEN {str(problem)[:600]}" for problem in broken[:_NAMED_AT_MOST]]
        lines.append(f"BROKEN {invariant}: {len(broken)} differences")
    return "\n".join([*lines, "nothing differs" if not verdict.problems else "the ledger is wrong", ""])


def main(arguments: Iterable[str] | None = None) -> int:
    """Compare, print, and say by the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.check", description=__doc__)
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument("--dsn", required=True)
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--begin", default="{}", help="first offset by partition, as JSON")
    parser.add_argument("--within", type=float, default=180.0, help="seconds the ledger may take to catch up")
    parser.add_argument("--rebuilt", default="", help="a ledger made again from the log, to be compared as well")
    parser.add_argument("--shared", action="store_true", help="others wrote to the topic too")
    parser.add_argument("--out", type=Path, help="write figures and problems there, as JSON")
    options = parser.parse_args(None if arguments is None else list(arguments))
    begin = {int(partition): offset for partition, offset in json.loads(options.begin).items()}
    records, ends = log.read(options.bootstrap, begin)
    if not settled(options.dsn, ends, within_s=options.within):
        sys.stdout.write(f"after {options.within:.0f} s the ledger has not seen the log to its end: {ends}\n")
    run = journal.read(options.journal)
    found = loaded(options.dsn, run.run["prefix"])
    verdict = compared(run, records, found, alone=not options.shared)
    if options.rebuilt:
        again = loaded(options.rebuilt, run.run["prefix"])
        verdict.problems.extend(same(found, again))
        verdict.figures["calls of the rebuilt ledger"] = len(again.calls)
    sys.stdout.write(rendered(verdict))
    if options.out:
        told = {"figures": verdict.figures, "problems": [str(problem)[:600] for problem in verdict.problems[:200]]}
        options.out.write_text(json.dumps(told, indent=1), encoding="utf-8")
    return 1 if verdict.problems else 0


if __name__ == "__main__":
    sys.exit(main())
