"""The lake: rows a second and bytes a call beside pyarrow writing the same table, reading back, and redaction.

Run: `uv run python -m benchmarks.lake [CALLS]`; 0 calls: redaction alone, with the recognisers that
`TOKENLEDGER_LAKE_RECOGNISERS` names. CPU seconds, not wall time; every ratio is measured in this run.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.workload import messages
from ledger.lake import files, reading
from ledger.lake.erasures import Erased
from ledger.lake.held import Held
from ledger.lake.layout import CALLS, file_name
from ledger.lake.redaction import Redactor
from ledger.lake.redaction.naming import recogniser
from ledger.lake.schema import PlacedCall
from ledger.lake.settings import LakeSettings
from ledger.lake.taking import take_call
from ledger.lake.users import Users
from tokenledger.process import default_context, process
from tokenledger.records import PricedCall, RawEvent
from tokenledger.records.wire import encode_priced
from tokenledger.texts import Conversation

_END_US = 1_790_000_000_000_000
_RANGE = 50_000
_CLEAN = (
    "The quarterly report says that demand for the new line rose in every region, although the margin fell a little. "
    "Please summarise the three main reasons in plain words, and say which of them will last into next year. "
)
_DENSE = (
    "Write to anna.kowalska@przyklad.pl or call +49 30 901820, card 4111 1111 1111 1111, IBAN DE89 3704 0044 0532 0130 "
    "00, SSN 219-09-9998, host 203.0.113.77, key sk-proj-Ab3dEf6hIj9kLm2nOp5qRs8t. "
)


def _cpu(work: Callable[[], Any]) -> tuple[float, Any]:
    begun_s = time.process_time()
    result = work()
    return time.process_time() - begun_s, result


def _priced(count: int) -> list[bytes]:
    """The one workload, priced as the stream does it, as it stands on the topic."""
    found = []
    for offset, message in enumerate(messages(count, end_us=_END_US)):
        raw = RawEvent(value=message.value, headers=message.headers, topic="llm.raw.v1", partition=offset % 4,
                       offset=offset // 4, append_at_us=_END_US + offset)  # fmt: skip
        result = process(raw, default_context())
        assert isinstance(result, PricedCall)
        found.append(encode_priced(result))
    return found


def _archive(values: list[bytes], lake: Path) -> int:
    """As the archive does it, without Kafka: decode, lay out as columns, part by tenant and day, write, rename."""
    users, held, written_bytes = Users(b"k" * 32), Held("llm.priced.v1", 0, next_offset=0), 0
    for first in range(0, len(values), 2_000):
        part = values[first : first + 2_000]
        rows = [take_call(value, users, partition=0, offset=first + n) for n, value in enumerate(part)]
        held.add(CALLS, [row for row in rows if isinstance(row, PlacedCall)])
        held.read_to(first + len(part), len(part))
        if held.records >= _RANGE or held.end == len(values):
            staged = [
                files.stage(lake, where.path / file_name(held.span), table=table)
                for where, table in held.parts(Erased([]))
            ]
            files.publish(lake, [one.path for one in staged])
            written_bytes += sum(one.size_bytes for one in staged)
            held.clear()
    return written_bytes


def _lake(count: int) -> None:
    values = _priced(count)
    with tempfile.TemporaryDirectory() as folder:
        lake = Path(folder)
        archived_s, size_bytes = _cpu(lambda: _archive(values, lake / "lake"))
        # The same table, whole, in pyarrow's hands already.
        tables = [pq.ParquetFile(path).read() for path in sorted((lake / "lake").rglob("*.parquet"))]
        whole = pa.concat_tables(tables)
        plain_s, _ = _cpu(lambda: pq.write_table(whole, lake / "plain.parquet", compression="zstd"))
        plain_bytes = (lake / "plain.parquet").stat().st_size
        topic_bytes = sum(map(len, values))
        read_s, rows = _cpu(lambda: sum(map(len, reading.calls(lake / "lake", columns=["known_cost_usd_pico"]))))
        every_s, _ = _cpu(lambda: sum(map(len, reading.calls(lake / "lake"))))
    print(f"{count:,} priced records, {len(tables)} files of {len(reading_tenants(whole))} tenants\n")
    print("| what | records/s of CPU | bytes a call |\n|---|---|---|")
    print(f"| archive: decode, columns, parted by tenant and day, fsync | {count / archived_s:,.0f} | "
          f"{size_bytes / count:.0f} |")  # fmt: skip
    print(f"| pyarrow writing the same table, one file | {count / plain_s:,.0f} | {plain_bytes / count:.0f} |")
    print(f"| the topic's JSON | | {topic_bytes / count:.0f} |")
    print(f"| reading calls that count, one column ({rows:,}) | {count / read_s:,.0f} | |")
    print(f"| the same, every column | {count / every_s:,.0f} | |")
    print(f"\narchive / pyarrow, CPU: {archived_s / plain_s:.1f}")


def reading_tenants(table: pa.Table) -> list[str]:
    """The tenants of a table."""
    found: list[str] = table.column("tenant_id").unique().to_pylist()
    return found


def _redaction() -> None:
    redactor = Redactor()
    redactor.findings(_DENSE)  # Presidio's import is not counted
    print("\n| text | CPU ms a call | CPU µs a KB |\n|---|---|---|")
    for name, text in (("clean", _CLEAN), ("dense with personal data", _DENSE)):
        for size_bytes in (200, 2_048, 65_536, 5_000_000):
            said = (text * (size_bytes // len(text) + 1))[:size_bytes]
            conversation = Conversation(messages=[{"role": "user", "content": said}])
            rounds = max(200_000 // size_bytes, 1)

            def work(conversation: Conversation = conversation, rounds: int = rounds) -> None:
                for _ in range(rounds):
                    redactor.redact(conversation)

            spent_s, _ = _cpu(work)
            each_s = spent_s / rounds
            print(
                f"| {name}, {size_bytes:,} characters | {each_s * 1e3:.2f} | {each_s * 1e6 / size_bytes * 1024:.0f} |"
            )


def _found() -> None:
    """Recall and precision on the labelled set of the tests."""
    from tests.ledger.lake.labelled import labelled, scores

    texts = labelled()
    settings = LakeSettings.from_environment(os.environ)
    redactor = Redactor([recogniser(name) for name in settings.recognisers])
    beside = f", patterns and {', '.join(settings.recognisers)}" if settings.recognisers else ""
    print(f"\n{len(texts)} labelled texts{beside}\n\n| entity | marked | recall | precision |\n|---|---|---|---|")
    for entity, score in scores(redactor, texts).items():
        precision = f"{score.precision:.2f}" if score.found else "none found"
        print(f"| {entity} | {score.marked} | {score.recall:.2f} | {precision} |")


def main() -> None:
    """Print the tables."""
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    if calls:
        _lake(calls)
        _redaction()
    _found()


if __name__ == "__main__":
    main()
