"""A newer catalogue beside the one in the ledger: what is new, changed or gone, and what must be confirmed.

Pure. A price that jumps by more than a fifth, or slips by a factor of 100, is held back until somebody confirms it.
What is gone from the catalogue stays in the book, because calls of the past still need their price.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Final

import msgspec

from ledger.prices.changes import RATE, Kept, Plan, collide, said_again, same
from tokenledger.pricing.catalogue import Catalogue
from tokenledger.pricing.rate import Row

_JUMP: Final = Fraction(6, 5)
_SLIP: Final = 100

Model = tuple[str, str]
"""Provider and model."""


class ModelChange(msgspec.Struct, frozen=True, kw_only=True):
    """What a newer catalogue says of one model."""

    model: Model
    """Which."""
    what: str
    """`added`, `changed` or `gone`."""
    withdrawn: tuple[Kept, ...] = ()
    """Rows it no longer states."""
    added: tuple[Row, ...] = ()
    """Rows it states anew."""
    held: tuple[str, ...] = ()
    """Why somebody must confirm it; nothing where nobody must."""


def upgrade(believed: Iterable[Kept], catalogue: Catalogue) -> list[ModelChange]:
    """Every model of which the catalogue says something else than the ledger, in order of their names."""
    standing: dict[Model, list[Kept]] = {}
    for one in believed:
        if isinstance(one.entry, Row):
            standing.setdefault((one.entry.provider, one.entry.model), []).append(one)
    changes = [_change(model, kept=standing.get(model, []), stated=catalogue.rows.get(model, ())) for model in
               sorted(standing.keys() | catalogue.rows.keys())]  # fmt: skip
    return [change for change in changes if change is not None]


def _change(model: Model, *, kept: Sequence[Kept], stated: Sequence[Row]) -> ModelChange | None:
    if not stated:
        return ModelChange(model=model, what="gone")
    if not kept:
        return ModelChange(model=model, what="added", added=tuple(stated))
    withdrawn = tuple(one for one in kept if not any(same(one.entry, row) for row in stated))
    added = tuple(row for row in stated if not any(same(one.entry, row) for one in kept))
    if not withdrawn and not added:
        return None
    held = tuple(_doubts([one.entry for one in withdrawn if isinstance(one.entry, Row)], added))
    return ModelChange(model=model, what="changed", withdrawn=withdrawn, added=added, held=held)


def _doubts(old: Sequence[Row], new: Sequence[Row]) -> Iterator[str]:
    """What of a change looks like a mistake."""
    for before in old:
        after = [row for row in new if collide(before, row)]
        if not after:
            yield f"{before.meter} has no price any more"
        for row in after:
            if doubt := _doubt(before, row):
                yield doubt


def _doubt(before: Row, after: Row) -> str:
    was, becomes = Fraction(before.list_pico, before.list_per), Fraction(after.list_pico, after.list_per)
    if was == becomes:
        return ""
    if not was or not becomes:
        return f"{after.meter} {'is free no more' if becomes else 'becomes free'}"
    times = max(becomes / was, was / becomes)
    if times >= _SLIP:
        return f"{after.meter} {_percent(was, becomes)}: a unit slip?"
    return f"{after.meter} {_percent(was, becomes)}" if times > _JUMP else ""


def _percent(was: Fraction, becomes: Fraction) -> str:
    return f"{float(100 * (becomes - was) / was):+.0f} %"


def plan(
    changes: Iterable[ModelChange], *, known_from_us: int, confirmed: Mapping[Model, bool] | None = None
) -> tuple[Plan, list[ModelChange]]:
    """What to do, and the changes that are held back. `confirmed` maps a model to True; None confirms all."""
    done: list[ModelChange] = []
    held: list[ModelChange] = []
    for change in changes:
        is_confirmed = confirmed is None or confirmed.get(change.model, False)
        (done if not change.held or is_confirmed else held).append(change)
    return (
        Plan(
            withdrawn=tuple(one for change in done for one in change.withdrawn),
            added=tuple((RATE, said_again(row, known_from_us)) for change in done for row in change.added),
        ),
        held,
    )
