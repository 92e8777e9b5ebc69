"""Which faults meet a run, and in which order: fixed by the seed."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.faults.fault import Injected, NotInjected
from tests.faults.injections import ALL
from tests.faults.operations import OPERATIONS, Operation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.faults.driving import Drive
    from tests.faults.fault import Fault, Site

SEEDS_TO_COVER: Final = 5
"""After so many consecutive seeds every fault was made at least once, if the runs are long enough."""
DISKS: Final = ("postgres", "kafka")
"""Data folders that lie on small disks of their own where the run is root's."""
_COMPOUND: Final = (
    ("kill_broker", "pause_writer"),
    ("kill_jobmanager", "kill_writer"),
    ("kill_postmaster", "kill_producer"),
    ("kill_taskmanager", "kill_postmaster"),
    ("kill_broker", "kill_postmaster"),
    ("refused_postgres", "kill_jobmanager"),
    ("lock_ledger", "kill_broker"),
    ("pause_postgres", "kill_broker"),
    ("pause_jobmanager", "kill_producer"),
    ("silent_producers", "kill_writer"),
)
_NEEDS: Final = {"gateway", "shipper", "archive", "pusher", "outbox"}
"""Programs that carry none of this traffic."""


class Step(NamedTuple):
    """What happens at once."""

    faults: tuple[Fault, ...]
    operation: Operation | None = None

    @property
    def name(self) -> str:
        """For people."""
        names = [fault.name for fault in self.faults]
        return " + ".join([self.operation.name, *names] if self.operation else names)


class KillProducer:
    """Kill -9 of the traffic's producer; the one that is started after it goes on where the journal ends."""

    code: Final = "F1"
    name: Final = "kill_producer"

    def __init__(self, drive: Drive) -> None:
        self._drive = drive

    def inject(self, _site: Site, _dice: random.Random) -> Injected:
        """In the middle of a batch, as likely as not."""
        began_ns = time.time_ns()
        pid = self._drive.kill_traffic()
        if not pid:
            message = "the producer had sent everything before it was killed"
            raise NotInjected(message)
        detail = f"kill -9 {pid}; what it had no answer for is sent again"
        return Injected(self.code, self.name, "producer", began_ns, time.time_ns(), detail)


def steps(
    seed: int, drive: Drive, running: Sequence[str], *, without: Sequence[str] = (), disks: Sequence[str] = DISKS
) -> list[Step]:
    """The steps of a seed: single faults, faults at once, and operations that meet a fault."""
    dice = random.Random(f"schedule/{seed}")  # noqa: S311 - a seed must repeat
    known = {
        fault.name: fault for fault in (*_possible(running, disks), KillProducer(drive)) if fault.name not in without
    }
    names = sorted(known)
    # Another fifth of all faults comes first in each of five seeds in a row.
    random.Random("faults").shuffle(names)  # noqa: S311 - as above
    first = names[seed % SEEDS_TO_COVER :: SEEDS_TO_COVER]
    rest = [name for name in names if name not in first]
    dice.shuffle(first)
    dice.shuffle(rest)
    pairs = [pair for pair in _COMPOUND if all(name in known for name in pair)]
    dice.shuffle(pairs)
    single = [Step((known[name],)) for name in (*first, *rest)]
    several = [Step(tuple(known[name] for name in pair)) for pair in pairs]
    acts = [Step(tuple(known[name] for name in one.beside if name in known)[:1], one) for one in OPERATIONS]
    # A short run has time for two of them: in five seeds in a row each comes early twice.
    acts = acts[2 * seed % len(acts) :] + acts[: 2 * seed % len(acts)]
    found = []
    while single:
        found += [*single[:2], *acts[:1], *several[:1]]
        single, acts, several = single[2:], acts[1:], several[1:]
    return found


def _possible(running: Sequence[str], disks: Sequence[str]) -> list[Fault]:
    """Faults of programs that this site runs, and of disks that it has."""
    found: list[Fault] = []
    for fault in ALL:
        target = getattr(fault, "program", "")
        needed = any(word in fault.name for word in _NEEDS)
        has_disk = getattr(fault, "disk", "") in ("", *disks)
        if has_disk and not needed and (not target or target in running):
            found.append(fault)
    return found
