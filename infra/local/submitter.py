"""Keeps price_job on the cluster: whenever the JobManager knows no living one, submits it again.

A killed JobManager forgets its jobs; the job itself resumes from its consumer group's offsets.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

from infra.local.place import layout_of
from infra.local.readiness import JOB, flink

_LIVING = frozenset({"INITIALIZING", "CREATED", "RUNNING", "RESTARTING", "FAILING", "RECONCILING"})
_LOOK_EVERY_S = 1.0
_SUBMIT_WITHIN_S = 120


def main() -> None:
    """Run until stopped."""
    layout = layout_of(os.environ.get("TOKENLEDGER_STACK_ROOT"))
    while True:
        jobs = flink(layout, "/jobs/overview").get("jobs")
        # No answer is not an empty answer: the JobManager may be starting.
        if jobs is not None and not any(job["name"] == JOB and job["state"] in _LIVING for job in jobs):
            _submit(str(layout.flink_python))
        time.sleep(_LOOK_EVERY_S)


def _submit(python: str) -> None:
    _say(f"{JOB} is not on the cluster: submitting")
    started_at = time.monotonic()
    try:
        status = subprocess.run(
            [python, "-m", "flink_jobs.price_job"], check=False, timeout=_SUBMIT_WITHIN_S
        ).returncode
    except subprocess.TimeoutExpired:
        _say(f"{JOB}: no end of the submission after {_SUBMIT_WITHIN_S} s; trying again")
        return
    _say(f"{JOB}: submission ended with status {status} after {time.monotonic() - started_at:.1f} s")


def _say(message: str) -> None:
    print(time.strftime("%Y-%m-%d %H:%M:%S"), message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
