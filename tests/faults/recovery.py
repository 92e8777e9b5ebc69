"""How long after each fault until the ledger is less than five seconds behind again, under a steady load.

`python -m tests.faults.recovery [NAME …] [--rate N]`; without a name all kills. The lag of an instant is the age of the
oldest record, in the order they were due, that no reader of the ledger can see yet: what waits in the producer while
the broker is away counts too. One stack for all; the next fault waits until the lag is under a second.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import psycopg

from benchmarks.stack import producer
from benchmarks.workload import messages
from infra.local.place import layout_of
from infra.local.stack import Stack
from tests.faults.fault import Fault, NotHealed, NotInjected, Site
from tests.faults.injections import ALL
from tests.faults.site import open_site, site_at
from tokenledger.records.topics import RAW

if TYPE_CHECKING:
    from collections.abc import Iterator

USUAL = (
    *("kill_writer", "kill_compactor", "kill_postmaster", "kill_backend_in_copy", "kill_broker", "kill_jobmanager"),
    *("kill_taskmanager", "crash_python_worker", "kill_connect", "kill_redis", "kill_gateway", "kill_shipper"),
)
_BEHIND_S, _CALM_S = 5.0, 1.0
_CALM_WITHIN_S, _LONGEST_S = 300.0, 3_600
_EVERY_S = 0.25
_SEEN = "SELECT coalesce(sum(upper(part) - lower(part)), 0) FROM origin_ranges, unnest(seen) AS part WHERE topic = %s"


class Sample(NamedTuple):
    """The lag at one instant."""

    at_s: float
    """Monotonic."""
    lag_s: float
    """Age of the oldest record that cannot be seen yet."""


class Load:
    """Records at a steady rate, and what the ledger shows of them."""

    def __init__(self, site: Site, rate: int) -> None:
        self._site = site
        self._rate = rate
        self._stop = threading.Event()
        self._began_s = 0.0
        self._base = 0
        self._sent = 0
        self.samples: list[Sample] = []

    @contextmanager
    def running(self) -> Iterator[Load]:
        """Both threads run until the block ends."""
        self._base = self._seen() or 0
        self._began_s = time.monotonic()
        threads = [threading.Thread(target=work, daemon=True) for work in (self._send, self._watch)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def calm(self) -> bool:
        """Whether the ledger keeps up now."""
        return bool(self.samples) and self.samples[-1].lag_s < _CALM_S and self._sent > self._rate

    def since(self, at_s: float) -> list[Sample]:
        """The samples after an instant."""
        return [sample for sample in self.samples if sample.at_s >= at_s]

    def _send(self) -> None:
        client = producer(self._site.stack)
        work = messages(self._rate * _LONGEST_S, seed=time.time_ns() % 1_000_000, end_us=time.time_ns() // 1000)
        while not self._stop.wait(0.02):
            due = int((time.monotonic() - self._began_s) * self._rate)
            while self._sent < due:
                one = next(work)
                try:
                    client.produce(RAW.name, one.value, one.key, headers=list(one.headers.items()))
                except BufferError:
                    break  # still due: its age goes on
                self._sent += 1
            client.poll(0)
        client.flush(60)

    def _watch(self) -> None:
        shown = 0
        while not self._stop.wait(_EVERY_S):
            seen = self._seen()
            # A ledger that cannot be read shows nothing new.
            shown = shown if seen is None else seen - self._base
            now_s = time.monotonic()
            oldest_s = self._began_s + (shown + 1) / self._rate
            self.samples.append(Sample(now_s, max(now_s - oldest_s, 0.0)))

    def _seen(self) -> int | None:
        try:
            with psycopg.connect(self._site.layout.dsn("analyst"), connect_timeout=2) as connection:
                row = connection.execute(_SEEN, [RAW.name]).fetchone()
        except psycopg.OperationalError:
            return None
        return int(row[0]) if row else None


def recovered(samples: list[Sample], began_s: float) -> tuple[float, float]:
    """Seconds after the fault's begin at which the lag was under five seconds for good, and the greatest lag."""
    behind = [sample.at_s for sample in samples if sample.lag_s >= _BEHIND_S]
    return (behind[-1] - began_s if behind else 0.0), max((sample.lag_s for sample in samples), default=0.0)


def measured(site: Site, load: Load, fault: Fault, dice: random.Random) -> str:
    """One line of the table."""
    site.wait_until(load.calm, "the ledger to keep up before the fault", within_s=_CALM_WITHIN_S)
    began_s = time.monotonic()
    injected = fault.inject(site, dice)
    ready_s = time.monotonic() - began_s
    site.wait_until(load.calm, "the ledger to keep up after the fault", within_s=_CALM_WITHIN_S)
    took_s, lag_s = recovered(load.since(began_s), began_s)
    behind = f"{took_s:.1f} s" if took_s else "never over 5 s"
    return f"| {fault.name} | {injected.target} | {behind} | {lag_s:.1f} s | {ready_s:.1f} s |"


def main() -> int:
    """Exit status 0 if every fault was made and the ledger kept up again after each."""
    known = {fault.name: fault for fault in ALL}
    parser = argparse.ArgumentParser(prog="python -m tests.faults.recovery", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", default=USUAL)
    parser.add_argument("--rate", type=int, default=1_000, help="records a second (default: 1000)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--at", metavar="FOLDER", help="a stack that runs already, instead of one of its own")
    options = parser.parse_args()
    if unknown := sorted(set(options.names) - set(known)):
        parser.error(f"no fault {unknown[0]!r}; there are {', '.join(known)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    dice, failed = random.Random(options.seed), 0  # noqa: S311 - a seed must repeat
    where = site_at(Stack(layout_of(options.at), _say)) if options.at else open_site(say=_say)
    with where as site, Load(site, options.rate).running() as load:
        _say(f"\n{options.rate} records/s\n")
        _say("| fault | hit | lag under 5 s again after | greatest lag | programs ready after |\n|---|---|---|---|---|")
        for name in options.names:
            try:
                _say(measured(site, load, known[name], dice))
            except (NotInjected, NotHealed, AssertionError) as error:
                failed += 1
                _say(f"| {name} | {type(error).__name__}: {error} | – | – | – |")
    return 1 if failed else 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
