"""Flink under load: stopped with a savepoint and put back, its workers changed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from infra.local.programs import TASKMANAGERS
from infra.local.readiness import flink
from infra.local.savepoint import NotTaken, stop
from tests.faults.fault import NotInjected
from tests.faults.injections.making import kill, made

if TYPE_CHECKING:
    import random

    from tests.faults.fault import Injected, Site


@dataclass(frozen=True, slots=True)
class StopWithSavepoint:
    """A job is stopped with a savepoint while events flow; its submitter puts it back from what was saved."""

    job: str
    code: str = "F18"

    @property
    def name(self) -> str:
        """Named after the job."""
        return f"savepoint_{self.job}"

    def inject(self, site: Site, _dice: random.Random) -> Injected:
        """Runs again when this returns."""
        began_ns, before = time.time_ns(), _jid(site, self.job)
        try:
            saved = stop(site.layout, self.job)
        except (NotTaken, OSError) as error:
            message = f"{self.job}: {error}"
            raise NotInjected(message) from error
        site.wait_until(lambda: _jid(site, self.job) not in {None, before}, f"{self.job} to be submitted again")
        took_s = site.healed(self.job)
        return made(self, self.job, began_ns, f"stopped {before} with {saved.name}; another runs, {took_s:.1f} s later")


@dataclass(frozen=True, slots=True)
class FewerWorkers:
    """One worker of two leaves for a while: one job has no place and waits; then there are two again."""

    name: str = "fewer_taskmanagers"
    code: str = "F18"
    away_s: tuple[float, float] = (10.0, 25.0)

    def inject(self, site: Site, dice: random.Random) -> Injected:
        """Stop one, gracefully or not, wait, start it."""
        worker, away_s, began_ns = dice.choice(TASKMANAGERS), dice.uniform(*self.away_s), time.time_ns()
        gracefully = dice.random() < 0.5
        pid = site.pid(worker)
        try:
            if gracefully:
                site.stack.supervision.stop_program(worker)
            else:
                kill(pid)
                site.wait_until(lambda: site.runs(worker), f"{worker} to be started again")
                site.stack.supervision.stop_program(worker)
            time.sleep(away_s)
        finally:
            site.stack.supervision.start_program(worker)
        took_s = site.healed(worker, *site.jobs())
        how = "stopped" if gracefully else "killed"
        return made(self, worker, began_ns, f"{pid} {how}, none for {away_s:.1f} s; both jobs ran {took_s:.1f} s after")


def _jid(site: Site, job: str) -> str | None:
    """The job's id, if it runs."""
    for known in flink(site.layout, "/jobs/overview").get("jobs", []):
        if known["name"] == job and known["state"] == "RUNNING":
            return str(known["jid"])
    return None


FLINK_JOBS = (StopWithSavepoint("price_job"), StopWithSavepoint("windows_job"), FewerWorkers())
