"""What a fault is, and what it may touch. A fault blocks while it lasts and heals before it returns.

A fault that could not be made is an error and not a quiet nothing: a run that reports it as done would lie.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import psycopg

from infra.local.layout import SUPERUSER
from infra.local.programs import JOBS

if TYPE_CHECKING:
    import random
    from pathlib import Path

    from infra.local.layout import Layout
    from infra.local.stack import Stack

HEALED_WITHIN_S = float(os.environ.get("TOKENLEDGER_HEALED_WITHIN_S", "180"))
"""How long after a fault every program may take to do its work again; more where a machine is shared by many."""
_POLL_EVERY_S = 0.1


class NotInjected(RuntimeError):  # noqa: N818 - it reads as what it says
    """The fault could not be made here: what was tried and what happened. Fails the reported run."""


class NotHealed(RuntimeError):  # noqa: N818 - it reads as what it says
    """The fault is over and the product did not come back: which program, and its last lines. Fails the run too."""


@dataclass(frozen=True, slots=True)
class Injected:
    """One fault that was made."""

    code: str
    """Of the catalogue: "F2"."""
    name: str
    """The fault: "kill_broker"."""
    target: str
    """What it hit: a program, a connection, a disk."""
    began_ns: int
    """When it began, nanoseconds UTC."""
    ended_ns: int
    """When it was over; the programs it hit were ready again by then."""
    detail: str
    """What was really done: pids, bytes, seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """A small disk of its own that holds one data folder of the stack."""

    name: str
    """"postgres", "kafka" or "outbox"."""
    image: Path
    """The file that is the disk."""
    mount: Path
    """Where it is mounted."""
    link: Path
    """The stack's data folder, a link into the mount."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One running stack, and what a fault may do to it."""

    stack: Stack
    """The stack, with its supervisor."""
    say: Callable[[str], None]
    """Where progress is told."""
    disks: Mapping[str, Disk] = field(default_factory=dict)
    """Data folders that lie on disks of their own, by name; `open_site(disks=…)` puts them there."""
    producer_bootstrap: str = ""
    """What the traffic's producers connect to: a proxy before the broker; empty where there is none."""
    broker_proxy: object | None = None
    """The handle of that proxy: `tests.faults.proxy.Proxy`."""

    @property
    def layout(self) -> Layout:
        """Where the stack lives."""
        return self.stack.layout

    @property
    def bootstrap(self) -> str:
        """What producers are to connect to."""
        return self.producer_bootstrap or self.layout.kafka_bootstrap

    @property
    def admin_dsn(self) -> str:
        """The superuser's way into the ledger."""
        return self.layout.dsn(SUPERUSER)

    def runs(self, name: str) -> bool:
        """Whether the stack has a program of that name and it has a process."""
        return any(process.name == name and process.pid for process in self.stack.supervision.processes())

    def has_another(self, name: str, pid: int) -> bool:
        """Whether the program has a process again, another one than that."""
        return any(
            process.name == name and process.pid not in {0, pid} for process in self.stack.supervision.processes()
        )

    def pid(self, name: str) -> int:
        """The program's process; `NotInjected` where it has none."""
        for process in self.stack.supervision.processes():
            if process.name == name and process.pid:
                return process.pid
        message = f"{name}: has no process now, so nothing can be done to it"
        raise NotInjected(message)

    def wait_until(self, holds: Callable[[], bool], what: str, *, within_s: float = HEALED_WITHIN_S) -> float:
        """Seconds until it holds; `NotHealed` when that takes longer than it may."""
        began_s = time.monotonic()
        while not holds():
            if time.monotonic() - began_s > within_s:
                message = f"waited {within_s:.0f} s for {what}"
                raise NotHealed(message)
            time.sleep(_POLL_EVERY_S)
        return time.monotonic() - began_s

    def healed(self, *names: str, within_s: float = HEALED_WITHIN_S) -> float:
        """Seconds until these programs, or all that should run, are ready; `NotHealed` otherwise."""
        began_s = time.monotonic()
        for name in names or self.expected():
            left_s = within_s - (time.monotonic() - began_s)
            self.wait_until(lambda name=name: self.stack.ready(name), f"{name} to be ready", within_s=left_s)  # type: ignore[misc]
        return time.monotonic() - began_s

    def expected(self) -> tuple[str, ...]:
        """The programs that supervisor was told to run, in the order they start."""
        stopped = {"STOPPED", "EXITED", "FATAL"}
        wanted = {process.name for process in self.stack.supervision.processes() if process.state not in stopped}
        return tuple(program.name for program in self.stack.programs() if program.name in wanted)

    def jobs(self) -> tuple[str, ...]:
        """The Flink jobs that are to run."""
        expected = self.expected()
        return tuple(job for job in JOBS if job in expected)

    def connect(self, user: str = SUPERUSER) -> psycopg.Connection[tuple[object, ...]]:
        """A connection to the ledger that commits by itself."""
        return psycopg.connect(self.layout.dsn(user), autocommit=True)


class Fault(Protocol):
    """One way to break something."""

    @property
    def code(self) -> str:
        """Of the catalogue: "F2"."""

    @property
    def name(self) -> str:
        """What it is called in a schedule: "kill_broker"."""

    def inject(self, site: Site, dice: random.Random) -> Injected:
        """Do it, wait while it lasts, heal it. `NotInjected` where it could not be done, with the reason."""
