"""What injections share: how one is written down, signals by pid, the moment at which a session does something."""

from __future__ import annotations

import os
import signal
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults.fault import Injected, NotInjected

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.fault import Fault, Site

_GONE_WITHIN_S = 30.0


def made(fault: Fault, target: str, began_ns: int, detail: str) -> Injected:
    """The fault is over now."""
    return Injected(fault.code, fault.name, target, began_ns, time.time_ns(), detail)


def kill(pid: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal and wait until the process is gone; `NotInjected` where it had ended by itself."""
    try:
        os.kill(pid, number)
    except ProcessLookupError as error:
        message = f"pid {pid} had ended before it was killed"
        raise NotInjected(message) from error
    deadline = time.monotonic() + _GONE_WITHIN_S
    while lives(pid):
        if time.monotonic() > deadline:
            message = f"pid {pid} lives {_GONE_WITHIN_S:.0f} s after {number.name}"
            raise NotInjected(message)
        time.sleep(0.005)


def lives(pid: int) -> bool:
    """Whether it is a process that has not ended; one that waits to be reaped has."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] not in {"Z", "X"}


def children(pid: int) -> list[int]:
    """The processes below one, at any depth."""
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            continue
        parents.setdefault(int(fields[1]), []).append(int(path.parent.name))
    found: list[int] = []
    waiting = [pid]
    while waiting:
        below = parents.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


@contextmanager
def frozen(*pids: int) -> Iterator[None]:
    """They stand still, and go on when the block ends; one that died meanwhile is left dead."""
    stopped = []
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
            stopped.append(pid)
        yield
    except ProcessLookupError as error:
        message = f"one of the pids {pids} ended before it stood still"
        raise NotInjected(message) from error
    finally:
        for pid in stopped:
            if lives(pid):
                os.kill(pid, signal.SIGCONT)


def programs_tree(site: Site, name: str) -> tuple[int, ...]:
    """A program's process and all below it: Postgres is a family."""
    pid = site.pid(name)
    return (pid, *children(pid))


def since(log: Path, read_bytes: int) -> str:
    """What was logged after its first so many bytes; all of it where it was rotated meanwhile."""
    with log.open("rb") as file:
        file.seek(read_bytes if log.stat().st_size >= read_bytes else 0)
        return file.read().decode(errors="replace")
