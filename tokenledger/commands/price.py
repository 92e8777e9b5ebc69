"""Price log files: what each call cost, exactly, with no server.

FILES are files, folders (searched recursively), patterns or `-` for stdin; gzip is unpacked. The format is known by
the content: JSON, JSONL, raw SSE or NDJSON, VCR cassettes, HAR, OTLP exports, batch results, LiteLLM logs, call
envelopes, journals of `tokenledger send`; a folder may mix them.

formats:
  table      by provider and model, or --by; for people
  json       the same sums, the records' fate and all problems, for programs
  jsonl      one line a call in input order: the contract, see docs/price_my_logs.md
  csv        one row a call; with --by, the table
  parquet    one row a call; with --by, the table; needs --out

exit status:
  0  every record was understood (a record that is no model call is no fault)
  1  done, but some records were rejected or some files could not be read
  2  nothing was done: wrong options, no such file, unusable --prices
"""

import argparse
import gc
from contextlib import closing
from typing import Final

from tokenledger.commands.books import add_book_arguments, book_for
from tokenledger.commands.cost_table import parse_by
from tokenledger.commands.outcomes import SPILL_ABOVE_BYTES, Run
from tokenledger.commands.progress import bytes_bar
from tokenledger.commands.reading import add_reading_arguments, reading_options
from tokenledger.commands.report import Keeper, Report, RowKeeper, SumKeeper
from tokenledger.commands.writing import write
from tokenledger.process import Context, process
from tokenledger.readers import expand, read
from tokenledger.records.priced import PricedCall

_FORMATS: Final = ("table", "json", "jsonl", "csv", "parquet")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    add_reading_arguments(parser)
    parser.add_argument("--format", choices=_FORMATS, default="table", help="default: table")
    parser.add_argument("--by", metavar="A,B,…", help="group by tenant, feature, model, day, tag:NAME, …")
    parser.add_argument("--out", metavar="FILE", help="write there instead of to stdout")
    add_book_arguments(parser)
    parser.add_argument("--no-merge", action="store_true", help="show every record, with its outcome")
    parser.add_argument("--memory", type=int, default=SPILL_ABOVE_BYTES >> 20, metavar="MIB",
                        help="records held in memory before they spill to disk (default: 64)")  # fmt: skip


def run(options: argparse.Namespace) -> int:
    """Price the files and write the result."""
    _check(options)
    per_call = options.format == "jsonl" or (options.format in {"csv", "parquet"} and not options.by)
    report = Report(names=parse_by(options.by), per_call=per_call, no_merge=options.no_merge, book=book_for(options))
    paths = expand(options.files, report.problems.append)
    if not paths:
        raise ValueError("; ".join(f"{problem.source_file}: {problem.detail}" for problem in report.problems))
    _collect_rarely()
    with closing(Run(options.memory << 20)) as records:
        _read_all(paths, options, report=report, records=records)
        report.settle(records)
        write(report, records, output_format=options.format, out=options.out)
    return report.exit_status()


def _collect_rarely() -> None:
    """The price book is a hundred thousand objects that never die, and a record makes no cycles: a third less CPU."""
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER)


_COLLECT_AFTER: Final = 50_000


def _check(options: argparse.Namespace) -> None:
    if options.by and options.format == "jsonl":
        message = "--by with --format jsonl: jsonl is one line a call; json, csv and parquet can hold sums"
        raise ValueError(message)
    if options.format == "parquet" and not options.out:
        message = "--format parquet is not text; name a file with --out"
        raise ValueError(message)


def _read_all(paths: list[str], options: argparse.Namespace, *, report: Report, records: Run) -> None:
    context = Context(report.book)
    reading = reading_options(options)
    keep: Keeper = RowKeeper() if report.per_call else SumKeeper(report.names, report.groups)
    with bytes_bar("pricing", paths, quiet=options.quiet) as on_bytes:
        for found in read(paths, reading, on_problem=report.problems.append, on_bytes=on_bytes):
            report.found += 1
            result = process(found.raw, context)
            if isinstance(result, PricedCall):
                records.add_call(result, keep.call(result, found))
            else:
                report.reasons[result.reason.value] += 1
                records.add_rejected(keep.rejected(result, found))
