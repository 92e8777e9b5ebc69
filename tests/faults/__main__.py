"""Faults under load, for as long as one likes: `make faults SEED=1 MINUTES=8`.

One seed fixes the traffic and the faults. The outcome is written to tests/faults/results/ with --report, and
docs/faults.md is made of all that lie there. Exit status: 0 if every fault was made and nothing was lost, doubled or
charged otherwise; 1 if not.
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from tests.faults import report
from tests.faults.driving import Drive
from tests.faults.running import Outcome, Runner
from tests.faults.schedule import steps
from tests.faults.site import open_site
from tests.faults.workload import Run

PROGRAMS = (
    "postgres", "kafka", "redis", "jobmanager", "taskmanager", "taskmanager2", "price_job", "windows_job", "writer",
    "compact", "connect",
)  # fmt: skip


def main() -> int:
    """Run, break, prove."""
    options = _options()
    if options.only_report:
        report.write()
        return 0
    # What is mounted and started is undone when the command is ended, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = Path(tempfile.mkdtemp(prefix="tlf-run-", dir="/tmp"))
    disks = dict.fromkeys(("postgres", "kafka"), 0) if os.geteuid() == 0 and not options.no_disks else {}
    began_s = time.monotonic()
    with open_site(say=_say, names=PROGRAMS, disks=disks) as site:
        events = options.events or int(options.minutes * 60 * options.rate)
        run = Run(options.seed, events, time.time_ns() // 10**9 * 10**6, options.rate, "faults")
        drive = Drive(site.layout, folder, run, bootstrap=site.bootstrap)
        started_at = f"{datetime.now(UTC):%Y-%m-%d %H:%M}"
        outcome = Outcome(seed=run.seed, events=events, prefix=run.prefix, started_at=started_at)
        runner = Runner(site, drive, outcome)
        drive.prepare()
        drive.start()
        try:
            planned = steps(run.seed, drive, PROGRAMS, without=options.without, disks=tuple(disks))
            runner.run(planned, until_s=time.monotonic() + options.minutes * 60)
            runner.conclude()
        finally:
            drive.stop()
        outcome.minutes = round((time.monotonic() - began_s) / 60, 1)
    return _conclude(outcome, folder, is_kept=options.report)


def _conclude(outcome: Outcome, folder: Path, *, is_kept: bool) -> int:
    if is_kept:
        report.keep(outcome)
        report.write()
    _say(msgspec.json.format(msgspec.json.encode(outcome)).decode())
    _say(report.in_short(outcome))
    if outcome.is_right:
        shutil.rmtree(folder)
        return 0
    _say(f"the journal is kept in {folder}")
    return 1


def _options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=8, help="how long new faults are made (default: 8)")
    parser.add_argument("--rate", type=int, default=450, help="records a second (default: 450)")
    parser.add_argument("--events", type=int, help="records in all (default: as many as the minutes take)")
    parser.add_argument("--without", nargs="*", default=[], metavar="FAULT", help="leave these faults out")
    parser.add_argument("--no-disks", action="store_true", help="no disks of their own, so no disk faults")
    parser.add_argument("--report", action="store_true", help="keep the outcome and write docs/faults.md anew")
    parser.add_argument("--only-report", action="store_true", help="write docs/faults.md from what was kept")
    return parser.parse_args(arguments)


def _say(line: str) -> None:
    sys.stdout.write(f"{datetime.now(UTC):%H:%M:%S} {line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
