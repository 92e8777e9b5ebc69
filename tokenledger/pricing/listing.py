"""The price list for people: every row of a book that a pattern names, in dollars."""

from collections.abc import Iterator
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Final

import msgspec

from tokenledger.pricing.book import PriceBook
from tokenledger.pricing.rate import (
    BASE_TIER,
    BEGIN_US,
    CONDITION_NAMES,
    DAY_US,
    END_US,
    NO_LIMIT,
    PICO_PER_USD,
    WHOLE_WEEK,
    Row,
    Windows,
    date_text,
)
from tokenledger.records.meters import METERS

_DISPLAY_UNITS: Final = {
    "tokens": (10**6, "1M tokens"),
    "characters": (10**6, "1M characters"),
    "milliseconds": (3_600_000, "hour"),
    "calls": (1000, "1000 calls"),
    "pages": (1000, "1000 pages"),
    "images": (1, "image"),
}
_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


class ListedPrice(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the book, in words."""

    provider: str
    """Provider, by the book's name."""
    model: str
    """Model, by the book's name; a prefix ends in `*`."""
    meter: str
    """What is priced."""
    rate_usd: str
    """Dollars, as an exact decimal where there is one."""
    per: str
    """Of what: `1M tokens`, `1000 calls`, `hour`, …"""
    condition: str
    """Such as `processing=batch`; empty for the plain price."""
    tier: str
    """Such as `above 200000 input tokens`; empty for all sizes."""
    hours: str
    """Hours of the week in UTC; empty for always."""
    valid_from: str
    """First day; empty for as long as is known."""
    valid_to: str
    """First day no longer; empty while open."""
    layer: str
    """`contract <tenant>`, `own` or `catalogue`."""
    price_id: str
    """The id lines carry."""


def list_prices(book: PriceBook, pattern: str = "") -> list[ListedPrice]:
    """Prices whose `provider/model` contains the pattern, or fits it where it has `*` or `?`; sorted."""
    wanted = pattern.lower()
    rows = [row for row in _all_rows(book) if _fits(f"{row.provider}/{row.model}".lower(), wanted)]
    rows.sort(key=lambda row: (row.provider, row.model, row.meter, row.conditions, row.valid_from_us, row.above_tokens))
    return [_listed(row) for row in rows]


def _all_rows(book: PriceBook) -> Iterator[Row]:
    for groups in (book.rows, book.surcharges, book.catalogue_rows):
        for rows in groups.values():
            yield from rows


def _fits(name: str, pattern: str) -> bool:
    if "*" in pattern or "?" in pattern:
        return fnmatchcase(name, pattern) or fnmatchcase(name.partition("/")[2], pattern)
    return pattern in name


def _listed(row: Row) -> ListedPrice:
    units, per = _DISPLAY_UNITS[METERS[row.meter].unit]
    return ListedPrice(
        provider=row.provider, model=row.model, meter=row.meter,
        rate_usd=f"{(Decimal(row.list_pico) * units / (Decimal(row.list_per) * PICO_PER_USD)).normalize():f}", per=per,
        condition=" ".join(f"{n}={v}" for n, v in zip(CONDITION_NAMES, row.conditions, strict=True) if v),
        tier=_tier(row), hours=_hours(row.windows),
        valid_from="" if row.valid_from_us == BEGIN_US else date_text(row.valid_from_us),
        valid_to="" if row.valid_to_us == END_US else date_text(row.valid_to_us),
        layer=f"{row.layer} {row.scope}".strip(), price_id=row.price_id,
    )  # fmt: skip


def _tier(row: Row) -> str:
    words = [f"above {row.above_tokens}"] if row.above_tokens != BASE_TIER else []
    words += [f"up to {row.upto_tokens}"] if row.upto_tokens != NO_LIMIT else []
    return f"{' '.join(words)} input tokens" if words else ""


def _hours(windows: Windows) -> str:
    """`daily 01:00-04:00 06:00-10:00`, or each day for itself where they differ."""
    if windows == WHOLE_WEEK:
        return ""
    spans = [_span(start, end) for start, end in windows]
    clocks = [span.partition(" ")[2] for span in spans]
    daily = clocks[: len(clocks) // 7]
    return f"daily {' '.join(daily)}" if clocks == daily * 7 else ", ".join(spans)


def _span(start_us: int, end_us: int) -> str:
    last = _DAYS[(end_us - 1) // DAY_US % 7]
    first = _DAYS[start_us // DAY_US]
    day = first if first == last or end_us - start_us < DAY_US else f"{first}-{last}"
    return f"{day} {_clock(start_us)}-{_clock(end_us)}"


def _clock(at_us: int) -> str:
    minutes = at_us // 60_000_000 % (24 * 60)
    return f"{minutes // 60:02}:{minutes % 60:02}"
