"""Kill -9, as a machine's memory killer would: servers, workers, processes of ours."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from infra.local.readiness import flink
from tests.faults.fault import NotInjected
from tests.faults.injections.making import children, kill, made

if TYPE_CHECKING:
    import random

    from tests.faults.fault import Injected, Site

_BURST_EVERY_S = 3.0


@dataclass(frozen=True, slots=True)
class Kill:
    """Kill -9 of one program, which supervisor then starts again."""

    code: str
    name: str
    program: str

    def inject(self, site: Site, _dice: random.Random) -> Injected:
        """Dead at once; ready again when this returns."""
        pid, began_ns = site.pid(self.program), time.time_ns()
        kill(pid)
        took_s = _back(site, self.program, pid)
        return made(self, self.program, began_ns, f"kill -9 {pid}; ready again after {took_s:.1f} s")


@dataclass(frozen=True, slots=True)
class KillTaskManager:
    """Kill -9 of the worker of one of the jobs; the dice say which."""

    code: str = "F3"
    name: str = "kill_taskmanager"
    times: int = 1
    """How often, every three seconds or as soon as there is one again."""

    def inject(self, site: Site, dice: random.Random) -> Injected:
        """The job moves to the new worker by itself."""
        job, began_ns, pids = dice.choice(_jobs(site)), time.time_ns(), []
        name = worker_of(site, job)
        for number in range(self.times):
            if number:
                time.sleep(_BURST_EVERY_S)
                site.wait_until(lambda: site.runs(name), f"{name} to be started again")
            pids.append(site.pid(name))
            kill(pids[-1])
        took_s = _back(site, name, pids[-1])
        took_s += site.healed(*site.jobs())
        return made(self, name, began_ns, f"kill -9 {pids}, worker of {job}; it ran again after {took_s:.1f} s")


@dataclass(frozen=True, slots=True)
class CrashPythonWorker:
    """The Python inside a TaskManager dies.

    The jobs run Python in thread mode: the interpreter is a library inside the TaskManager's process, so there is no
    Python process to kill. What comes nearest is the fault that a broken C extension makes: SIGSEGV in that process,
    which the JVM answers with its crash report and an abort. Where there are Python processes below the worker
    (process mode), one of them is killed instead, alone.
    """

    code: str = "F3"
    name: str = "crash_python_worker"

    def inject(self, site: Site, dice: random.Random) -> Injected:
        """The interpreter is gone; the job runs again when this returns."""
        name = worker_of(site, "price_job")
        pid, began_ns = site.pid(name), time.time_ns()
        workers = [child for child in children(pid) if "python" in _program_of(child)]
        if workers:
            victim = dice.choice(sorted(workers))
            kill(victim)
            took_s = site.healed(name, *site.jobs())
            return made(self, name, began_ns, f"kill -9 {victim}, a Python worker below {pid}; {took_s:.1f} s")
        kill(pid, signal.SIGSEGV)
        report = site.layout.repo / f"hs_err_pid{pid}.log"
        said = report.exists()
        report.unlink(missing_ok=True)
        took_s = _back(site, name, pid) + site.healed(*site.jobs())
        how = "with" if said else "without"
        return made(self, name, began_ns, f"SIGSEGV {pid}, {how} a crash report; it ran again after {took_s:.1f} s")


def worker_of(site: Site, job: str) -> str:
    """The program that runs the job's tasks; `NotInjected` while the job does not run."""
    for known in flink(site.layout, "/jobs/overview").get("jobs", []):
        if known["name"] == job and known["state"] == "RUNNING":
            vertices = flink(site.layout, f"/jobs/{known['jid']}").get("vertices", [])
            for vertex in vertices:
                path = f"/jobs/{known['jid']}/vertices/{vertex['id']}/taskmanagers"
                for worker in flink(site.layout, path).get("taskmanagers", []):
                    name, _, pid = str(worker["taskmanager-id"]).rpartition("-")
                    if name and pid:
                        return name
    message = f"{job}: does not run now, so it has no worker"
    raise NotInjected(message)


def _jobs(site: Site) -> tuple[str, ...]:
    """The jobs that are to run; `NotInjected` where there are none."""
    if jobs := site.jobs():
        return jobs
    message = "taskmanager: no job is to run, so no worker has work"
    raise NotInjected(message)


def _back(site: Site, name: str, pid: int) -> float:
    """Seconds until supervisor has started another process and that one is ready."""
    took_s = site.wait_until(lambda: site.has_another(name, pid), f"{name} to be started again")
    return took_s + site.healed(name)


def _program_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8").partition("\0")[0]
    except OSError:
        return ""


KILLS = (
    Kill("F1", "kill_gateway", "gateway"),
    Kill("F1", "kill_shipper", "shipper"),
    Kill("F2", "kill_broker", "kafka"),
    Kill("F4", "kill_jobmanager", "jobmanager"),
    Kill("F5", "kill_postmaster", "postgres"),
    Kill("F5", "kill_connect", "connect"),
    Kill("F6", "kill_redis", "redis"),
    Kill("F5", "kill_writer", "writer"),
    Kill("F5", "kill_compactor", "compact"),
    Kill("F6", "kill_pusher", "pusher"),
    Kill("F5", "kill_archive", "archive"),
    KillTaskManager(),
    KillTaskManager(name="kill_taskmanager_burst", times=5),
    CrashPythonWorker(),
)
