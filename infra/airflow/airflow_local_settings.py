# ruff: noqa: INP001 - Airflow looks for a module of this name, outside any package
"""What Airflow imports at the start of each of its processes: a child does not outlive its parent.

A killed scheduler would leave its workers behind for ever, and a killed worker its task, which would go on beside the
retry. The kernel ends them instead; the command of a task is asked to end, see `dags/running.py`.
"""

import ctypes
import os
import signal

__all__: list[str] = []

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def _end_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


os.register_at_fork(after_in_child=_end_with_parent)
