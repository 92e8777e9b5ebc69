"""SIGSTOP, a while, SIGCONT: a program that answers nobody and then goes on as if nothing had been."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from infra.local.programs import JOBS
from tests.faults.injections.killed import worker_of
from tests.faults.injections.making import frozen, made, programs_tree

if TYPE_CHECKING:
    import random

    from tests.faults.fault import Injected, Site

SHORTEST_S, LONGEST_S = 10.0, 60.0


@dataclass(frozen=True, slots=True)
class Pause:
    """A program and all its processes stand still for 10 to 60 seconds, by the dice."""

    name: str
    program: str
    """Of the stack; "price_job" is whichever worker runs it."""
    code: str = "F7"
    shortest_s: float = SHORTEST_S
    longest_s: float = LONGEST_S

    def inject(self, site: Site, dice: random.Random) -> Injected:
        """Freeze, wait, go on, and wait until all is well."""
        pause_s = dice.uniform(self.shortest_s, self.longest_s)
        program = worker_of(site, self.program) if self.program in JOBS else self.program
        pids = programs_tree(site, program)
        began_ns = time.time_ns()
        with frozen(*pids):
            time.sleep(pause_s)
        took_s = site.healed(program, *site.jobs())
        detail = f"SIGSTOP {len(pids)} processes from {pids[0]} for {pause_s:.1f} s; well {took_s:.1f} s after SIGCONT"
        return made(self, program, began_ns, detail)


PAUSES = (
    Pause("pause_broker", "kafka"),
    Pause("pause_jobmanager", "jobmanager"),
    Pause("pause_taskmanager", "price_job"),
    Pause("pause_postgres", "postgres"),
    Pause("pause_writer", "writer"),
    Pause("pause_compactor", "compact"),
    Pause("pause_redis", "redis"),
    Pause("pause_gateway", "gateway"),
    Pause("pause_shipper", "shipper"),
)
