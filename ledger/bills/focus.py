"""Cost and usage in FOCUS 1.0 to 1.4 as CSV, from any provider. Pure.

Columns: focus.finops.org. The provider stands in ServiceProviderName (1.3 and later) or ProviderName; the amount is
BilledCost. Model and kind of token stand in SkuPriceDetails: by the keys of the AI draft (ModelId, TokenDirection,
TokenCacheAction) or with `x_` before them, else model is SkuMeter or SkuId as it stands. Empty cells and the text
`NULL` are null.
"""

import csv
import io
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from ledger.bills.lines import BillError, BillLine, count, pico, usd

_NEEDED: Final = ("BilledCost", "ChargePeriodStart", "ChargeCategory")
_PROVIDERS: Final = ("ServiceProviderName", "ProviderName", "PublisherName")
_CATEGORIES: Final = {"usage", "purchase", "tax", "credit", "adjustment"}
_TOKEN_UNITS: Final = {"tokens": 1, "token": 1, "1000 tokens": 1_000, "1000000 tokens": 1_000_000}
_DIRECTIONS: Final = {"input": "input.text", "output": "output.text"}
_CACHE: Final = {"read": "input.text.cache_read", "write": "input.text.cache_write"}
_OUR_NAMES: Final = {
    "openai": "openai",
    "anthropic": "anthropic",
    "google": "gcp.vertex_ai",
    "google cloud": "gcp.vertex_ai",
    "amazon web services": "aws.bedrock",
    "aws": "aws.bedrock",
    "microsoft": "azure.ai.openai",
    "azure": "azure.ai.openai",
}


def is_table(heading: str) -> bool:
    """Whether a CSV's first line is FOCUS's."""
    names = next(csv.reader([heading]), [])
    return set(_NEEDED) <= set(names)


def lines(text: str, where: str) -> Iterator[BillLine]:
    """The table's lines; a charge of several days counts for the day it starts. Raises BillError."""
    reader = csv.DictReader(io.StringIO(text))
    for row in reader:
        cells = {name: _null(cell) for name, cell in row.items() if name is not None}
        yield _line(cells, f"{where}: line {reader.line_num}")


def _null(cell: Any) -> str:
    text = cell.strip() if isinstance(cell, str) else ""
    return "" if text.upper() == "NULL" else text


def _line(cells: dict[str, str], place: str) -> BillLine:
    usd(cells.get("BillingCurrency"), f"{place}, BillingCurrency")
    category = cells["ChargeCategory"].lower()
    if category not in _CATEGORIES:
        raise BillError(f"{place}: ChargeCategory {cells['ChargeCategory']!r}; one of {', '.join(sorted(_CATEGORIES))}")
    provider = next((cells[name] for name in _PROVIDERS if cells.get(name)), "")
    if not provider:
        raise BillError(f"{place}: none of {', '.join(_PROVIDERS)} has a value")
    amount_usd_pico, precision_usd_pico = pico(cells["BilledCost"], f"{place}, BilledCost")
    details = _details(cells.get("SkuPriceDetails", ""), place)
    meter = _meter(details)
    return BillLine(
        day=_day(cells["ChargePeriodStart"], place), provider=_OUR_NAMES.get(provider.lower(), provider), meter=meter,
        model=details.get("ModelId", "") or cells.get("SkuMeter", "") or cells.get("SkuId", ""), category=category,
        quantity=_quantity(cells, place) if meter else None, amount_usd_pico=amount_usd_pico,
        precision_usd_pico=precision_usd_pico, said=cells.get("ChargeDescription", "") or cells.get("SkuMeter", ""),
    )  # fmt: skip


def _day(said: str, place: str) -> str:
    try:
        at = datetime.fromisoformat(said)
    except ValueError:
        raise BillError(f"{place}: ChargePeriodStart {said!r}; a time such as 2026-11-01T00:00:00Z is right") from None
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    return at.date().isoformat()


def _details(said: str, place: str) -> dict[str, str]:
    if not said:
        return {}
    try:
        details = msgspec.json.decode(said)
    except msgspec.DecodeError as error:
        raise BillError(f"{place}: SkuPriceDetails is no JSON: {error}") from None
    if not isinstance(details, dict):
        raise BillError(f"{place}: SkuPriceDetails is {said[:80]!r}; a JSON object would be right")
    return {str(name).removeprefix("x_"): str(value) for name, value in details.items() if value is not None}


def _meter(details: dict[str, str]) -> str:
    """Our meter; ours stands beside the draft's keys where we wrote the table ourselves."""
    if meter := details.get("Meter"):
        return meter
    direction = details.get("TokenDirection", "").lower()
    return _CACHE.get(details.get("TokenCacheAction", "").lower(), "") or _DIRECTIONS.get(direction, "")


def _quantity(cells: dict[str, str], place: str) -> int | None:
    unit = _TOKEN_UNITS.get(cells.get("ConsumedUnit", "").lower())
    said = cells.get("ConsumedQuantity", "")
    if unit is None or not said:
        return None
    whole, _, part = said.partition(".")
    scale = len(str(unit)) - 1
    if len(part.rstrip("0")) > scale:
        raise BillError(f"{place}: ConsumedQuantity {said!r} {cells['ConsumedUnit']} is no whole number of tokens")
    return count(f"{whole}{part.rstrip('0').ljust(scale, '0')}", f"{place}, ConsumedQuantity")
