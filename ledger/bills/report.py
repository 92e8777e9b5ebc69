"""A reconciliation as a person in finance reads it: one HTML page, or CSV with a line for every cause. Pure."""

import csv
import html
import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Final

from ledger.bills.comparing import Cause, Cell, causes
from ledger.bills.store import Scope

_PICO_DIGITS: Final = 12
_MOST_ROWS: Final = 500
_COLUMNS: Final = (
    "day", "provider", "model", "meter", "billed_quantity", "our_quantity", "billed_usd", "our_usd", "difference_usd",
    "cause", "cause_usd", "said",
)  # fmt: skip
MEANING: Final = {
    Cause.MISSING_HERE: "billed, and nothing of the kind in the ledger that day",
    Cause.MISSING_THERE: "in the ledger, and nothing of the kind on the bill that day",
    Cause.QUANTITY: "counted differently, valued at the ledger's price",
    Cause.PRICE: "the same quantity at another price",
    Cause.UNPRICED: "calls the ledger has, without a price for all they used",
    Cause.TIMING: "counted a day earlier or later; adds up to nothing",
    Cause.ROUNDING: "within the bill's last digit",
    Cause.TAX: "tax lines of the bill",
    Cause.CREDIT: "credits",
    Cause.PURCHASE: "purchases, such as commitments",
    Cause.ADJUSTMENT: "adjustments by the provider",
    Cause.UNEXPLAINED: "no cause found",
}
"""What each cause says to whom reads the report."""
_STYLE: Final = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2.5rem auto; max-width: 76rem; padding: 0 1rem; color: #1c2430 }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin-top: 2.2rem }
table { border-collapse: collapse; width: 100% } th, td { padding: .3rem .7rem; text-align: left; vertical-align: top }
th { border-bottom: 2px solid #ccd3dc; font-weight: 600 } td { border-bottom: 1px solid #e8ecf1 }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap } .muted { color: #66707d }
"""


def dollars(usd_pico: int | None) -> str:
    """Exact, without trailing zeros beyond cents; nothing for None."""
    if usd_pico is None:
        return ""
    text = f"{Decimal(usd_pico).scaleb(-_PICO_DIGITS):,.12f}".rstrip("0")
    whole, _, part = text.partition(".")
    return f"{whole}.{part.ljust(2, '0')}"


def share(usd_pico: int, of_usd_pico: int) -> str:
    """A difference as a share of the bill."""
    return f"{100 * usd_pico / of_usd_pico:+.3f} %" if of_usd_pico else ""


def as_csv(cells: Iterable[Cell]) -> str:
    """A line for every cause of every cell, and one for each cell that matches."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for cell in cells:
        facts = (
            *cell.place, cell.billed_quantity, cell.our_quantity, _plain(cell.billed_usd_pico),
            _plain(cell.our_usd_pico), _plain(cell.difference_usd_pico),
        )  # fmt: skip
        for cause, amount in cell.causes.items():
            writer.writerow((*facts, cause.value, _plain(amount), cell.said))
        if not cell.causes:
            writer.writerow((*facts, "matched" if cell.matches else "quantity", _plain(0), cell.said))
    return out.getvalue()


def _plain(usd_pico: int | None) -> str:
    return dollars(usd_pico).replace(",", "")


def as_html(cells: Sequence[Cell], scope: Scope, *, files: Iterable[str]) -> str:
    """The whole page; nothing in it is fetched."""
    with_money = [cell for cell in cells if cell.billed_usd_pico is not None]
    billed = sum(cell.billed_usd_pico or 0 for cell in with_money)
    ours = sum(cell.our_usd_pico for cell in with_money)
    title = f"Reconciliation of {', '.join(scope.providers)}, {scope.first_day} to {scope.last_day}"
    totals = [
        ("billed", dollars(billed)),
        ("in the ledger", dollars(ours)),
        ("difference", f"{dollars(billed - ours)} ({share(billed - ours, billed) or 'no bill'})"),
    ]
    parts = [
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{_text(title)}</title><style>{_STYLE}</style>",
        f"<h1>{_text(title)}</h1><p class='muted'>Files: {_text(', '.join(files))}. Days are UTC, money is USD.</p>",
        _table(("", "USD"), totals, right=1),
        "<h2>Why they differ</h2>", _causes(cells), "<h2>By day and model</h2>", _models(with_money),
        "<h2>What differs, the largest first</h2>", _cells(cells),
    ]  # fmt: skip
    return "\n".join(parts) + "\n</html>\n"


def _text(value: object) -> str:
    return html.escape(str(value))


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]], *, right: int) -> str:
    """Cells from column `right` on are figures."""

    def row(cells: Sequence[object], tag: str) -> str:
        made = [f"<{tag}{' class=n' if at >= right else ''}>{_text(cell)}</{tag}>" for at, cell in enumerate(cells)]
        return f"<tr>{''.join(made)}</tr>"

    return "<table>" + row(heads, "th") + "".join(row(cells, "td") for cells in rows) + "</table>"


def _causes(cells: Iterable[Cell]) -> str:
    found = causes(cells)
    if not found:
        return "<p>They do not.</p>"
    return _table(
        ("cause", "meaning", "USD"),
        [(cause.value.replace("_", " "), MEANING[cause], dollars(amount)) for cause, amount in found.items()],
        right=2,
    )


def _models(cells: Iterable[Cell]) -> str:
    sums: dict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0, 0])
    for cell in cells:
        both = sums[cell.place.day, cell.place.provider, cell.place.model]
        both[0] += cell.billed_usd_pico or 0
        both[1] += cell.our_usd_pico
    rows = [
        (*key, dollars(billed), dollars(ours), dollars(billed - ours)) for key, (billed, ours) in sorted(sums.items())
    ]
    return _table(("day", "provider", "model", "billed", "ledger", "difference"), rows, right=3)


def _cells(cells: Iterable[Cell]) -> str:
    differing = sorted((cell for cell in cells if not cell.matches), key=lambda cell: -abs(cell.difference_usd_pico))
    rows = [
        (
            cell.place.day, cell.place.provider, cell.place.model or "all models", cell.place.meter or "all meters",
            "; ".join(f"{cause.value.replace('_', ' ')} {dollars(amount)}" for cause, amount in cell.causes.items())
            or "quantity only",
            "" if cell.billed_quantity is None else f"{cell.billed_quantity:,}", f"{cell.our_quantity:,}",
            dollars(cell.billed_usd_pico), dollars(cell.our_usd_pico), dollars(cell.difference_usd_pico),
        )
        for cell in differing[:_MOST_ROWS]
    ]  # fmt: skip
    heads = ("day", "provider", "model", "meter", "why", "billed", "counted", "billed USD", "ledger USD", "difference")
    more = (
        f"<p class='muted'>and {len(differing) - _MOST_ROWS} more: see the CSV</p>"
        if len(differing) > _MOST_ROWS
        else ""
    )
    return _table(heads, rows, right=5) + more if rows else "<p>Nothing.</p>"
