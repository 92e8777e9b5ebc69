"""Out of memory: a program is put under a limit it does not fit in, and the kernel kills it."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from infra.local.programs import JOBS
from tests.faults.fault import NotInjected
from tests.faults.injections.killed import worker_of
from tests.faults.injections.making import kill, lives, made

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from tests.faults.fault import Injected, Site

_V1: Final = Path("/sys/fs/cgroup/memory")
_V2: Final = Path("/sys/fs/cgroup")
_DIES_WITHIN_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class OutOfMemory:
    """A program gets half the memory it had, and the kernel's memory killer ends it."""

    program: str
    """Of the stack; "price_job" is whichever worker runs it."""
    code: str = "F20"

    @property
    def name(self) -> str:
        """Named after the program."""
        return f"out_of_memory_{self.program}"

    def inject(self, site: Site, _dice: random.Random) -> Injected:
        """Started anew under the limit it grows until the kernel kills it; the next start has no limit."""
        program = worker_of(site, self.program) if self.program in JOBS else self.program
        pid, began_ns = site.pid(program), time.time_ns()
        resident_kib = _resident_kib(pid)
        limit_bytes = resident_kib * 1024 // 2
        with _group(f"tokenledger-{pid}", limit_bytes) as group:
            # What a process holds already counts where it was taken: only a fresh one can be limited.
            kill(pid)
            site.wait_until(lambda: site.has_another(program, pid), f"{program} to be started again")
            fresh = site.pid(program)
            (group / "cgroup.procs").write_text(str(fresh), encoding="ascii")
            took_s = _died(fresh, program)
        site.wait_until(lambda: site.has_another(program, fresh), f"{program} to be started again")
        healed_s = site.healed(program, *site.jobs())
        detail = (
            f"{pid} held {resident_kib >> 10} MiB; {fresh} was given {limit_bytes >> 20} MiB and died of it after"
            f" {took_s:.1f} s; well again after {healed_s:.1f} s"
        )
        return made(self, program, began_ns, detail)


@contextmanager
def _group(name: str, limit_bytes: int) -> Iterator[Path]:
    """A memory group of the kernel, of either version."""
    parent, limit = (_V1, "memory.limit_in_bytes") if (_V1 / "memory.limit_in_bytes").exists() else (_V2, "memory.max")
    group = parent / name
    try:
        group.mkdir()
        (group / limit).write_text(str(limit_bytes), encoding="ascii")
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


def _died(pid: int, program: str) -> float:
    began_s = time.monotonic()
    while lives(pid):
        if time.monotonic() - began_s > _DIES_WITHIN_S:
            message = f"{program}: {pid} lives on half the memory it had for {_DIES_WITHIN_S:.0f} s"
            raise NotInjected(message)
        time.sleep(0.05)
    return time.monotonic() - began_s


def _resident_kib(pid: int) -> int:
    """Its own memory, without what it shares with files: those may count in another group."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(status.partition("RssAnon:")[2].split()[0])


MEMORY = (OutOfMemory("writer"), OutOfMemory("gateway"), OutOfMemory("price_job"))
