"""The cost table: sums by any dimensions, and how they look. `tokenledger price` and `tokenledger costs` share it.

Every table that shows money shows how many calls it is incomplete for.
"""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

import msgspec
from rich import box
from rich.console import Console
from rich.table import Table

from tokenledger.records.priced import PricedCall

DEFAULT_BY: Final = ("provider", "model")
UNKNOWN: Final = "—"
_PICO_PER_USD: Final = 10**12


class Sums(msgspec.Struct, array_like=True, gc=False):
    """What one row of the table adds up."""

    calls: int = 0
    """Calls that count."""
    priced: int = 0
    """Calls whose cost is wholly known."""
    input_tokens: int = 0
    """Inclusive input tokens."""
    output_tokens: int = 0
    """Inclusive output tokens."""
    cache_read_tokens: int = 0
    """Input tokens read from a prompt cache."""
    known_cost_usd_pico: int = 0
    """Sum of all cost lines."""
    incomplete: int = 0
    """Calls whose cost is not wholly known: the amount is a lower bound."""
    rejected: int = 0
    """Records not understood."""
    anomalies: int = 0
    """Calls with something odd."""

    def add(self, other: "Sums", times: int = 1) -> None:
        """Add (or, with −1, take back) what another one sums."""
        self.calls += times * other.calls
        self.priced += times * other.priced
        self.input_tokens += times * other.input_tokens
        self.output_tokens += times * other.output_tokens
        self.cache_read_tokens += times * other.cache_read_tokens
        self.known_cost_usd_pico += times * other.known_cost_usd_pico
        self.incomplete += times * other.incomplete
        self.rejected += times * other.rejected
        self.anomalies += times * other.anomalies


Groups = dict[tuple[str, ...], Sums]
_CACHE_READS: Final = tuple(f"input.{modality}.cache_read" for modality in ("text", "audio", "image", "video"))


def sums_of(priced: PricedCall) -> Sums:
    """What one call adds to its row."""
    call, usage = priced.call, priced.call.usage
    known = 0 if priced.cost_usd_pico is None else 1
    return Sums(
        1,
        known,
        call.input_tokens or 0,
        call.output_tokens or 0,
        usage.get("input.text.cache_read", 0) if len(usage) < _FEW else sum(usage.get(m, 0) for m in _CACHE_READS),
        priced.known_cost_usd_pico,
        1 - known,
        0,
        1 if priced.anomalies else 0,
    )


_FEW: Final = 4


@lru_cache(maxsize=4096)
def _day(day: int) -> str:
    return datetime.fromtimestamp(day * 86_400, UTC).date().isoformat()


def _hour(at_us: int) -> str:
    return f"{_day(at_us // 86_400_000_000)} {at_us // 3_600_000_000 % 24:02}:00"


Dimension = Callable[[PricedCall], str | None]

DIMENSIONS: Final[dict[str, Dimension]] = {
    "provider": lambda priced: priced.call.provider,
    "model": lambda priced: priced.priced_model or priced.call.response_model or priced.call.request_model,
    "request_model": lambda priced: priced.call.request_model,
    "response_model": lambda priced: priced.call.response_model,
    "api": lambda priced: priced.call.api,
    "tenant": lambda priced: priced.call.tenant_id,
    "environment": lambda priced: priced.call.environment,
    "project": lambda priced: priced.call.project,
    "feature": lambda priced: priced.call.feature,
    "cost_centre": lambda priced: priced.call.cost_centre,
    "user": lambda priced: priced.call.user_id,
    "api_key": lambda priced: priced.call.api_key_id,
    "session": lambda priced: priced.call.session_id,
    "operation": lambda priced: priced.call.operation_id,
    "prompt": lambda priced: priced.call.prompt_id,
    "route": lambda priced: priced.call.route,
    "tier": lambda priced: priced.call.service_tier_served,
    "processing": lambda priced: priced.call.processing,
    "region": lambda priced: priced.call.region,
    "status": lambda priced: priced.call.status,
    "price_status": lambda priced: priced.price_status,
    "hour": lambda priced: _hour(priced.call.started_at_us),
    "day": lambda priced: _day(priced.call.started_at_us // 86_400_000_000),
    "month": lambda priced: _day(priced.call.started_at_us // 86_400_000_000)[:7],
}
"""What a table can be grouped by; times are UTC."""


def parse_by(text: str | None) -> tuple[str, ...]:
    """`tenant,feature,day` → the dimensions. Raises ValueError naming the one that is none."""
    names = tuple(name.strip() for name in (text or "").split(",") if name.strip()) or DEFAULT_BY
    for name in names:
        if name not in DIMENSIONS and not name.startswith("tag:"):
            message = f"--by {name!r}: no such dimension; one of {', '.join(DIMENSIONS)}, or tag:NAME"
            raise ValueError(message)
    return names


def group_key(names: tuple[str, ...]) -> Callable[[PricedCall], tuple[str, ...]]:
    """The function that finds a call's row."""
    functions = [DIMENSIONS.get(name) or _tag(name.removeprefix("tag:")) for name in names]
    return lambda priced: tuple([function(priced) or UNKNOWN for function in functions])


def _tag(name: str) -> Dimension:
    return lambda priced: (priced.call.tags or {}).get(name)


def total(groups: Groups) -> Sums:
    """All rows in one."""
    whole = Sums()
    for sums in groups.values():
        whole.add(sums)
    return whole


def by_cost(groups: Groups) -> list[tuple[tuple[str, ...], Sums]]:
    """Rows, the dearest first."""
    return sorted(groups.items(), key=lambda row: (-row[1].known_cost_usd_pico, -row[1].calls, row[0]))


def usd(amount_usd_pico: int, places: int) -> str:
    """An amount in dollars, rounded half to even to that many places."""
    unit = 10 ** (12 - places)
    quotient, rest = divmod(abs(amount_usd_pico), unit)
    quotient += rest * 2 > unit or (rest * 2 == unit and quotient % 2)
    whole, fraction = divmod(quotient, 10**places)
    sign = "-" if amount_usd_pico < 0 else ""
    return f"{sign}{whole:,}.{fraction:0{places}}" if places else f"{sign}{whole:,}"


def places_for(amounts_usd_pico: Iterable[int]) -> int:
    """Places that show two digits of the smallest amount: 2 to 9."""
    least = min((abs(amount) for amount in amounts_usd_pico if amount), default=_PICO_PER_USD)
    return min(max(2, 14 - len(str(least))), 9)


def share(part: int, whole: int) -> str:
    """A share in per cent; a dash where there is no whole, and never 100 % for less than all."""
    if not whole:
        return UNKNOWN
    tenths = part * 1000 // whole
    return f"{tenths // 10}.{tenths % 10} %"


def render(groups: Groups, names: tuple[str, ...], console: Console, *, title: str | None = None) -> None:
    """Print the table with its totals."""
    table = Table(title=title, box=box.SIMPLE_HEAD, show_footer=True, title_justify="left", header_style="bold")
    whole = total(groups)
    rows = by_cost(groups)
    places = places_for(sums.known_cost_usd_pico for _, sums in rows)
    for index, name in enumerate(names):
        table.add_column(name.replace("_", " "), "total" if index == 0 else "", overflow="fold", footer_style="bold")
    for heading, cell in zip(_HEADINGS, _cells(whole, places), strict=True):
        table.add_column(heading, cell, justify="right", no_wrap=True, footer_style="bold")
    for key, sums in rows:
        style = "yellow" if sums.incomplete or sums.rejected else None
        table.add_row(*key, *_cells(sums, places), style=style)
    console.print(table)


_HEADINGS: Final = (
    "calls", "tokens in", "tokens out", "cached", "cost USD", "incomplete", "rejected", "anomalies",
)  # fmt: skip


def _cells(sums: Sums, places: int) -> tuple[str, ...]:
    """An amount that leaves calls out says so."""
    least = "≥ " if sums.incomplete and sums.known_cost_usd_pico else ""
    cost = usd(sums.known_cost_usd_pico, places)
    if sums.incomplete and not sums.known_cost_usd_pico:
        cost = "unknown"
    return (
        f"{sums.calls:,}",
        f"{sums.input_tokens:,}",
        f"{sums.output_tokens:,}",
        share(sums.cache_read_tokens, sums.input_tokens),
        least + cost if sums.calls else UNKNOWN,
        f"{sums.incomplete:,}",
        f"{sums.rejected:,}",
        f"{sums.anomalies:,}",
    )
