"""The cost table from the ledger: the columns of `tokenledger price`, of every call the stream has stored.

exit status: 0 done; 2 the ledger could not be read.
"""

import argparse
import csv
import sys

import msgspec
import psycopg
from rich.console import Console

from ledger.costs import Row, table
from ledger.database import connect
from ledger.settings import Settings
from tokenledger.commands.cost_table import DEFAULT_BY, UNKNOWN, Sums, parse_by, render
from tokenledger.commands.stack import environment

_PLAIN_WIDTH = 200
_FAILED = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `tokenledger costs` takes."""
    parser.add_argument(
        "--by", metavar="A,B,…", help="group by tenant, feature, model, day, … (default: provider,model)"
    )
    parser.add_argument("--format", choices=("table", "json", "csv"), default="table", help="default: table")


def run(options: argparse.Namespace) -> int:
    """Print the table."""
    names = parse_by(options.by) if options.by else DEFAULT_BY
    try:
        with connect(
            Settings.from_environment(environment(), user="analyst"), application="tokenledger-costs"
        ) as connection:
            rows = table(connection, by=names)
    except psycopg.OperationalError as error:
        print(
            f"tokenledger costs: cannot reach the ledger: {str(error).strip()}; is the stack up? `make up`",
            file=sys.stderr,
        )
        return _FAILED
    _WRITERS[options.format](rows, names)
    return 0


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
    flat = _flat(rows, names)
    writer = csv.DictWriter(sys.stdout, fieldnames=list(flat[0]) if flat else list(names))
    writer.writeheader()
    writer.writerows(flat)


_WRITERS = {"table": _table, "json": _json, "csv": _csv}
