"""The price book a command was asked for: the packaged catalogue, own prices from a file, a state of knowledge."""

import argparse
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from tokenledger.pricing import PriceBook, build_book, packaged_book, read_overlay


def add_book_arguments(parser: argparse.ArgumentParser) -> None:
    """`--prices` and `--known-at`."""
    parser.add_argument("--prices", metavar="FILE", help="own prices and contracts, YAML or JSON (docs/add_a_price.md)")
    parser.add_argument(
        "--known-at", metavar="TIME", help="price with what was known then: 2026-01-31 or 2026-01-31T16:00:00Z"
    )


def book_for(options: argparse.Namespace) -> PriceBook:
    """The book. Raises ValueError or OSError that says what is wrong with the file or the time."""
    book = packaged_book() if not options.prices else build_book(overlay=read_overlay(parsed(options.prices)))
    return book.as_of(instant_us(options.known_at, "--known-at")) if options.known_at else book


def parsed(path: str) -> Any:
    """What a JSON or YAML file holds. Raises ValueError or OSError."""
    content = Path(path).read_bytes()
    try:
        return msgspec.json.Decoder(float_hook=Decimal).decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    import yaml

    try:
        return yaml.safe_load(content)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        message = f"--prices {path}: neither JSON nor YAML ({error})"
        raise ValueError(message) from None


def instant_us(text: str, option: str) -> int:
    """A date (its midnight UTC) or a time with its offset, as µs UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is not None and moment.tzinfo is None and len(text) == len("2026-01-31"):
        moment = moment.replace(tzinfo=UTC)
    if moment is None or moment.tzinfo is None:
        message = f"{option} {text!r}: no instant; expected 2026-01-31 or 2026-01-31T16:00:00Z"
        raise ValueError(message)
    elapsed = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (elapsed.days * 86_400 + elapsed.seconds) * 1_000_000 + elapsed.microseconds
