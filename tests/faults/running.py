"""A run from its start to its verdict: traffic, steps one after the other, the proof at the end."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import msgspec
import psycopg

from tests.faults.fault import Fault, Injected, NotHealed, NotInjected, Site
from tests.faults.operations import EDIT, REPRICE, Did, RetryError, performed
from tests.faults.schedule import Step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.faults.driving import Drive

RECOVERED_WITHIN_S: Final = 180.0
_BETWEEN_S: Final = (2.0, 6.0)
_TOGETHER_WITHIN_S: Final = 2.0
_REST_WITHIN_S: Final = 1_800.0
_TRIES, _TRY_AGAIN_AFTER_S = 3, 5.0


class Met(msgspec.Struct, frozen=True, kw_only=True):
    """One step that was made."""

    name: str
    faults: list[dict[str, Any]]
    """Code, name, target, what was done, how long it lasted."""
    operation: str = ""
    """What an operator did meanwhile, and how often it had to be tried."""
    recovered_s: float | None
    """From the end of the last fault until the ledger was less than five seconds behind; None: not in time."""


class Outcome(msgspec.Struct, kw_only=True):
    """All that a report says of a run."""

    seed: int
    events: int
    prefix: str
    started_at: str
    minutes: float = 0.0
    load: float = 0.0
    """Mean number of processes that wanted to run, over the run's last quarter of an hour."""
    met: list[Met] = []
    failed: list[str] = []
    """Faults that could not be made, programs that did not come back, operations that never succeeded."""
    producers: int = 0
    worst_lag_s: float = 0.0
    figures: dict[str, int] = {}
    problems: list[str] = []
    looks: int = 0
    seen_wrong: list[str] = []
    rebuilt_calls: int | None = None
    """Calls of the ledger made again from the log; None where that was not done."""

    @property
    def is_right(self) -> bool:
        """Whether every fault was made and every invariant holds."""
        return not (self.failed or self.problems or self.seen_wrong) and all(
            one.recovered_s is not None for one in self.met
        )


class Runner:
    """Takes a drive through its steps."""

    def __init__(self, site: Site, drive: Drive, outcome: Outcome) -> None:
        self.site, self.drive, self.outcome = site, drive, outcome
        self.dice = random.Random(f"run/{outcome.seed}")  # noqa: S311 - a seed must repeat

    def run(self, steps: Sequence[Step], *, until_s: float) -> None:
        """As many steps as the time and the traffic allow."""
        for step in steps:
            time.sleep(self.dice.uniform(*_BETWEEN_S))
            if time.monotonic() > until_s or not self.drive.sends():
                break
            self.step(step)

    def step(self, step: Step) -> None:
        """One step, and the time until the ledger keeps up again."""
        self.site.say(f"{step.name} …")
        with ThreadPoolExecutor() as pool:
            act = pool.submit(performed, step.operation, self.drive) if step.operation else None
            faults = [pool.submit(self._inject, fault, number) for number, fault in enumerate(step.faults)]
            made = [one for one in map(self._result, faults) if isinstance(one, Injected)]
            did = self._result(act) if act else None
        recovered_s = self._recovered()
        self.outcome.met.append(
            Met(
                name=step.name,
                faults=[_told(one) for one in made],
                operation=f"{did.detail} (tried {did.tries} times)" if isinstance(did, Did) else "",
                recovered_s=recovered_s,
            )
        )
        self.site.say(f"  {[one.detail for one in made]} {did or ''} lag back after {recovered_s} s")

    def _inject(self, fault: Fault, number: int) -> Injected:
        # Faults at once begin within a second or two of each other; an operation is under way when its fault comes.
        time.sleep(self.dice.uniform(0, _TOGETHER_WITHIN_S) if number else self.dice.uniform(0.2, 1.5))
        for _ in range(_TRIES - 1):
            try:
                return fault.inject(self.site, self.dice)
            except (NotInjected, psycopg.Error, OSError) as error:
                # What was to be hit may just have been restarting, of the fault before or of the one at its side.
                self.site.say(f"  once more: {error}")
                time.sleep(_TRY_AGAIN_AFTER_S)
                with contextlib.suppress(NotHealed):
                    self.site.healed()
        return fault.inject(self.site, self.dice)

    def _result(self, future: Future[Any]) -> Any:
        try:
            return future.result()
        except (NotInjected, NotHealed, RetryError, AssertionError, psycopg.Error, OSError) as error:
            self.outcome.failed.append(f"{type(error).__name__}: {error}")
            self.site.say(f"  FAILED {type(error).__name__}: {error}")
            return None

    def _recovered(self) -> float | None:
        recovered_s = self.drive.meter.caught_up_within(RECOVERED_WITHIN_S)
        try:
            # The next fault is to meet a stack in which everything runs.
            self.site.healed()
        except NotHealed as error:
            self.outcome.failed.append(f"NotHealed: {error}")
        return None if recovered_s is None else round(recovered_s, 1)

    def conclude(self, *, is_rebuilt: bool = True) -> None:
        """No more faults: the rest of the traffic, today's book for all, and the proof."""
        drive, outcome = self.drive, self.outcome
        self.site.say("no more faults")
        if not drive.wait_for_traffic(_REST_WITHIN_S):
            outcome.failed.append("the producer did not end")
        if drive.meter.caught_up_within(RECOVERED_WITHIN_S) is None:
            outcome.failed.append(f"the ledger is still {drive.meter.lag_s:.0f} s behind")
        for operation in (EDIT, REPRICE):
            try:
                performed(operation, drive)
            except RetryError as error:
                outcome.failed.append(str(error))
        said = drive.command("periods", "list")
        if said.status:
            outcome.failed.append(f"a closed month no longer answers as it did: {said.text[-300:]}")
        told = drive.watched()
        outcome.looks, outcome.seen_wrong = told["looks"], told.get("problems", [])
        outcome.producers, outcome.worst_lag_s = drive.starts, round(drive.meter.worst_s, 1)
        rebuilt = self._rebuilt() if is_rebuilt else ""
        verdict = drive.check(within_s=RECOVERED_WITHIN_S, rebuilt=rebuilt)
        outcome.figures, outcome.problems = verdict["figures"], verdict["problems"]
        outcome.rebuilt_calls = outcome.figures.get("calls of the rebuilt ledger") if rebuilt else None
        outcome.load = round(os.getloadavg()[2], 1)
        self.site.say(verdict["said"])

    def _rebuilt(self) -> str:
        """The ledger made again from the log; without it the run has failed, but the rest is still to be proven."""
        try:
            return self.drive.rebuilt(f"again_{self.outcome.seed}")
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            self.outcome.failed.append(f"the log was not replayed: {str(error)[-300:]}")
            return ""


def _told(one: Injected) -> dict[str, Any]:
    lasted_s = round((one.ended_ns - one.began_ns) / 1e9, 1)
    return {"code": one.code, "name": one.name, "target": one.target, "detail": one.detail, "lasted_s": lasted_s}
