"""A fine-tuning dataset of captured calls, and a drift report over priced ones: time, and memory that must stay flat.

Each step is a process of its own, so that its peak memory is its own. A tenth of the rows is measured beside all of
them: what is flat does not grow tenfold. Of the rows a fifth repeat another, half of these with one word changed.

  python -m benchmarks.datasets [CALLS]
"""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import groupby, islice
from pathlib import Path

from ledger.lake import files, schema
from ledger.lake.layout import CALLS, Place, Span, file_name, place
from ledger.lake.reading import write_texts
from tokenledger.records import Call, Latency, PricedCall
from tokenledger.records.texts import CapturedText

SLAB = 20_000
TENANTS = 10
FEATURES = ("chat", "mail", "search", "extract", "code")
WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in ("n", "r", "st", "lo", "mi", "te", "ka")]
RECIPE = """
name = "bench"
[consent]
tenants = [{tenants}]
[preferences]
[balance]
most_times_smallest = 3
"""
START_US = 1_764_000_000_000_000


def captured(calls: int) -> Iterator[CapturedText]:
    """About 900 bytes of words each; every tenth operation is escalated."""
    rnd = random.Random(7)
    earlier: list[tuple[str, str]] = []
    for number in range(calls):
        said, answered = (" ".join(rnd.choices(WORDS, k=rnd.randint(30, 90))) for _ in range(2))
        if earlier and rnd.random() < 0.2:
            said, answered = rnd.choice(earlier)
            if rnd.random() < 0.5:
                said = said.replace(" ", f" {rnd.choice(WORDS)} ", 1)
        elif len(earlier) < SLAB:
            earlier.append((said, answered))
        operation, second = divmod(number, 10)
        escalated = second == 9
        yield CapturedText(
            tenant_id=f"tenant-{operation % TENANTS}",
            event_key=f"bench#{number}",
            started_at_us=START_US + number * 250_000,
            operation_id=f"op-{number - escalated}",
            attempt_no=2 if escalated else 1,
            attempt_role="escalation" if escalated else "primary",
            conversation_id=f"conversation-{number // 4}",
            user_hash=f"user-{number % 50_000}",
            feature=FEATURES[operation % len(FEATURES)],
            provider="bench",
            model="large" if escalated else "small",
            route_tier="large" if escalated else "small",
            finish_reason="stop",
            messages=json.dumps([{"role": "user", "content": said}]),
            answer=json.dumps({"role": "assistant", "content": answered}),
        )


def priced(calls: int) -> Iterator[schema.PlacedCall]:
    """Numbers that drift looks at; the second half is longer."""
    rnd = random.Random(8)
    for number in range(calls):
        at_us = START_US + number * 250_000
        call = Call(
            tenant_id=f"tenant-{number % TENANTS}",
            event_id=str(number),
            event_key=f"bench#{number}",
            provider="bench",
            usage={},
            started_at_us=at_us,
            event_time_source="started_at",
            feature=rnd.choice(FEATURES),
            response_model=rnd.choice(("small", "large")),
            route_tier=rnd.choice(("small", "large")),
            input_tokens=int(rnd.lognormvariate(5 + 0.5 * (2 * number > calls), 1)),
            output_tokens=int(rnd.lognormvariate(4, 1)),
            finish_reason="stop",
        )
        latency = Latency(total_us=int(rnd.lognormvariate(13, 0.5)), ttft_us=int(rnd.lognormvariate(11, 0.5)))
        yield schema.PlacedCall(PricedCall(call=call, price_status="priced", latency=latency), None, at_us, 0, number)


def lay_texts(lake: Path, calls: int) -> None:
    """The texts into the lake, a slab at a time."""
    source = captured(calls)
    for first in range(0, calls, SLAB):
        write_texts(lake, list(islice(source, SLAB)), first_offset=first)


def lay_calls(lake: Path, calls: int) -> None:
    """The priced calls into the lake, a slab at a time."""
    source = priced(calls)
    for first in range(0, calls, SLAB):
        rows = sorted(islice(source, SLAB), key=_place_of)
        staged = []
        for where, group in groupby(rows, key=_place_of):
            path = where.path / file_name(Span("llm.priced.v1", 0, first, first + SLAB))
            files.stage(lake, path, table=schema.calls_table(list(group)))
            staged.append(path)
        files.publish(lake, staged)


def _place_of(row: schema.PlacedCall) -> Place:
    return place(CALLS, row.priced.call.tenant_id, charged_at_us=row.charged_at_us)


def measured(*words: object) -> tuple[float, float, float, str]:
    """(wall s, CPU s, peak MiB, output) of a command of ours."""
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "tokenledger.cli", *map(str, words)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, output
    return time.perf_counter() - begun, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, output


def dataset(folder: Path, calls: int) -> float:
    """Build one; its peak memory."""
    lake, recipe = folder / f"texts-{calls}", folder / "recipe.toml"
    lay_texts(lake, calls)
    recipe.write_text(RECIPE.format(tenants=", ".join(f'"tenant-{n}"' for n in range(TENANTS))))
    options = ("--lake", lake, "--datasets", folder / f"datasets-{calls}", "--json")
    wall_s, cpu_s, peak_mib, output = measured("datasets", "build", recipe, *options)
    rows = json.loads(output.splitlines()[-1])["rows"]
    each_us = 1e6 * cpu_s / calls
    figures = f"{wall_s:.0f} s, CPU {each_us:.0f} µs a call, peak {peak_mib:.0f} MiB"
    print(f"build {calls:>9,} calls -> {rows:,} rows: {figures}")
    again_s, _, _, _ = measured("datasets", "build", recipe, *options)
    print(f"again {calls:>9,} calls: {again_s:.0f} s, the version is there")
    shutil.rmtree(lake)
    return peak_mib


def drift(folder: Path, calls: int) -> float:
    """A reference of all calls, and a report on all; the report's peak memory."""
    lake = folder / f"calls-{calls}"
    lay_calls(lake, calls)
    options = ("--lake", lake, "--drift", folder / f"drift-{calls}", "--json")
    for words in (("drift", "reference"), ("drift", "report", "--pages", "0")):
        wall_s, cpu_s, peak_mib, _ = measured(*words, *options)
        each_s = 1e6 * cpu_s / calls
        print(f"{words[1]:9} {calls:>9,} calls: {wall_s:.1f} s, CPU {each_s:.1f} s a million, peak {peak_mib:.0f} MiB")
    shutil.rmtree(lake)
    return peak_mib


def main() -> None:
    """Measure both at a tenth and at all."""
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_FOLDER")) as name:
        folder = Path(name)
        for what in (dataset, drift):
            small, large = what(folder, calls // 10), what(folder, calls)
            print(f"peak memory at ten times the calls: {large / small:.2f}×")


if __name__ == "__main__":
    main()
