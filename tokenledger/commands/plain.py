"""What producers wrote, on a terminal: whatever stands in it, it moves no cursor and changes no colour."""

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

_PLAIN_WIDTH: Final = 200


def plain(text: object) -> str:
    """As it is where it is printable; the rest is written out, as in a Python literal."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in str(text))


def json_line(facts: Any) -> bytes:
    """One line of JSON whose texts are plain, and the same when they are read."""
    text = msgspec.json.encode(facts).decode()
    return "".join(one if one.isprintable() else _escaped(one) for one in text).encode() + b"\n"


def _escaped(character: str) -> str:
    """As JSON writes what is beyond its plain characters."""
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def print_table(heads: Sequence[str], rows: Iterable[Sequence[object]], *, right: Iterable[str] = ()) -> None:
    """A table of plain texts; None and the empty text are a dash."""
    table = Table()
    numbers = set(right)
    for head in heads:
        table.add_column(head, justify="right" if head in numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text("-" if cell is None or cell == "" else plain(cell)) for cell in row))
    Console(highlight=False, width=None if sys.stdout.isatty() else _PLAIN_WIDTH).print(table)


def instant(at_us: int | None) -> str:
    """`2026-11-21 20:40:00`, UTC; empty for none."""
    return "" if at_us is None else f"{datetime.fromtimestamp(at_us // 1_000_000, UTC):%Y-%m-%d %H:%M:%S}"
