"""The cost table from the ledger: the columns of `tokenledger price`, of every call the stream has stored.

  tokenledger costs --by tenant,feature --since 2026-11-01 --until 2026-12-01
  tokenledger costs --as-of 2026-11-01T08:00:00Z             as the books stood then
  tokenledger costs --changed-since 2026-11-01T08:00:00Z     what was posted after it, and why

exit status: 0 done; 2 the ledger could not be read.
"""

import argparse
import csv
import sys
from collections.abc import Sequence

import msgspec
import psycopg
from rich import box
from rich.console import Console
from rich.table import Table

from ledger.as_of import Change, Standing, changes, standing
from ledger.bills.report import dollars
from ledger.costs import ALWAYS, Period, Row, table
from ledger.database import Connection, connect
from ledger.settings import Settings
from tokenledger.commands.books import instant_us
from tokenledger.commands.cost_table import DEFAULT_BY, UNKNOWN, Sums, parse_by, render
from tokenledger.commands.stack import environment

_PLAIN_WIDTH = 200
_FAILED = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `tokenledger costs` takes."""
    parser.add_argument(
        "--by", metavar="A,B,…", help="group by tenant, feature, model, day, … (default: provider,model)"
    )
    parser.add_argument("--since", metavar="TIME", help="charged from then on: 2026-01-31 or 2026-01-31T16:00:00Z")
    parser.add_argument("--until", metavar="TIME", help="and before then")
    parser.add_argument("--as-of", metavar="TIME", help="as the books stood then: 2026-01-31 or 2026-01-31T16:00:00Z")
    parser.add_argument("--changed-since", metavar="TIME", help="what was posted after then (up to --as-of), by cause")
    parser.add_argument("--format", choices=("table", "json", "csv"), default="table", help="default: table")


def run(options: argparse.Namespace) -> int:
    """Print the table."""
    names = parse_by(options.by) if options.by else DEFAULT_BY
    period = _period(options)
    try:
        with connect(
            Settings.from_environment(environment(), user="analyst"), application="tokenledger-costs"
        ) as connection:
            if options.as_of or options.changed_since:
                return _posted(connection, names, options=options)
            rows = table(connection, by=names, period=period)
    except psycopg.OperationalError as error:
        print(
            f"tokenledger costs: cannot reach the ledger: {str(error).strip()}; is the stack up? `make up`",
            file=sys.stderr,
        )
        return _FAILED
    _WRITERS[options.format](rows, names)
    return 0


def _period(options: argparse.Namespace) -> Period:
    since_us = instant_us(options.since, "--since") if options.since else ALWAYS.since_us
    until_us = instant_us(options.until, "--until") if options.until else ALWAYS.until_us
    if since_us >= until_us:
        message = f"--since {options.since} is not before --until {options.until}; an earlier time would be right"
        raise ValueError(message)
    if (options.since or options.until) and (options.as_of or options.changed_since):
        message = (
            "--since and --until are about when calls are charged, --as-of and --changed-since about when they were "
            "posted, and cannot be asked together; `--by day` or `--by month` with the latter tells both"
        )
        raise ValueError(message)
    return Period(since_us, until_us)


def _posted(connection: Connection, names: tuple[str, ...], *, options: argparse.Namespace) -> int:
    """The books at an instant, or what was posted between two."""
    until_us = instant_us(options.as_of, "--as-of") if options.as_of else ALWAYS.until_us
    rows: Sequence[Standing]
    if options.changed_since:
        since_us = instant_us(options.changed_since, "--changed-since")
        rows = changes(connection, by=names, since_us=since_us, until_us=until_us)
    else:
        rows = standing(connection, by=names, until_us=until_us)
    flat = [
        dict(zip(names, row.group, strict=True))
        | ({"cause": row.cause} if isinstance(row, Change) else {})
        | {"calls": row.calls, "incomplete": row.incomplete_calls, "known_cost_usd_pico": str(row.known_cost_usd_pico)}
        for row in rows
    ]
    if options.format == "json":
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(flat)) + b"\n")
    elif options.format == "csv":
        _write_csv(flat, names)
    else:
        _posted_table(rows, names)
    return 0


def _posted_table(rows: Sequence[Standing], names: tuple[str, ...]) -> None:
    table = Table(*names, box=box.SIMPLE_HEAD)
    if any(isinstance(row, Change) for row in rows):
        table.add_column("cause")
    for heading in ("calls", "USD", "incomplete"):
        table.add_column(heading, justify="right")
    for row in rows:
        cause = (row.cause,) if isinstance(row, Change) else ()
        group = (value or UNKNOWN for value in row.group)
        table.add_row(*group, *cause, f"{row.calls:,}", dollars(row.known_cost_usd_pico), f"{row.incomplete_calls:,}")
    total_usd_pico = sum(row.known_cost_usd_pico for row in rows)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _PLAIN_WIDTH)
    console.print(table)
    console.print(f"{sum(row.calls for row in rows):,} calls, {dollars(total_usd_pico)} USD")


def _table(rows: list[Row], names: tuple[str, ...]) -> None:
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _PLAIN_WIDTH)
    groups = {tuple(value or UNKNOWN for value in row.group): _sums(row) for row in rows}
    render(groups, names, console)


def _sums(row: Row) -> Sums:
    return Sums(
        calls=row.calls,
        priced=row.calls - row.incomplete_calls,
        input_tokens=row.input_tokens,
        output_tokens=row.output_tokens,
        cache_read_tokens=row.cache_read_tokens,
        known_cost_usd_pico=row.known_cost_usd_pico,
        incomplete=row.incomplete_calls,
        rejected=row.rejected,
        anomalies=row.anomalies,
    )


def _flat(rows: list[Row], names: tuple[str, ...]) -> list[dict[str, object]]:
    """Money as text: a JSON reader with doubles would damage it."""
    return [
        dict(zip(names, row.group, strict=True))
        | {
            "calls": row.calls,
            "input_tokens": row.input_tokens,
            "output_tokens": row.output_tokens,
            "cache_read_tokens": row.cache_read_tokens,
            "cost_usd_pico": None if row.cost_usd_pico is None else str(row.cost_usd_pico),
            "known_cost_usd_pico": str(row.known_cost_usd_pico),
            "incomplete": row.incomplete_calls,
            "rejected": row.rejected,
            "anomalies": row.anomalies,
        }
        for row in rows
    ]


def _json(rows: list[Row], names: tuple[str, ...]) -> None:
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(_flat(rows, names))) + b"\n")


def _csv(rows: list[Row], names: tuple[str, ...]) -> None:
    _write_csv(_flat(rows, names), names)


def _write_csv(flat: list[dict[str, object]], names: tuple[str, ...]) -> None:
    writer = csv.DictWriter(sys.stdout, fieldnames=list(flat[0]) if flat else list(names))
    writer.writeheader()
    writer.writerows(flat)


_WRITERS = {"table": _table, "json": _json, "csv": _csv}
