"""What the ledger must hold, from the journal and the log alone. Nothing of the product is used here.

The log says which records there are (a record that was never acknowledged may be there or not), the journal says what
each of them is worth, and the rules below say which records of one call count.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

Entry = dict[str, Any]
REFUSED_PARTITION = 99
"""Where records came from that older code refused: a partition the topic no longer has."""
_OLDEST_US, _NEWEST_US = 400 * 86_400_000_000, 300_000_000


class Logged(NamedTuple):
    """One record of the raw topic."""

    partition: int
    offset: int
    at_us: int
    """When the log took it, µs UTC."""
    n: int
    """Its number in the run."""


class Ack(NamedTuple):
    """One acknowledgement."""

    n: int
    partition: int
    offset: int


class Journal(NamedTuple):
    """A run as its producer saw it."""

    run: Entry
    entries: dict[int, Entry]
    """By number; repetitions point to the entry they repeat."""
    acks: list[Ack]
    refused: int = 0
    """Records that lay on the rejected topic before, as older code left them."""


class Call(NamedTuple):
    """One call the ledger must hold, once."""

    tenant: str
    feature: str
    model: str
    hour: int
    """Of its charge, since 1970."""
    cost_usd_pico: int
    lines: dict[str, tuple[int, int]]
    """Meter → quantity and pico-USD."""
    is_complete: bool
    is_reused: bool


class Expected(NamedTuple):
    """What the ledger must hold."""

    calls: dict[str, Call]
    """By the name that a call has in the journal."""
    rejected: dict[tuple[int, int], str]
    """Partition and offset → reason."""
    outcomes: dict[str, int]
    """Outcome → how many. Which of two equal records is the duplicate depends on the order they are read in."""
    lost_by_broker: list[Ack]
    """Acknowledged, and not where the acknowledgement says."""


def read(path: Path) -> Journal:
    """The journal; a last line that was cut short is passed over."""
    run: Entry = {}
    entries: dict[int, Entry] = {}
    acks = []
    for one in _lines(path):
        if "ack" in one:
            acks.append(Ack(one["ack"], one["p"], one["o"]))
        elif "n" in one:
            entries[one["n"]] = entries[one["first"]] if "first" in one else one
        else:
            run = one["run"]
    # What is on the rejected topic already, and is to be sent again in the run.
    path = path.with_name("refused.jsonl")
    refused = {one["n"]: one for one in _lines(path)} if path.exists() else {}
    return Journal(run, entries | refused, acks, len(refused))


def _lines(path: Path) -> Iterator[Entry]:
    with path.open("rb") as lines:
        for line in lines:
            if not line.endswith(b"\n"):
                return
            yield json.loads(line)


def expected(journal: Journal, log: Iterable[Logged]) -> Expected:
    """What these records come to."""
    places = {}
    rejected = {(REFUSED_PARTITION, number): "unknown_shape" for number in range(journal.refused)}
    outcomes: Counter[str] = Counter(rejected=journal.refused)
    replies: dict[tuple[str, str], set[str]] = defaultdict(set)
    told: dict[str, dict[int, list[Logged]]] = defaultdict(lambda: defaultdict(list))
    for one in log:
        places[one.partition, one.offset] = one.n
        entry = journal.entries[one.n]
        if entry["kind"] == "poison":
            rejected[one.partition, one.offset] = entry["reason"]
            outcomes["rejected"] += 1
        else:
            told[entry["call"]][entry["n"]].append(one)
            replies[entry["tenant"], entry["event"]].add(entry["call"])
    reused = {name for names in replies.values() if len(names) > 1 for name in names}
    calls = {name: _call(journal, records, outcomes, is_reused=name in reused) for name, records in told.items()}
    lost = [ack for ack in journal.acks if places.get((ack.partition, ack.offset)) != ack.n]
    return Expected(calls, rejected, {name: count for name, count in outcomes.items() if count}, lost)


def _call(journal: Journal, records: dict[int, list[Logged]], outcomes: Counter[str], *, is_reused: bool) -> Call:
    """Of what was told of one call the greatest counts; what says the same again is a duplicate."""
    winner_n = max(records, key=lambda n: journal.entries[n]["weight"])
    # One reply under two ids says the same twice: its two entries differ in nothing that matters.
    by_facts: dict[str, list[Logged]] = defaultdict(list)
    for n, logged in records.items():
        by_facts[_facts(journal.entries[n])] += logged
    winner = journal.entries[winner_n]
    for facts, logged in by_facts.items():
        outcomes["winners" if facts == _facts(winner) else "losers"] += 1
        outcomes["duplicates"] += len(logged) - 1
    # A time that is the log's own is that of the first that says so.
    charged_us = _charged_us(winner["at_us"], min(one.at_us for one in by_facts[_facts(winner)]))
    lines = {meter: (quantity, amount) for meter, (quantity, amount) in winner["lines"].items()}
    return Call(
        winner["tenant"], winner["feature"], winner["model"], charged_us // 3_600_000_000,
        sum(amount for _, amount in lines.values()), lines, winner["is_complete"], is_reused,
    )  # fmt: skip


def _facts(entry: Entry) -> str:
    return json.dumps([entry["weight"], entry["lines"], entry["at_us"], entry["model"]])


def _charged_us(at_us: int, append_us: int) -> int:
    """A time too far from when the log took the record is not believed."""
    return at_us if -_OLDEST_US <= at_us - append_us <= _NEWEST_US else append_us
