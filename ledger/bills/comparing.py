"""A provider's bill against the ledger, cell by cell, every difference with a name. Pure.

The law: the causes of all cells add up to billed less ours, to the pico-dollar. What no rule can name is `unexplained`.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, timedelta
from enum import StrEnum
from fractions import Fraction
from typing import Final, NamedTuple

import msgspec

from ledger.bills.lines import BillLine

ALL: Final = ""
"""A cell that holds every model or every meter of its day, because the bill tells no more."""
_OTHER_MODELS: Final = "*"
_REASONING: Final = "output.reasoning"


class Cause(StrEnum):
    """Why the bill and the ledger differ. A closed set."""

    MISSING_HERE = "missing_here"
    """The bill has it and the ledger has nothing of the kind that day: calls that never came through."""
    MISSING_THERE = "missing_there"
    """The ledger has it and the bill has nothing of the kind that day."""
    QUANTITY = "quantity"
    """Both have it and count differently; valued at the ledger's own price."""
    PRICE = "price"
    """The same quantity at another price."""
    UNPRICED = "unpriced"
    """The ledger has calls there whose cost it does not wholly know."""
    TIMING = "timing"
    """Counted a day earlier or later; these add up to nothing."""
    ROUNDING = "rounding"
    """Within what the bill's last digit and our half pico-dollar a line can hide."""
    TAX = "tax"
    """A tax line of the bill."""
    CREDIT = "credit"
    """A credit line of the bill."""
    PURCHASE = "purchase"
    """A purchase, such as a commitment or prepaid credits."""
    ADJUSTMENT = "adjustment"
    """An adjustment or correction by the provider."""
    UNEXPLAINED = "unexplained"
    """None of these."""


class Place(NamedTuple):
    """What a cell is of."""

    day: str
    """UTC day."""
    provider: str
    """Provider."""
    model: str
    """Model as the ledger calls it, or the provider's words where the ledger does not know it."""
    meter: str
    """Meter; reasoning counts as output, as bills do not tell it apart."""


class Ours(msgspec.Struct, frozen=True, kw_only=True):
    """What the ledger has of one day, provider, model and meter."""

    place: Place
    """Of what."""
    quantity: int
    """In the meter's base unit."""
    amount_usd_pico: int
    """Incurred, 10⁻¹² USD."""
    lines: int = 1
    """Cost lines in it; each was rounded once."""


Incomplete = Mapping[tuple[str, str, str], int]
"""(UTC day, provider, model) → calls whose cost is not wholly known."""


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One comparison."""

    place: Place
    """Of what."""
    billed_quantity: int | None
    """By the bill; None where it does not say."""
    our_quantity: int
    """By the ledger; of a cell of several meters their sum."""
    billed_usd_pico: int | None
    """By the bill, 10⁻¹² USD; None where it states usage only."""
    our_usd_pico: int
    """By the ledger."""
    causes: dict[Cause, int]
    """Why they differ: cause → 10⁻¹² USD. They add up to billed less ours."""
    said: str = ""
    """The bill's words."""

    @property
    def difference_usd_pico(self) -> int:
        """Billed less ours; 0 where the bill states no money."""
        return 0 if self.billed_usd_pico is None else self.billed_usd_pico - self.our_usd_pico

    @property
    def matches(self) -> bool:
        """Whether nothing differs, neither money nor quantity."""
        return not self.causes and self.billed_quantity in {None, self.our_quantity}


class _Side(msgspec.Struct, gc=False):
    """Sums of one side of a cell, being made."""

    quantity: int | None = None
    amount_usd_pico: int | None = None
    tolerance_usd_pico: int = 0
    said: str = ""


def compare(
    bill: Iterable[BillLine], ours: Iterable[Ours], *, incomplete: Incomplete, name: Callable[[str, str], str]
) -> list[Cell]:
    """Every cell of the days and providers the bill covers. `name` is the ledger's name of (provider, model)."""
    lines = [
        msgspec.structs.replace(line, model=name(line.provider, line.model), meter=_output(line.meter)) for line in bill
    ]
    usage = [line for line in lines if line.category == "usage"]
    fold = _folding(usage)
    theirs, mine = _theirs(usage, fold), _mine(ours, fold)
    money = {(line.day, line.provider) for line in usage if line.amount_usd_pico is not None}
    covered = {(line.day, line.provider) for line in usage}
    places = set(theirs) | {place for place in mine if (place.day, place.provider) in covered}
    cells = [
        _cell(
            place,
            theirs=theirs.get(place),
            mine=mine.get(place),
            has_money=(place.day, place.provider) in money,
            is_incomplete=any(_within(place, key) for key, calls in incomplete.items() if calls),
        )
        for place in sorted(places)
    ]
    return _timed(cells) + [_apart(line) for line in lines if line.category != "usage"]


def _within(place: Place, key: tuple[str, str, str]) -> bool:
    """Whether calls of that day, provider and model belong to a cell."""
    return place[:2] == key[:2] and place.model in {ALL, _OTHER_MODELS, key[2]}


def causes(cells: Iterable[Cell]) -> dict[Cause, int]:
    """Cause → 10⁻¹² USD over all cells, in the order of their definition."""
    total: dict[Cause, int] = defaultdict(int)
    for cell in cells:
        for cause, amount_usd_pico in cell.causes.items():
            total[cause] += amount_usd_pico
    return {cause: total[cause] for cause in Cause if cause in total}


def _output(meter: str) -> str:
    return "output.text" if meter == _REASONING else meter


# How finely the bill can be compared


def _folding(lines: list[BillLine]) -> Callable[[Place], Place]:
    """Place of a line or an entry of ours → its cell: as fine as the bill tells, per provider and day."""
    day_only: set[tuple[str, str]] = set()
    model_only: set[tuple[str, str, str]] = set()
    shared: set[tuple[str, str, str]] = set()
    by_day: dict[tuple[str, str], list[BillLine]] = defaultdict(list)
    for line in lines:
        by_day[line.day, line.provider].append(line)
    for key, some in by_day.items():
        if not any(line.model for line in some):
            day_only |= {key} if any(not line.meter for line in some) else set()
        model_only |= {(*key, line.model) for line in some if line.model and not line.meter}
        shared |= {(*key, line.meter) for line in some if line.meter and not line.model}

    def fold(place: Place) -> Place:
        day, provider, model, meter = place
        if (day, provider) in day_only:
            return Place(day, provider, ALL, ALL)
        if (day, provider, meter) in shared:
            return Place(day, provider, _OTHER_MODELS, meter)
        return Place(day, provider, model, ALL if (day, provider, model) in model_only else meter)

    return fold


def _theirs(lines: list[BillLine], fold: Callable[[Place], Place]) -> dict[Place, _Side]:
    """Sums by cell. Where a usage report and a cost report state a quantity, the usage report's counts."""
    sides: dict[Place, _Side] = defaultdict(_Side)
    counted = {fold(_place(line)) for line in lines if line.amount_usd_pico is None}
    for line in lines:
        place = fold(_place(line))
        side = sides[place]
        if line.amount_usd_pico is not None:
            side.amount_usd_pico = (side.amount_usd_pico or 0) + line.amount_usd_pico
            side.tolerance_usd_pico += line.precision_usd_pico
        if line.quantity is not None and (line.amount_usd_pico is None or place not in counted):
            side.quantity = (side.quantity or 0) + line.quantity
        side.said = side.said or line.said
    return sides


def _place(line: BillLine) -> Place:
    return Place(line.day, line.provider, line.model, line.meter)


def _mine(entries: Iterable[Ours], fold: Callable[[Place], Place]) -> dict[Place, _Side]:
    sides: dict[Place, _Side] = defaultdict(_Side)
    for entry in entries:
        side = sides[fold(entry.place._replace(meter=_output(entry.place.meter)))]
        side.quantity = (side.quantity or 0) + entry.quantity
        side.amount_usd_pico = (side.amount_usd_pico or 0) + entry.amount_usd_pico
        side.tolerance_usd_pico += entry.lines
    return sides


# Why a cell differs


def _cell(place: Place, *, theirs: _Side | None, mine: _Side | None, has_money: bool, is_incomplete: bool) -> Cell:
    nothing = _Side(quantity=0, amount_usd_pico=0 if has_money else None)
    cell = Cell(
        place=place,
        billed_quantity=(theirs or nothing).quantity,
        our_quantity=(mine or nothing).quantity or 0,
        billed_usd_pico=(theirs or nothing).amount_usd_pico,
        our_usd_pico=(mine or nothing).amount_usd_pico or 0,
        causes={},
        said=(theirs or nothing).said,
    )
    if cell.difference_usd_pico == 0:
        return cell
    if theirs is None:
        return msgspec.structs.replace(cell, causes={Cause.MISSING_THERE: cell.difference_usd_pico})
    if mine is None:
        why = Cause.UNPRICED if is_incomplete else Cause.MISSING_HERE
        return msgspec.structs.replace(cell, causes={why: cell.difference_usd_pico})
    tolerance_usd_pico = theirs.tolerance_usd_pico + (mine.tolerance_usd_pico + 1) // 2
    found: dict[Cause, int] = defaultdict(int)
    for cause, amount_usd_pico in _why(cell, tolerance_usd_pico, is_incomplete=is_incomplete):
        found[cause] += amount_usd_pico
    return msgspec.structs.replace(cell, causes=dict(found))


def _why(cell: Cell, tolerance_usd_pico: int, *, is_incomplete: bool) -> Iterator[tuple[Cause, int]]:
    """The causes of a difference where both sides have something; they add up to it."""
    rest = cell.difference_usd_pico
    counted = cell.billed_quantity is not None and cell.our_quantity > 0 and cell.place.meter != ALL
    more = (cell.billed_quantity or 0) - cell.our_quantity if counted else 0
    valued = round(Fraction(cell.our_usd_pico * more, cell.our_quantity)) if more else 0
    if valued:
        # Calls without a price have no lines, so what the bill counts beyond ours may well be theirs.
        yield (Cause.UNPRICED if is_incomplete and valued > 0 else Cause.QUANTITY), valued
    rest -= valued
    if rest == 0:
        return
    if abs(rest) <= tolerance_usd_pico:
        yield Cause.ROUNDING, rest
    elif rest > 0 and is_incomplete:
        yield Cause.UNPRICED, rest
    else:
        yield (Cause.PRICE if counted else Cause.UNEXPLAINED), rest


def _apart(line: BillLine) -> Cell:
    """A line that is no usage stands for itself."""
    known = {cause.value for cause in (Cause.TAX, Cause.CREDIT, Cause.PURCHASE, Cause.ADJUSTMENT)}
    cause = Cause(line.category) if line.category in known else Cause.UNEXPLAINED
    amount_usd_pico = line.amount_usd_pico or 0
    return Cell(
        place=_place(line), billed_quantity=None, our_quantity=0, billed_usd_pico=amount_usd_pico, our_usd_pico=0,
        causes={cause: amount_usd_pico} if amount_usd_pico else {}, said=line.said,
    )  # fmt: skip


# Days that lend to each other

_MOVABLE: Final = (Cause.QUANTITY, Cause.MISSING_HERE, Cause.MISSING_THERE)


def _timed(cells: list[Cell]) -> list[Cell]:
    """What one day has too much and the next too little of the same was counted on another day, not lost."""
    by_place = {cell.place: dict(cell.causes) for cell in cells}
    for place, found in by_place.items():
        following = place._replace(day=(date.fromisoformat(place.day) + timedelta(days=1)).isoformat())
        if following in by_place:
            _move(found, by_place[following])
    return [msgspec.structs.replace(cell, causes=by_place[cell.place]) for cell in cells]


def _move(today: dict[Cause, int], tomorrow: dict[Cause, int]) -> None:
    for cause in _MOVABLE:
        for other in _MOVABLE:
            mine, theirs = today.get(cause, 0), tomorrow.get(other, 0)
            if mine * theirs >= 0:
                continue
            moved = min(abs(mine), abs(theirs)) * (1 if mine > 0 else -1)
            _take(today, cause, amount_usd_pico=moved)
            _take(tomorrow, other, amount_usd_pico=-moved)


def _take(found: dict[Cause, int], cause: Cause, *, amount_usd_pico: int) -> None:
    found[cause] -= amount_usd_pico
    if not found[cause]:
        del found[cause]
    found[Cause.TIMING] = found.get(Cause.TIMING, 0) + amount_usd_pico
    if not found[Cause.TIMING]:
        del found[Cause.TIMING]
