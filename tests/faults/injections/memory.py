"""Out of memory: a program is put under a limit it does not fit in, and the kernel kills it."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from infra.local.programs import JOBS
from tests.faults.fault import NotInjected
from tests.faults.injections.killed import worker_of
from tests.faults.injections.making import children, lives, made

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from tests.faults.fault import Injected, Site

_V1: Final = Path("/sys/fs/cgroup/memory")
_V2: Final = Path("/sys/fs/cgroup")
_DIES_WITHIN_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class OutOfMemory:
    """A memory group around one program shrinks until the kernel's memory killer ends it."""

    program: str
    """Of the stack; "price_job" is whichever worker runs it."""
    code: str = "F20"

    @property
    def name(self) -> str:
        """Named after the program."""
        return f"out_of_memory_{self.program}"

    def inject(self, site: Site, _dice: random.Random) -> Injected:
        """The kernel kills it; ready again when this returns."""
        program = worker_of(site, self.program) if self.program in JOBS else self.program
        pid, began_ns = site.pid(program), time.time_ns()
        with _group(f"tokenledger-{pid}") as group:
            for one in (pid, *children(pid)):
                (group / "cgroup.procs").write_text(str(one), encoding="ascii")
            resident_kib = _resident_kib(pid)
            limit_bytes = _squeezed(group, pid, resident_kib * 1024)
        site.wait_until(lambda: site.runs(program) and site.pid(program) != pid, f"{program} to be started again")
        took_s = site.healed(program, *site.jobs())
        detail = f"{pid} held {resident_kib >> 10} MiB, killed at a limit of {limit_bytes >> 20} MiB; {took_s:.1f} s"
        return made(self, program, began_ns, detail)


@contextmanager
def _group(name: str) -> Iterator[Path]:
    """A memory group of the kernel, of either version."""
    parent = _V1 if (_V1 / "memory.limit_in_bytes").exists() else _V2
    group = parent / name
    try:
        group.mkdir()
    except OSError as error:
        message = f"{group}: {error.strerror}; memory groups need root and a writable cgroup file system"
        raise NotInjected(message) from error
    try:
        yield group
    finally:
        _emptied(group, parent)


def _emptied(group: Path, parent: Path) -> None:
    deadline = time.monotonic() + _DIES_WITHIN_S
    while left := (group / "cgroup.procs").read_text(encoding="ascii").split():
        for one in left:
            if lives(int(one)):
                (parent / "cgroup.procs").write_text(one, encoding="ascii")
        if time.monotonic() > deadline:
            break
        time.sleep(0.05)
    group.rmdir()


def _squeezed(group: Path, pid: int, resident_bytes: int) -> int:
    """Take room away until it is dead: pages that it touches again do not fit any more."""
    limit = next((group / name for name in ("memory.limit_in_bytes", "memory.max") if (group / name).exists()), None)
    if limit is None:
        message = f"{group}: has no memory limit; the memory controller is not on"
        raise NotInjected(message)
    swap = group / "memory.swap.max"
    if swap.exists():
        swap.write_text("0", encoding="ascii")
    limit_bytes, deadline = resident_bytes, time.monotonic() + _DIES_WITHIN_S
    while lives(pid):
        limit_bytes = max(limit_bytes * 3 // 4, os.sysconf("SC_PAGE_SIZE") * 256)
        _write(limit, limit_bytes)
        time.sleep(0.5)
        if time.monotonic() > deadline:
            message = f"{pid} lives under a limit of {limit_bytes >> 20} MiB for {_DIES_WITHIN_S:.0f} s"
            raise NotInjected(message)
    return limit_bytes


def _write(limit: Path, limit_bytes: int) -> None:
    """The kernel refuses (EBUSY) what is less than it can free at once; version 1 charges only what comes later."""
    try:
        limit.write_text(str(limit_bytes), encoding="ascii")
    except OSError:
        return


def _resident_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(status.partition("VmRSS:")[2].split()[0])


MEMORY = (OutOfMemory("writer"), OutOfMemory("gateway"), OutOfMemory("price_job"))
