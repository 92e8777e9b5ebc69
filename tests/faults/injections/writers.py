"""Two writers on one ledger: a second one beside the first, and one that was frozen and comes back from the dead."""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.faults.fault import NotInjected
from tests.faults.injections.making import frozen, lives, made, since
from tests.faults.proxy import free_port

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from tests.faults.fault import Injected, Site

_BESIDE_S: Final = (10.0, 25.0)
_TAKES_OVER_WITHIN_S: Final = 60.0
_ENDS_WITHIN_S: Final = 30.0
_FENCED: Final = "offsets moved under this writer"


@dataclass(frozen=True, slots=True)
class SecondWriter:
    """Somebody starts another writer: both write, each is fenced by the other, and neither doubles a row."""

    name: str = "two_writers"
    code: str = "F7"

    def inject(self, site: Site, dice: random.Random) -> Injected:
        """Run it beside the first and end it; `NotInjected` where neither ever met the other."""
        lasts_s, began_ns = dice.uniform(*_BESIDE_S), time.time_ns()
        pid, before = site.pid("writer"), _batches(site)
        log = site.layout.logs / "writer.log"
        read_bytes, starts = log.stat().st_size, 1
        with _another(site) as another:
            ends_s = time.monotonic() + lasts_s
            while time.monotonic() < ends_s:
                time.sleep(0.1)
                if another.process.poll() is not None:
                    another.start()
                    starts += 1
            committed = _batches(site) - before
        fenced = another.fenced() + since(log, read_bytes).count(_FENCED)
        if not fenced:
            message = f"two writers for {lasts_s:.0f} s and neither was fenced: does anything flow?"
            raise NotInjected(message)
        site.healed("writer")
        detail = (
            f"a second writer beside {pid} for {lasts_s:.1f} s, started {starts} times;"
            f" {fenced} fenced, {committed} batches committed by the two"
        )
        return made(self, "writer", began_ns, detail)


@dataclass(frozen=True, slots=True)
class ZombieWriter:
    """The writer stands still, another takes over and writes, the first goes on: it must commit nothing and end."""

    name: str = "zombie_writer"
    code: str = "F7"

    def inject(self, site: Site, dice: random.Random) -> Injected:
        """`AssertionError` where the zombie committed; `NotInjected` where nothing flowed."""
        pid, began_ns = site.pid("writer"), time.time_ns()
        with _another(site, start=False) as another, ExitStack() as heir:
            # Anywhere in its work: in a transaction, in a COPY, between two.
            time.sleep(dice.uniform(0.0, 0.5))
            with frozen(pid):
                sessions, marks = _sessions(site), _batches(site)
                another.start()
                took_s = self._taken_over(site, another, marks)
                # Nobody but the zombie may commit from here on, so that a new batch would be its own.
                _stand_still_idle(site, another.process.pid, heir, but=sessions)
                marks, known = _batches(site), _sessions(site)
            how = _fenced(site, pid, known=known, marks=marks)
        site.wait_until(lambda: site.runs("writer"), "the writer to be started again")
        site.healed("writer")
        detail = (
            f"{pid} stood still while another took over within {took_s:.1f} s;"
            f" after SIGCONT it committed nothing of what it held, and {how}"
        )
        return made(self, "writer", began_ns, detail)

    def _taken_over(self, site: Site, another: Another, marks: int) -> float:
        began_s = time.monotonic()
        while _batches(site) <= marks:
            if another.process.poll() is not None:
                another.start()
            if time.monotonic() - began_s > _TAKES_OVER_WITHIN_S:
                said = another.log.read_text(encoding="utf-8")[-800:]
                message = f"a frozen writer kept another from writing for {_TAKES_OVER_WITHIN_S:.0f} s:\n{said}"
                raise AssertionError(message)
            time.sleep(0.05)
        return time.monotonic() - began_s


class Another:
    """A writer of our own beside the stack's."""

    def __init__(self, site: Site) -> None:
        self.log = site.layout.logs / f"another-writer-{time.time_ns()}.log"
        self._site = site
        self.process: subprocess.Popen[bytes]

    def start(self) -> None:
        """Start it, or start it again."""
        layout = self._site.layout
        environment = os.environ | layout.client_environment() | {"TOKENLEDGER_METRICS_PORT": str(free_port())}
        with self.log.open("ab") as said:
            self.process = subprocess.Popen(
                [str(layout.python), "-m", "ledger.writer"], cwd=layout.repo, env=environment, stdout=said, stderr=said
            )

    def fenced(self) -> int:
        """How often it was."""
        return self.log.read_text(encoding="utf-8").count(_FENCED)


@contextmanager
def _another(site: Site, *, start: bool = True) -> Iterator[Another]:
    another = Another(site)
    if start:
        another.start()
    try:
        yield another
    finally:
        if hasattr(another, "process") and another.process.poll() is None:
            another.process.terminate()
            another.process.wait(_ENDS_WITHIN_S)


def _sessions(site: Site) -> frozenset[int]:
    """The backends of writers."""
    with site.connect() as connection:
        rows = connection.execute("SELECT pid FROM pg_stat_activity WHERE application_name = 'tokenledger-writer'")
        return frozenset(int(str(pid)) for (pid,) in rows)


def _batches(site: Site) -> int:
    """How many there are."""
    with site.connect() as connection:
        row = connection.execute("SELECT count(*) FROM batches").fetchone()
    return int(str(row[0])) if row else 0


def _stand_still_idle(site: Site, pid: int, undo: ExitStack, *, but: frozenset[int]) -> None:
    """Freeze a writer between two transactions, so that it holds no lock; `undo` lets it go on."""
    deadline = time.monotonic() + _TAKES_OVER_WITHIN_S
    while time.monotonic() < deadline:
        with ExitStack() as attempt:
            attempt.enter_context(frozen(pid))
            with site.connect() as connection:
                row = connection.execute(
                    "SELECT count(*) FROM pg_stat_activity"
                    " WHERE application_name = 'tokenledger-writer' AND pid <> ALL(%s) AND state = 'idle'",
                    [list(but)],
                ).fetchone()
            if row == (1,):
                undo.push(attempt.pop_all())
                return
        time.sleep(0.02)
    message = "the second writer was never met between two transactions"
    raise NotInjected(message)


def _fenced(site: Site, pid: int, *, known: frozenset[int], marks: int) -> str:
    """How the zombie found out: it ended, or its session was gone and it read the ledger's state anew.

    `AssertionError` where it committed before; `NotInjected` where nothing came that it could have written.
    """
    began_s = time.monotonic()
    while time.monotonic() - began_s < _ENDS_WITHIN_S:
        dead, fresh, committed = not lives(pid), _sessions(site) - known, _batches(site) - marks
        if committed and not fresh:
            message = f"a zombie writer committed {committed} batches after another had taken over"
            raise AssertionError(message)
        if dead or fresh:
            said = "ended" if dead else "opened another session, its own being gone,"
            return f"{said} within {time.monotonic() - began_s:.1f} s"
        time.sleep(0.01)
    message = f"the zombie {pid} had nothing to write for {_ENDS_WITHIN_S:.0f} s: does anything flow?"
    raise NotInjected(message)


WRITERS = (SecondWriter(), ZombieWriter())
