"""`make demo`: real recorded provider traffic through Kafka, Flink and the ledger, and its cost table, in one command.

Run again it changes nothing: the same events have the same ids, so the ledger knows every one of them.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import psycopg

from infra.local.layout import Layout
from infra.local.place import layout_of
from infra.local.stack import NotReady, Stack
from ledger.reconcile import compare
from tokenledger.readers import Options, read
from tokenledger.records.topics import RAW

_TENANTS, _REPEAT, _SEED, _RATE = 5, 10, 7, 2000
_CAUGHT_UP_WITHIN_S = 120
_SEEN = "SELECT partition, max(upper(seen)) FROM origin_ranges WHERE topic = %s GROUP BY 1"

_WAITS = """
    SELECT percentile_disc(ARRAY[0.5, 0.99]) WITHIN GROUP (ORDER BY posted_at_us - received_at_us)
    FROM calls JOIN postings USING (posting_id)
"""


def main() -> int:
    """Exit status: 0 when the ledger, the journal and `verify` agree; 1 when they do not."""
    started_at = time.monotonic()
    layout = layout_of(os.environ.get("TOKENLEDGER_STACK_ROOT"))
    demo = Demo(layout)
    try:
        agreed = demo.run()
    except (NotReady, subprocess.CalledProcessError, TimeoutError) as failure:
        print(f"demo: {failure}", file=sys.stderr)
        return 1
    print(f"\nDone in {time.monotonic() - started_at:.0f} s.")
    return 0 if agreed else 1


class Demo:
    """One run of the demo against one stack."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._folder = layout.root / "demo"
        self._journal = self._folder / "journal.jsonl"
        self._records = 0
        self._environment = os.environ | layout.client_environment()

    def run(self) -> bool:
        """Every step with its heading; whether all totals agree to the pico-dollar."""
        self._folder.mkdir(parents=True, exist_ok=True)
        _heading("1 of 5", "The stack: Kafka, Flink, Postgres, ledger")
        Stack(self._layout, lambda line: print(f"  {line}", flush=True)).up()
        _heading("2 of 5", "Recorded replies of real providers, from the package registry")
        self._command("samples")
        _heading("3 of 5", "Sending them: several tenants and features, some duplicates and disorder")
        fresh, sent_from = not self._journal.exists(), time.monotonic()
        self._send()
        self._wait_until_caught_up()
        elapsed_s = time.monotonic() - sent_from
        _heading("4 of 5", "What it cost, from the ledger")
        self._command("costs", "--by", "provider")
        agreed = self._agrees()
        _heading("5 of 5", "The law: every record has one outcome, every sum agrees")
        agreed &= self._command("verify", check=False) == 0
        if fresh:
            self._say_figures(elapsed_s)
        _say_what_next(_shown(self._journal))
        return agreed

    def _command(self, *arguments: str, check: bool = True) -> int:
        command = [str(self._layout.python), "-m", "tokenledger.cli", *arguments]
        return subprocess.run(command, env=self._environment, cwd=self._layout.repo, check=check).returncode

    def _send(self) -> None:
        """The first run fixes the times of the events, so that a second run sends the same events."""
        stamp = self._folder / "events_end_at_us"
        if not stamp.exists():
            stamp.write_text(str(time.time_ns() // 1000))
        self._command(
            "send", str(self._layout.repo / ".local" / "samples"),
            "--tenants", str(_TENANTS), "--repeat", str(_REPEAT), "--seed", str(_SEED), "--duplicates", "5%",
            "--rate", str(_RATE),
            "--now", stamp.read_text(), "--spread", "21600", "--disorder", "60", "--late", "2%",
            "--journal", str(self._journal),
        )  # fmt: skip

    def _wait_until_caught_up(self) -> None:
        """Until the ledger has seen every acknowledged offset."""
        ends: dict[int, int] = {}
        for found in read([str(self._journal)], Options(), on_problem=lambda problem: print(problem, file=sys.stderr)):
            ends[found.raw.partition] = max(ends.get(found.raw.partition, 0), found.raw.offset + 1)
            self._records += 1
        deadline = time.monotonic() + _CAUGHT_UP_WITHIN_S
        with psycopg.connect(self._layout.dsn("analyst"), autocommit=True) as connection:
            while True:
                seen: dict[int, int] = dict(connection.execute(_SEEN, [RAW.name]).fetchall())
                if all(seen.get(partition, 0) >= end for partition, end in ends.items()):
                    return
                if time.monotonic() > deadline:
                    raise TimeoutError(
                        f"the ledger saw {seen} of {ends} after {_CAUGHT_UP_WITHIN_S} s; see `make logs`"
                    )
                time.sleep(0.1)

    def _say_figures(self, elapsed_s: float) -> None:
        with psycopg.connect(self._layout.dsn("analyst")) as connection:
            row = connection.execute(_WAITS).fetchone()
        p50_us, p99_us = row[0] if row else (0, 0)
        print(
            f"\n  {self._records:,} records from disk to the ledger in {elapsed_s:.1f} s,"
            f" {self._records / elapsed_s:,.0f} a second, reading and sending included.\n"
            f"  From the log to the ledger's transaction: p50 {p50_us / 1e6:.2f} s, p99 {p99_us / 1e6:.2f} s."
        )

    def _agrees(self) -> bool:
        """The journal priced without any server, against the ledger: per tenant, model and meter."""
        with psycopg.connect(self._layout.dsn("analyst")) as connection:
            expected, differing = compare(connection, [str(self._journal)])
        total = sum(share.amount_usd_pico for share in expected.values())
        if differing:
            print("\n".join(f"  DIFFERS {difference}" for difference in differing))
            return False
        print(
            f"\n  The same journal priced with no server: {total / 10**12:.12f} USD in {len(expected)} totals per"
            " tenant, model and meter.\n  The ledger has the same, to the pico-dollar."
        )
        return True


def _shown(path: Path) -> str:
    """The path as one would type it here."""
    return os.path.relpath(path)


def _heading(step: str, text: str) -> None:
    print(f"\n[{step}] {text}", flush=True)


def _say_what_next(journal: str) -> None:
    print(
        "\nThree things to try next:\n"
        f"  uv run tokenledger price {journal}      the same table with no server at all\n"
        "  uv run tokenledger costs --by tenant,feature      who spent it, and on what\n"
        "  make down && make up && uv run tokenledger verify      stop it, start it: nothing is lost"
    )


if __name__ == "__main__":
    sys.exit(main())
