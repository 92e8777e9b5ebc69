"""Kill everything under load, one thing after the other: nothing is lost, doubled, or charged otherwise.

The short profile of `make faults`: one generator with its journal, the kills, a price that is put right and charged
anew while the writer dies, and at the end the checker, a program that uses no code of the product.
"""

import time
from pathlib import Path

from tests.faults.driving import Drive
from tests.faults.injections import ALL
from tests.faults.operations import EDIT, REPRICE
from tests.faults.running import Outcome, Runner
from tests.faults.schedule import KillProducer, Step
from tests.faults.site import site_at
from tests.faults.workload import Run
from tests.integration.conftest import RunningStack

_EVENTS, _RATE = 30_000, 500


def test_whatever_is_killed_under_load_nothing_is_lost_doubled_or_charged_otherwise(
    stack: RunningStack, tmp_path: Path
) -> None:
    stack.wait_until_healthy()
    run = Run(seed=1, events=_EVENTS, start_us=time.time_ns() // 10**9 * 10**6, rate=_RATE, prefix="kills")
    with site_at(stack.stack) as site:
        drive = Drive(site.layout, tmp_path, run, bootstrap=site.bootstrap, is_alone=False)
        outcome = Outcome(seed=run.seed, events=run.events, prefix=run.prefix, started_at="")
        runner = Runner(site, drive, outcome)
        drive.prepare()
        drive.start()
        try:
            for step in _steps(drive):
                runner.step(step)
            runner.conclude(is_rebuilt=False)
        finally:
            drive.stop()
    assert outcome.failed == []
    assert outcome.problems == []
    assert outcome.seen_wrong == []
    assert outcome.figures["records in the log"] >= _EVENTS
    assert outcome.producers > 1
    assert outcome.looks > 1
    assert [one.name for one in outcome.met if one.recovered_s is None] == []


def _steps(drive: Drive) -> list[Step]:
    """Producer, writer, compactor, Postgres, workers, JobManager and broker die; the last two at once."""
    known = {fault.name: fault for fault in (*ALL, KillProducer(drive))}
    return [
        Step((known["kill_producer"], known["kill_compactor"])),
        Step((known["kill_postmaster"],), EDIT),
        Step((known["kill_writer"],), REPRICE),
        Step((known["kill_taskmanager"],)),
        Step((known["kill_jobmanager"], known["kill_broker"])),
    ]
