"""A little traffic for one fault tried alone: every dialect that has a golden case, at a steady rate, and its proof."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from ledger.kafka import KafkaSide
from ledger.reconcile import compare
from ledger.verify import verify
from tests.faults.fault import HEALED_WITHIN_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.fault import Site

_GOLDEN = Path(__file__).parents[1] / "golden" / "calls"
_LONGEST_S = 900
_ENDS_WITHIN_S = 60.0


def shapes(folder: Path) -> tuple[Path, int]:
    """Call envelopes of every dialect, those that must be rejected included; the file and how many."""
    lines = []
    for path in sorted(_GOLDEN.rglob("*.json")):
        case = json.loads(path.read_text(encoding="utf-8"))
        if "headers" not in case and "envelope" in case:
            event = {"specversion": "1.0", "id": path.stem, "source": "golden", "type": "llm.call.v1"}
            lines.append(json.dumps(event | {"data": case["envelope"]}))
    # Beside the journals, and none of them.
    file = folder / "shapes" / "calls.jsonl"
    file.parent.mkdir(exist_ok=True)
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file, len(lines)


@contextmanager
def sending(site: Site, folder: Path, *, rate: int, seed: int) -> Iterator[Path]:
    """`tokenledger send` runs beside the block, with duplicates, late and disordered records; its journal."""
    file, count = shapes(folder)
    journal = folder / f"{seed}-{time.time_ns()}.jsonl"
    command = [
        sys.executable, "-m", "tokenledger.cli", "send", str(file), "--quiet", "--tenants", "4",
        "--repeat", str(rate * _LONGEST_S // count), "--duplicates", "5%", "--late", "2%", "--disorder", "600",
        "--now", "--rate", str(rate), "--seed", str(seed), "--journal", str(journal), "--bootstrap", site.bootstrap,
    ]  # fmt: skip
    environment = os.environ | site.layout.client_environment()
    with (folder / "sender.log").open("ab") as said:
        sender = subprocess.Popen(command, env=environment, stdout=said, stderr=said)
        try:
            yield journal
        finally:
            sender.send_signal(2)
            sender.wait(_ENDS_WITHIN_S)


def is_right(site: Site, journals: list[Path]) -> str:
    """Says what was compared. AssertionError with every difference where the ledger is not what was acknowledged."""
    kafka = KafkaSide(site.layout.kafka_bootstrap)
    deadline = time.monotonic() + HEALED_WITHIN_S
    with psycopg.connect(site.layout.dsn("analyst"), autocommit=True) as connection:
        while found := verify(connection, kafka):
            assert time.monotonic() < deadline, "\n".join(map(str, found))
            time.sleep(0.5)
        totals, differing = compare(connection, map(str, journals))
        assert not differing, "\n".join(differing)
        row = connection.execute("SELECT count(*), sum(known_cost_usd_pico) FROM calls").fetchone()
    kafka.close()
    calls, cost = row or (0, 0)
    return f"verify is green: {calls} calls, {cost} pico-dollars; {len(totals)} totals as the journals have them"
