"""Any other CSV, by a mapping that says which column is what. Pure.

provider = "mistral_ai"        # or columns.provider
date_format = "%d/%m/%Y"       # without it ISO 8601
per_usd = 1                    # 100 where amounts are in cents
[columns]
day = "Date"
model = "Model"
meter = "Kind"                 # optional
quantity = "Tokens"            # optional
amount = "Cost"                # amount or quantity, or both
category = "Type"              # optional
[meters]                       # values of the meter column → our meters
"Prompt tokens" = "input.text"
"""

import csv
import io
import tomllib
from collections.abc import Iterator
from datetime import datetime

import msgspec

from ledger.bills.lines import BillError, BillLine, count, pico
from tokenledger.records.meters import METERS


class Columns(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Names of the columns."""

    day: str
    """Day or time; without a zone it is UTC."""
    provider: str | None = None
    """Provider."""
    model: str | None = None
    """Model."""
    meter: str | None = None
    """What was counted."""
    quantity: str | None = None
    """How much."""
    amount: str | None = None
    """What it cost."""
    category: str | None = None
    """usage, tax, credit, purchase, adjustment."""


class Mapping(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to read a CSV."""

    columns: Columns
    """Names of the columns."""
    provider: str | None = None
    """Provider of every line."""
    date_format: str | None = None
    """As `strptime` takes it."""
    per_usd: int = 1
    """Units of the amount in one dollar."""
    meters: dict[str, str] = {}
    """Value of the meter column → our meter."""


def mapping_of(text: str, where: str) -> Mapping:
    """The mapping a TOML text holds. Raises BillError."""
    try:
        made = msgspec.convert(tomllib.loads(text), Mapping)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise BillError(f"{where}: {error}") from None
    if (made.provider is None) == (made.columns.provider is None):
        raise BillError(f"{where}: say either provider or columns.provider")
    if made.columns.amount is None and made.columns.quantity is None:
        raise BillError(f"{where}: columns has neither amount nor quantity; there is nothing to compare")
    if bad := next((meter for meter in made.meters.values() if meter not in METERS), None):
        raise BillError(f"{where}: meters names {bad!r}, which is no meter; schemas/FIELDS.md lists them")
    if made.per_usd < 1:
        raise BillError(f"{where}: per_usd is {made.per_usd}; 1 for dollars, 100 for cents")
    return made


def lines(text: str, mapping: Mapping, *, where: str) -> Iterator[BillLine]:
    """The table's lines. Raises BillError."""
    reader = csv.DictReader(io.StringIO(text))
    for name in (name for name in msgspec.structs.astuple(mapping.columns) if name is not None):
        if name not in (reader.fieldnames or ()):
            raise BillError(f"{where}: no column {name!r}; there are {', '.join(reader.fieldnames or ()) or 'none'}")
    for row in reader:
        yield _line(row, mapping, place=f"{where}: line {reader.line_num}")


def _line(row: dict[str, str | None], mapping: Mapping, *, place: str) -> BillLine:
    columns = mapping.columns

    def cell(name: str | None) -> str:
        return (row.get(name) or "").strip() if name else ""

    amount = pico(cell(columns.amount), place, per_usd=mapping.per_usd) if columns.amount else None
    said = cell(columns.meter)
    meter = mapping.meters.get(said, said if said in METERS else "")
    if said and not meter:
        raise BillError(f"{place}: {columns.meter} is {said!r}; add it to the mapping's [meters]")
    return BillLine(
        day=_day(cell(columns.day), mapping, place=place), provider=mapping.provider or cell(columns.provider),
        model=cell(columns.model), meter=meter, category=cell(columns.category).lower() or "usage", said=said,
        quantity=count(cell(columns.quantity) or None, place) if columns.quantity else None,
        amount_usd_pico=amount[0] if amount else None, precision_usd_pico=amount[1] if amount else 0,
    )  # fmt: skip


def _day(said: str, mapping: Mapping, *, place: str) -> str:
    try:
        at = datetime.strptime(said, mapping.date_format) if mapping.date_format else datetime.fromisoformat(said)  # noqa: DTZ007
    except ValueError:
        wanted = mapping.date_format or "ISO 8601, such as 2026-11-01"
        raise BillError(f"{place}: day {said!r} is not {wanted}") from None
    return at.date().isoformat()
