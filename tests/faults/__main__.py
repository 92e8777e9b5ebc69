"""Kills a random process every few seconds under load, then holds the ledger against the journals.

One seed fixes traffic and kills. Exit status: 0 if nothing was lost or doubled, 1 if something was.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg

from benchmarks.stack import stack_of
from infra.local.stack import Stack
from ledger.kafka import KafkaSide
from ledger.reconcile import compare
from ledger.verify import verify

_VICTIMS = ("writer", "compact", "postgres", "taskmanager", "kafka", "jobmanager")
_PAUSE_S, _CAUGHT_UP_WITHIN_S = (5.0, 25.0), 300.0


def main() -> int:
    """Run, kill, compare."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("files", nargs="*", default=[".local/samples"])
    options = parser.parse_args()
    chance = random.Random(options.seed)  # noqa: S311 - a seed must repeat
    with stack_of() as stack, tempfile.TemporaryDirectory() as folder:
        until = time.monotonic() + options.minutes * 60
        journals: list[str] = []
        while time.monotonic() < until:
            journals.append(str(Path(folder) / f"{len(journals)}.jsonl"))
            sender = _send(stack, options.files, journals[-1], seed=options.seed * 1000 + len(journals))
            while sender.poll() is None:
                time.sleep(chance.uniform(*_PAUSE_S))
                _kill(stack, chance.choice(_VICTIMS))
        return _judge(stack, journals)


def _send(stack: Stack, files: list[str], journal: str, *, seed: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tokenledger.cli", "send", *files, "--quiet", "--tenants", "8", "--repeat", "20",
               "--duplicates", "5%", "--late", "2%", "--disorder", "600", "--now", "--rate", "1000",
               "--seed", str(seed), "--journal", journal]  # fmt: skip
    return subprocess.Popen(command, env=dict(stack.layout.client_environment()), stdout=subprocess.DEVNULL)


def _kill(stack: Stack, name: str) -> None:
    pid = stack.supervision.process(name).pid
    if pid:
        sys.stdout.write(f"kill -9 {name} ({pid})\n")
        subprocess.run(["kill", "-9", str(pid)], check=False)


def _judge(stack: Stack, journals: list[str]) -> int:
    kafka = KafkaSide(stack.layout.kafka_bootstrap)
    deadline = time.monotonic() + _CAUGHT_UP_WITHIN_S
    with psycopg.connect(stack.layout.dsn("analyst"), autocommit=True) as connection:
        while (found := verify(connection, kafka)) and time.monotonic() < deadline:
            time.sleep(1)
        totals, differing = compare(connection, journals)
    kafka.close()
    problems = [*map(str, found), *differing]
    sys.stdout.write("\n".join([*problems, f"{len(totals)} totals compared, {len(problems)} problems"]) + "\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
