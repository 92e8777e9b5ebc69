"""Keeps one Flink job on the cluster: whenever the JobManager knows no living one, submits it again.

A killed JobManager forgets its jobs. price_job goes on from its consumer group's offsets, windows_job from the newest
complete state in its folder. `python -m infra.local.submitter JOB`
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from infra.local import savepoint
from infra.local.place import layout_of
from infra.local.readiness import flink

if TYPE_CHECKING:
    from infra.local.layout import Layout

_LIVING = frozenset({"INITIALIZING", "CREATED", "RUNNING", "RESTARTING", "FAILING", "RECONCILING", "CANCELLING"})
_LOOK_EVERY_S = 1.0
_SUBMIT_WITHIN_S = 240
_SUBMIT_WITHIN_AT_MOST_S = 1_920


def main() -> None:
    """Run until stopped."""
    [job] = sys.argv[1:]
    layout = layout_of(os.environ.get("TOKENLEDGER_STACK_ROOT"))
    within_s = _SUBMIT_WITHIN_S
    while True:
        jobs = flink(layout, "/jobs/overview").get("jobs")
        # No answer is not an empty answer: the JobManager may be starting.
        if jobs is not None and not any(one["name"] == job and one["state"] in _LIVING for one in jobs):
            within_s = patience_s(within_s, ended=_submit(layout, job, within_s=within_s))
        time.sleep(_LOOK_EVERY_S)


def patience_s(within_s: int, *, ended: bool) -> int:
    """How long the next submission may take: a machine too busy for one would otherwise cut off every one."""
    return _SUBMIT_WITHIN_S if ended else min(within_s * 2, _SUBMIT_WITHIN_AT_MOST_S)


def _submit(layout: Layout, job: str, *, within_s: int) -> bool:
    """Submit it; whether the submission came to an end by itself."""
    folder = layout.checkpoints(job)
    state = savepoint.newest(folder)
    savepoint.tidy(folder, state)
    _say(f"{job} is not on the cluster: submitting" + (f", from {state}" if state else ""))
    started_at = time.monotonic()
    try:
        status = subprocess.run(
            [str(layout.flink_python), "-m", f"flink_jobs.{job}"],
            check=False,
            timeout=within_s,
            env=os.environ | {"TOKENLEDGER_RESUME_FROM": str(state or "")},
        ).returncode
    except subprocess.TimeoutExpired:
        _say(f"{job}: no end of the submission after {within_s} s; trying again")
        return False
    _say(f"{job}: submission ended with status {status} after {time.monotonic() - started_at:.1f} s")
    return True


def _say(message: str) -> None:
    print(time.strftime("%Y-%m-%d %H:%M:%S"), message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
