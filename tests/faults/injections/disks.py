"""Disks: full and freed, without power and back. Only of data folders that `open_site(disks=…)` put on small disks."""

from __future__ import annotations

import os
import signal
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from infra.local.layout import HOST
from tests.faults.disk import cut, fill, off_and_on
from tests.faults.fault import NotInjected
from tests.faults.injections.making import children, kill, lives, made, since

if TYPE_CHECKING:
    import random
    from pathlib import Path

    from tests.faults.fault import Disk, Injected, Site

_USERS: Final = {"postgres": "postgres", "kafka": "kafka"}
"""Disk → the program that writes to it."""
_FULL_S: Final = (10.0, 25.0)
_DARK_S: Final = (1.0, 5.0)
_NOTICED_WITHIN_S: Final = 60.0
_STARTS_WITHIN_S: Final = 120.0
_COMPLAINT: Final = "No space left on device"


@dataclass(frozen=True, slots=True)
class FillDisk:
    """A disk has no free block left for 10 to 25 seconds after its program noticed; then it is freed."""

    disk: str
    code: str = "F9"

    @property
    def name(self) -> str:
        """Named after the disk."""
        return f"disk_full_{self.disk}"

    def inject(self, site: Site, dice: random.Random) -> Injected:
        """Fill, wait until it hurt, free; ready again when this returns, without anybody's help."""
        disk, program = _disk(site, self.disk), _USERS[self.disk]
        pid, began_ns = site.pid(program), time.time_ns()
        log = site.layout.logs / f"{program}.log"
        read_bytes = log.stat().st_size
        ballast = disk.mount / "ballast"
        try:
            filled_bytes = fill(ballast)
            noticed_s = self._noticed(log, read_bytes, ballast=ballast)
            time.sleep(dice.uniform(*_FULL_S))
        finally:
            ballast.unlink(missing_ok=True)
        full_s = (time.time_ns() - began_ns) / 1e9
        took_s = site.healed(program, *site.jobs())
        died = "it had died and was started again" if site.pid(program) != pid else "it never died"
        detail = (
            f"{filled_bytes >> 20} MiB of ballast, no free block for {full_s:.1f} s; the program met it after"
            f" {noticed_s:.1f} s; {died}; ready {took_s:.1f} s after the disk was freed"
        )
        return made(self, self.disk, began_ns, detail)

    def _noticed(self, log: Path, read_bytes: int, *, ballast: Path) -> float:
        began_s = time.monotonic()
        while time.monotonic() - began_s < _NOTICED_WITHIN_S:
            if _COMPLAINT in since(log, read_bytes):
                return time.monotonic() - began_s
            time.sleep(0.2)
            # What the program itself freed is taken too.
            fill(ballast)
        message = f"{self.disk}: the disk was full for {_NOTICED_WITHIN_S:.0f} s and {log.name} has no {_COMPLAINT!r}"
        raise NotInjected(message)


@dataclass(frozen=True, slots=True)
class FillOutbox:
    """The gateway starts anew on an outbox without a free block: it must take no call until it is freed.

    What a running gateway promised room for before is prepared room, which a full disk does not take back.
    """

    name: str = "disk_full_outbox"
    code: str = "F9"

    def inject(self, site: Site, dice: random.Random) -> Injected:
        """Fill, kill -9 the gateway, see that it refuses, free; it takes calls when this returns."""
        disk, pid, began_ns = _disk(site, "outbox"), site.pid("gateway"), time.time_ns()
        ballast, read_bytes = disk.mount / "ballast", (site.layout.logs / "gateway.log").stat().st_size
        try:
            filled_bytes = fill(ballast)
            kill(pid)
            said: set[str] = set()
            began_s, full_s = time.monotonic(), dice.uniform(*_FULL_S)
            while not _has_met(site, said, read_bytes) or time.monotonic() - began_s < full_s:
                said.add(_answer(site))
                time.sleep(0.2)
                if time.monotonic() - began_s > _STARTS_WITHIN_S:
                    message = f"gateway: said only {said} on a full disk for {_STARTS_WITHIN_S:.0f} s, and met nothing"
                    raise NotInjected(message)
        finally:
            ballast.unlink(missing_ok=True)
        assert "200" not in said, "the gateway says it takes calls, and its outbox has no room for one"
        took_s = site.healed("gateway")
        detail = (
            f"{filled_bytes >> 20} MiB of ballast, kill -9 {pid}; /readyz said {', '.join(sorted(said))} meanwhile;"
            f" ready {took_s:.1f} s after the disk was freed"
        )
        return made(self, "outbox", began_ns, detail)


def _has_met(site: Site, said: set[str], read_bytes: int) -> bool:
    """Whether the new gateway found the disk full: it refuses calls, or it did not start for that."""
    return "503" in said or _COMPLAINT in since(site.layout.logs / "gateway.log", read_bytes)


def _answer(site: Site) -> str:
    """What the gateway says to who asks whether it takes calls."""
    try:
        with urllib.request.urlopen(f"http://{HOST}:{site.layout.ports.gateway}/readyz", timeout=2) as reply:
            return str(reply.status)
    except urllib.error.HTTPError as error:
        return str(error.code)
    except OSError:
        return "nothing"


@dataclass(frozen=True, slots=True)
class CutPower:
    """The power of one server and of its disk fails at one instant: what was not synced is gone."""

    disk: str
    code: str = "F8"

    @property
    def name(self) -> str:
        """Named after the disk."""
        return f"power_cut_{self.disk}"

    def inject(self, site: Site, dice: random.Random) -> Injected:
        """Dark for a few seconds, then started again on what had reached the disk."""
        disk, program = _disk(site, self.disk), _USERS[self.disk]
        began_ns = time.time_ns()
        pids = _stand_still(site, program)
        how = cut(disk)
        # Supervisor takes it for stopped, so that it does not start it on a disk without power.
        stopping = threading.Thread(target=site.stack.supervision.stop_program, args=(program,))
        stopping.start()
        site.wait_until(lambda: site.stack.supervision.process(program).state == "STOPPING", "supervisor to stop it")
        for pid in pids:
            if lives(pid):
                os.kill(pid, signal.SIGKILL)
        stopping.join()
        site.wait_until(lambda: not any(map(lives, pids)), f"{program} to be dead")
        off_and_on(disk)
        time.sleep(dice.uniform(*_DARK_S))
        site.stack.supervision.start_program(program)
        took_s = site.healed(program, *site.jobs())
        detail = f"{len(pids)} processes and their disk at one instant, by {how}; ready {took_s:.1f} s after the start"
        return made(self, self.disk, began_ns, detail)


def _stand_still(site: Site, program: str) -> list[int]:
    """Freeze a program and all below it; nothing it still wants to say is said."""
    first = site.pid(program)
    os.kill(first, signal.SIGSTOP)
    pids = [first, *children(first)]
    for pid in pids[1:]:
        if lives(pid):
            os.kill(pid, signal.SIGSTOP)
    return pids


def _disk(site: Site, name: str) -> Disk:
    if name not in site.disks:
        message = f"{name}: is on no disk of its own; open the site with disks={{{name!r}: 0}}"
        raise NotInjected(message)
    return site.disks[name]


DISKS = (
    FillDisk("postgres"),
    FillDisk("kafka"),
    FillOutbox(),
    CutPower("postgres"),
    CutPower("kafka"),
)
