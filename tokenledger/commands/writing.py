"""The result of `tokenledger price` in each format. A file appears whole or not at all."""

import csv
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final, TextIO

import msgspec
from rich.console import Console

from tokenledger.commands.cost_table import Sums, by_cost, render, share, total
from tokenledger.commands.outcomes import Outcome, Run
from tokenledger.commands.report import Report
from tokenledger.commands.rows import Row

_BATCH: Final = 50_000
_MOST_PROBLEMS: Final = 20
_json: Final = msgspec.json.Encoder()


def write(report: Report, records: Run, *, output_format: str, out: str | None) -> None:
    """Write the report. The summary goes to stderr where the output itself is for programs."""
    with _output(out) as output:
        if output_format == "table":
            _write_table(report, output)
        else:
            _WRITERS[output_format](report, records, output)
    if output_format in {"jsonl", "csv", "parquet"}:
        _summarise(report, Console(stderr=True, highlight=False, soft_wrap=True))


@contextmanager
def _output(out: str | None) -> Iterator[IO[bytes]]:
    if out is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    partial = Path(f"{out}.partial")
    with partial.open("wb") as output:
        yield output
    partial.replace(out)


def _write_table(report: Report, output: IO[bytes]) -> None:
    if output is sys.stdout.buffer and sys.stdout.isatty():
        _print_table(report, Console(highlight=False))
        return
    text = io.StringIO()
    _print_table(report, Console(file=text, highlight=False, width=_PLAIN_WIDTH))
    lines = [line.rstrip() for line in text.getvalue().splitlines()]
    output.write("\n".join(line for line in lines if line).encode() + b"\n")


def _print_table(report: Report, console: Console) -> None:
    render(report.groups, report.shown_names(), console)
    _summarise(report, console)


@contextmanager
def _text(output: IO[bytes], newline: str | None = None) -> Iterator[TextIO]:
    """The same output for text. It is given back open: it may be stdout."""
    text = io.TextIOWrapper(output, encoding="utf-8", newline=newline, write_through=True)
    try:
        yield text
    finally:
        text.detach()


_PLAIN_WIDTH: Final = 180


def _summarise(report: Report, console: Console) -> None:
    """The law in one line, then everything that was not understood, by reason."""
    fate = report.fate()
    console.print(
        f"{report.found:,} records found = {fate[Outcome.CALL]:,} calls + {fate[Outcome.DUPLICATE]:,} duplicates"
        f" + {fate[Outcome.SUPERSEDED]:,} superseded + {fate[Outcome.REJECTED]:,} rejected"
    )
    if report.groups:
        whole = total(report.groups)
        console.print(
            f"{share(whole.priced, whole.calls)} of {whole.calls:,} calls have a known cost;"
            f" {whole.incomplete:,} are incomplete (no usage reported, no price, or paid by GPU time)"
        )
    if nameless := _nameless(report):
        console.print(
            f"{nameless:,} calls name no provider we know, so no price list applies to them;"
            " if they are bare replies of one provider, add --provider NAME"
        )
    for reason, count in report.reasons.most_common():
        console.print(f"  {count:,} rejected: {reason}")
    if report.problems:
        console.print(f"{len(report.problems):,} files could not be read, or not to their end")
    for problem in report.problems[:_MOST_PROBLEMS]:
        console.print(f"  not read: {problem.source_file}: {problem.reason}: {problem.detail}", markup=False)
    if len(report.problems) > _MOST_PROBLEMS:
        console.print(f"  … and {len(report.problems) - _MOST_PROBLEMS:,} more files; all are in --format json")


def _nameless(report: Report) -> int:
    if "provider" not in report.names:
        return 0
    at = report.names.index("provider")
    return sum(sums.calls for key, sums in report.groups.items() if key[at] == "unknown")


def _write_jsonl(report: Report, records: Run, output: IO[bytes]) -> None:
    for row in report.rows(records):
        output.write(row + b"\n")


def _write_json(report: Report, _records: Run, output: IO[bytes]) -> None:
    fate = report.fate()
    result = {
        "by": report.shown_names(),
        "rows": [_group(report, key, sums) for key, sums in by_cost(report.groups)],
        "totals": _sums(total(report.groups)),
        "records": {"found": report.found, **{_FATES[outcome]: count for outcome, count in fate.items()}},
        "rejected": dict(report.reasons.most_common()),
        "unreadable": report.problems,
        "book_version": report.book.version,
    }
    output.write(msgspec.json.format(_json.encode(result), indent=2) + b"\n")


_FATES: Final = {
    Outcome.CALL: "calls",
    Outcome.DUPLICATE: "duplicates",
    Outcome.SUPERSEDED: "superseded",
    Outcome.REJECTED: "rejected",
}


def _group(report: Report, key: tuple[str, ...], sums: Sums) -> dict[str, Any]:
    return dict(zip(report.shown_names(), key, strict=True)) | _sums(sums)


def _sums(sums: Sums) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.structs.asdict(sums)
    return plain | {"known_cost_usd_pico": str(sums.known_cost_usd_pico)}


def _table_rows(report: Report, records: Run) -> Iterator[dict[str, Any]]:
    """Rows of plain values: calls, or groups of calls."""
    if not report.per_call:
        yield from (_group(report, key, sums) for key, sums in by_cost(report.groups))
        return
    for row in report.rows(records):
        yield _flat(msgspec.json.decode(row))


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """All columns in order; nested values of a call that is rejected are empty."""
    rejected = row.get("rejected") or {}
    flat = {name: row.get(name) for name in _COLUMNS}
    return flat | {f"rejected_{name}": rejected.get(name) for name in ("reason", "field", "detail")}


def _write_csv(report: Report, records: Run, output: IO[bytes]) -> None:
    rows = _table_rows(report, records)
    first = next(rows, None)
    if first is None:
        return
    with _text(output, newline="") as text:
        writer = csv.DictWriter(text, list(first), lineterminator="\n")
        writer.writeheader()
        writer.writerow(_cells(first))
        writer.writerows(map(_cells, rows))


def _cells(row: dict[str, Any]) -> dict[str, Any]:
    return {name: _json.encode(v).decode() if isinstance(v, dict | list | bool) else v for name, v in row.items()}


def _write_parquet(report: Report, records: Run, output: IO[bytes]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from tokenledger.commands.schemas import call_schema, group_schema

    rows = _table_rows(report, records)
    schema = call_schema() if report.per_call else group_schema(report.shown_names())
    with pq.ParquetWriter(output, schema) as writer:
        while batch := list(islice(rows, _BATCH)):
            writer.write_table(pa.Table.from_pylist([_typed(row) for row in batch], schema=schema))


def _typed(row: dict[str, Any]) -> dict[str, Any]:
    """Money as the integer it is."""
    typed: dict[str, Any] = {
        name: int(v) if v is not None and name.endswith("_usd_pico") else v for name, v in row.items()
    }
    if isinstance(typed.get("usage"), dict):
        typed["usage"] = list(typed["usage"].items())
    for line in typed.get("lines") or ():
        line |= {name: int(line[name]) for name in _LINE_MONEY}
    return typed


_LINE_MONEY: Final = ("list_pico", "contracted_pico", "amount_usd_pico", "list_amount_usd_pico")
_COLUMNS: Final = ("outcome", *Row.__struct_fields__)
_WRITERS: Final = {"json": _write_json, "jsonl": _write_jsonl, "csv": _write_csv, "parquet": _write_parquet}
