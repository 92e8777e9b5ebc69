"""A reader beside the run (I5): no call it has seen vanishes, and roll-ups never differ from the calls they are of.

    python -m tests.faults.watch --dsn DSN --prefix faults --out FILE

Every look is one snapshot. It writes down how many looks it took and all that it saw go wrong, until it is ended.
"""

import argparse
import json
import os
import random
import signal
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Any, Final

import psycopg

from tests.faults.books import Connection

_EVERY_S: Final = 2.0
_REMEMBERED: Final = 2_000
_SUMS: Final = """
    SELECT c.calls, c.cost, r.calls, r.cost
    FROM (SELECT count(*) AS calls, coalesce(sum(known_cost_usd_pico), 0)::text AS cost
          FROM calls WHERE tenant_id LIKE %(tenants)s) AS c,
        (SELECT coalesce(sum(calls), 0)::bigint AS calls, coalesce(sum(amount_usd_pico), 0)::text AS cost
         FROM rollups WHERE tenant_id LIKE %(tenants)s) AS r
"""
_SAMPLE: Final = "SELECT tenant_id, call_id FROM calls WHERE tenant_id LIKE %s ORDER BY call_id DESC LIMIT 200"
_THERE: Final = "SELECT call_id FROM calls WHERE call_id = ANY(%s)"


class Watcher:
    """What it saw."""

    def __init__(self, prefix: str) -> None:
        self._tenants = prefix + "-%"
        self._dice = random.Random(0)  # noqa: S311 - which calls are remembered is no secret
        self.looks = 0
        self.calls = 0
        self.remembered: set[int] = set()
        self.problems: list[str] = []

    def look(self, connection: Connection) -> None:
        """One snapshot."""
        with connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            row: tuple[Any, ...] = connection.execute(_SUMS, {"tenants": self._tenants}).fetchone() or ()
            there = {one for (one,) in connection.execute(_THERE, [sorted(self.remembered)])}
            fresh = connection.execute(_SAMPLE, [self._tenants]).fetchall()
        calls, cost, rolled_calls, rolled_cost = row
        self.looks += 1
        if calls < self.calls:
            self.problems.append(f"{self.calls - calls} calls fewer than before, {calls} in all")
        if vanished := self.remembered - there:
            self.problems.append(f"{len(vanished)} calls vanished: {sorted(vanished)[:5]}")
        if (calls, cost) != (rolled_calls, rolled_cost):
            self.problems.append(f"roll-ups say {rolled_calls} calls, {rolled_cost}; the ledger says {calls}, {cost}")
        self.calls = calls
        self.remembered = there | {call_id for _, call_id in fresh}
        if len(self.remembered) > _REMEMBERED:
            self.remembered = set(self._dice.sample(sorted(self.remembered), _REMEMBERED))

    def told(self) -> dict[str, Any]:
        """For the report."""
        return {"looks": self.looks, "calls": self.calls, "problems": self.problems[:50]}


def main(arguments: Iterable[str] | None = None) -> int:
    """Look until ended; 0 if nothing was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.watch", description=__doc__)
    parser.add_argument("--dsn", required=True)
    parser.add_argument("--prefix", default="faults")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(None if arguments is None else list(arguments))
    ended = threading.Event()

    def end(_signal: int, _frame: FrameType | None) -> None:
        ended.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    watcher = Watcher(options.prefix)
    while not ended.is_set():
        try:
            with psycopg.connect(options.dsn, autocommit=True, application_name="faults-watch") as connection:
                while not ended.wait(_EVERY_S):
                    watcher.look(connection)
                    _write(options.out, watcher)
        except psycopg.Error:
            # A server that is killed is part of the run; what it says when it is back counts.
            ended.wait(1.0)
    _write(options.out, watcher)
    return 1 if watcher.problems else 0


def _write(out: Path, watcher: Watcher) -> None:
    fresh = out.with_suffix(".new")
    fresh.write_text(json.dumps(watcher.told()), encoding="utf-8")
    os.replace(fresh, out)  # noqa: PTH105 - as short as it gets


if __name__ == "__main__":
    sys.exit(main())
