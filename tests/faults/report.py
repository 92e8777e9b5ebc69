"""docs/faults.md, made of the outcomes that were kept: one file a seed in tests/faults/results/."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Final

import msgspec

from tests.faults.running import Met, Outcome

RESULTS: Final = Path(__file__).with_name("results")
PAGE: Final = Path(__file__).parents[2] / "docs" / "faults.md"

_HEAD: Final = """\
# Faults

What happens to the ledger when everything around it dies, stands still, fills up or lies. Made by
`python -m tests.faults --only-report` from `tests/faults/results/`; each seed can be run again:

```
make faults SEED=1 MINUTES=8
```

A generator sends the traffic of 50 tenants (Zipf) in seven reply shapes and writes a journal: what it sent, what each
call must cost by a rate table of its own, what the broker acknowledged. In it are 5 % duplicates, 5 % streams broken
off, 2 % events that are hours late and 0.7 % days or weeks late, 0.3 % far in the future, 1 % poison in eleven kinds,
1.5 % calls that are told twice with other contents or under other ids, and from half of the run on producers of a new
version. Meanwhile the faults of the seed's schedule are made, alone and at once, and operators edit a price, charge
anew, close a month, send rejected records again and start a second writer. Then a checker, a program of its own that
uses no code of the product, holds the ledger against journal and log:

| | must hold |
|---|---|
| I1 | every call that the log has is in the ledger once; every record that cannot be read is in the index once |
| I2 | every call costs what it must; per tenant, feature, model, hour: journal = lines = roll-ups, to the pico-dollar |
| I3 | every offset has one outcome; winners, losers, duplicates and rejected are as many as the journal says |
| I4 | the lines of each call add up to its cost, and each meter to what the journal used of it |
| I5 | a reader beside the run never sees a call vanish, nor roll-ups that differ from the calls |
| I8 | after every fault, once what it hit runs again, the ledger is less than 5 s behind within 180 s |
| I10 | the log, replayed into an empty ledger, gives the same calls, lines and roll-ups |

The checker itself is checked in every `make test`: without the unique key, with offsets committed before rows, without
rank, with a lost part, a delta folded twice and a line that is one pico-dollar off it must turn red
(`tests/faults/test_mutations.py`).
"""

_FOUND: Final = """\
## What the runs found

- `tokenledger reprice` on a busy machine was ended by Postgres while it priced: its session counted as idle in a
  transaction. Mended; `test_a_reader_on_a_busy_machine_is_not_ended_while_it_prices`.
- A JobManager that needed more than ten seconds for its first step gave up and started over, for ever. Mended
  (`pekko.startup-timeout`).
- A rejected record from a partition that its topic no longer has stopped every replay. Mended;
  `test_what_came_from_a_partition_that_is_no_more_is_sent_from_where_it_was_kept`.
- A logical message that anybody wrote into Postgres's log stopped Debezium. Mended (`message.prefix.exclude.list`).
"""
_WANTED: Final = 5
_SEEDS_HEAD: Final = (
    "| seed | records | calls | cost, USD | faults made | not made or healed | lost | doubled "
    "| money difference, pico-USD | looks of the reader, wrong | replayed calls, equal | minutes | load |"
)
_LIMITS: Final = """\
## Limits

- One machine, one kernel, two processor cores that other work shared: recovery times contain the start of a JVM under
  load. The load column says how many processes wanted to run.
- One broker. By default its acknowledgement means the page cache, not the disk: a power cut may lose acknowledged
  records, and nothing behind it can know. In these runs its topics sync every record (`flush.messages=1`), so that a
  power cut is a fault like others and what was acknowledged must be there ([injections.md](injections.md)).
- No clocks of several hosts, no firmware, no network between machines; faults of the network are made by a proxy.
- Producer, broker and ledger are killed as processes; nothing is said about defects of the processor or memory.
"""


def keep(outcome: Outcome) -> None:
    """Write it where the page finds it."""
    RESULTS.mkdir(exist_ok=True)
    text = msgspec.json.format(msgspec.json.encode(outcome), indent=1)
    (RESULTS / f"seed-{outcome.seed:02}.json").write_bytes(text + b"\n")


def kept() -> list[Outcome]:
    """All outcomes, by seed."""
    return [msgspec.json.decode(path.read_bytes(), type=Outcome) for path in sorted(RESULTS.glob("seed-*.json"))]


def write() -> None:
    """Write the page anew."""
    PAGE.write_text(page(kept()), encoding="utf-8")


def page(outcomes: list[Outcome]) -> str:
    """The page."""
    return (
        "\n".join([_HEAD, *_seeds(outcomes), *_faults(outcomes), *_operations(outcomes), _FOUND, _LIMITS]).rstrip()
        + "\n"
    )


def in_short(outcome: Outcome) -> str:
    """One line for people."""
    figures = outcome.figures
    return (
        f"seed {outcome.seed}: {figures.get('records in the log', 0):,} records, "
        f"{sum(len(one.faults) for one in outcome.met)} faults; lost {figures.get('lost')}, doubled "
        f"{figures.get('doubled')}, money difference {figures.get('money difference, pico-USD')} pico-USD; "
        f"{len(outcome.failed)} steps failed, {len(outcome.problems)} problems"
    )


def _seeds(outcomes: list[Outcome]) -> list[str]:
    lines = [
        "## Seeds",
        "",
        _SEEDS_HEAD,
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one in outcomes:
        figures = one.figures
        equal = "yes" if not any(problem.startswith("I10") for problem in one.problems) else "no"
        lines.append(
            f"| {one.seed} | {figures['records in the log']:,} | {figures['calls']:,} "
            f"| {figures['known cost, pico-USD'] / 10**12:,.2f} "
            f"| {sum(len(met.faults) for met in one.met)} | {len(one.failed)} | {figures['lost']} "
            f"| {figures['doubled']} | {figures['money difference, pico-USD']} "
            f"| {one.looks:,}, {len(one.seen_wrong)} | {one.rebuilt_calls or 0:,}, {equal} "
            f"| {one.minutes} | {one.load} |"
        )
    failed = [f"- Seed {one.seed}: {text}" for one in outcomes for text in [*one.failed, *one.problems[:5]]]
    if len(outcomes) < _WANTED:
        lines += ["", f"{len(outcomes)} of the {_WANTED} seeds that are wanted; the others were not run to their end."]
    return [*lines, "", *(["What failed:", "", *failed, ""] if failed else [])]


def _faults(outcomes: list[Outcome]) -> list[str]:
    """How long the ledger took after each."""
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    codes: dict[str, str] = {}
    late: dict[str, int] = defaultdict(int)
    for met in (met for one in outcomes for met in one.met if met.faults):
        name = " + ".join(sorted(fault["name"] for fault in met.faults))
        codes[name] = ", ".join(sorted({fault["code"] for fault in met.faults}))
        lasted_s = max(fault["lasted_s"] for fault in met.faults)
        if met.recovered_s is None:
            late[name] += 1
        else:
            found[name, codes[name]].append(lasted_s + met.recovered_s)
    lines = [
        "## Faults and recovery",
        "",
        "Seconds from the beginning of the fault, its own length and the start of what it hit included, until the",
        "ledger was less than 5 s behind.",
        "",
        "| fault | code | times | median s | longest s | not within 180 s |",
        "|---|---|---|---|---|---|",
    ]
    names = sorted({name for name, _ in found} | late.keys())
    for name in names:
        times = found.get((name, codes[name]), [])
        shown = f"{median(times):.1f} | {max(times):.1f}" if times else "– | –"
        lines.append(f"| {name} | {codes[name]} | {len(times) + late[name]} | {shown} | {late[name]} |")
    return [*lines, ""]


def _operations(outcomes: list[Outcome]) -> list[str]:
    lines = ["## Operations in the middle of it", "", "| seed | step | what it came to |", "|---|---|---|"]
    lines += [
        f"| {one.seed} | {met.name} | {met.operation.replace('|', '/')} |"
        for one in outcomes
        for met in _with_operation(one.met)
    ]
    return [*lines, ""]


def _with_operation(met: Iterable[Met]) -> list[Met]:
    return [one for one in met if one.operation]
