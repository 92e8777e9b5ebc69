"""The price list: every rate, since when it applies, and under which conditions.

PATTERN is a part of `provider/model`, or has * and ?: `tokenledger models gpt-5`, `tokenledger models 'anthropic/*'`.

exit status: 0 found; 1 nothing fits; 2 unusable options.
"""

import argparse
import sys

import msgspec
from rich import box
from rich.console import Console
from rich.table import Table

from tokenledger.commands.books import add_book_arguments, book_for
from tokenledger.pricing import ListedPrice, list_prices

_EXIT_NOTHING = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "pattern", nargs="?", default="", metavar="PATTERN", help="part of provider/model, or a pattern"
    )
    parser.add_argument("--format", choices=("table", "json"), default="table", help="default: table")
    add_book_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Print the prices that fit."""
    book = book_for(options)
    prices = list_prices(book, options.pattern)
    if options.format == "json":
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(prices), indent=2) + b"\n")
    elif prices:
        _print_table(prices, book.version)
    if not prices:
        print(f"no price fits {options.pattern!r}; try a shorter part of the name", file=sys.stderr)
    return 0 if prices else _EXIT_NOTHING


def _print_table(prices: list[ListedPrice], book_version: str) -> None:
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 180)
    table = Table(box=box.SIMPLE_HEAD, header_style="bold")
    for heading in ("provider", "model", "meter"):
        table.add_column(heading, overflow="fold")
    table.add_column("USD", justify="right")
    for heading in ("per", "conditions", "from", "to", "layer"):
        table.add_column(heading)
    before = ""
    for price in prices:
        model = price.model if f"{price.provider}/{price.model}" != before else ""
        before = f"{price.provider}/{price.model}"
        conditions = ", ".join(filter(None, (price.condition, price.tier, price.hours)))
        table.add_row(
            price.provider if model else "", model, price.meter, price.rate_usd, price.per, conditions,
            price.valid_from, price.valid_to, price.layer,
        )  # fmt: skip
    console.print(table)
    console.print(f"{len(prices):,} prices, book {book_version}")
