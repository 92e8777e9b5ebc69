"""What a change of the price book withdraws and adds. Pure.

Knowledge only grows: a row that no longer holds is withdrawn at the instant of the change and what is left of it is
said again, so that a book as known at any past instant stays what it was.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeAlias

import msgspec

from tokenledger.pricing.book import Alias, Contract, OverlapError, Overlay, check_overlaps
from tokenledger.pricing.rate import BEGIN_US, CATALOGUE, END_US, Row, date_text

RATE: Final = "rate"
SURCHARGE: Final = "surcharge"
CONTRACT: Final = "contract"
ALIAS: Final = "alias"

Entry: TypeAlias = Row | Contract | Alias


class ChangeError(ValueError):
    """A change that cannot be made: which entry, why, and what would be right."""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of the book as it stands in the ledger."""

    row_no: int
    """Number of its row, in the table of its kind."""
    kind: str
    """`rate`, `surcharge`, `contract` or `alias`."""
    entry: Entry
    """The entry."""
    change_no: int
    """The change that added it."""
    withdrawn_by: int | None = None
    """The change that withdrew it; None while it is believed."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a change does."""

    withdrawn: tuple[Kept, ...] = ()
    """Entries believed until now."""
    added: tuple[tuple[str, Entry], ...] = ()
    """(kind, entry) believed from now on."""
    unchanged: int = 0
    """Entries that were stated and are believed already."""

    @property
    def changes_anything(self) -> bool:
        """Whether there is something to do."""
        return bool(self.withdrawn or self.added)


def entries(overlay: Overlay) -> list[tuple[str, Entry]]:
    """What a prices file states. Raises ChangeError where it states when a price became known."""
    stated: list[tuple[str, Entry]] = [
        *((RATE, row) for row in overlay.rows),
        *((SURCHARGE, row) for row in overlay.surcharges),
        *((CONTRACT, contract) for contract in overlay.contracts),
        *((ALIAS, alias) for alias in overlay.aliases),
    ]
    for _, entry in stated:
        if (entry.known_from_us, entry.known_to_us) != (BEGIN_US, END_US):
            raise ChangeError(
                f"{describe(entry)}: known_from and known_to are not stated here: the ledger knows a price from the "
                "instant it is added, and no longer from the instant it is withdrawn"
            )
    return stated


def overlay_of(kept: Iterable[Kept]) -> Overlay:
    """The company's own prices, with what was believed when."""
    some = [one for one in kept if not (isinstance(one.entry, Row) and one.entry.layer == CATALOGUE)]
    return Overlay(
        rows=tuple(one.entry for one in some if isinstance(one.entry, Row) and one.kind == RATE),
        surcharges=tuple(one.entry for one in some if isinstance(one.entry, Row) and one.kind == SURCHARGE),
        contracts=tuple(one.entry for one in some if isinstance(one.entry, Contract)),
        aliases=tuple(one.entry for one in some if isinstance(one.entry, Alias)),
    )


def add(believed: Sequence[Kept], stated: Iterable[tuple[str, Entry]], *, at_us: int, correct: bool) -> Plan:
    """Entries put beside what is believed; with `correct`, in the place of what they overlap, for their validity only.

    Raises ChangeError where two entries could price one call.
    """
    standing = list(believed)
    withdrawn: list[Kept] = []
    added: list[tuple[str, Entry]] = []
    unchanged = 0
    for kind, entry in stated:
        if any(one.kind == kind and same(one.entry, entry) for one in standing):
            unchanged += 1
            continue
        rivals = [one for one in standing if one.kind == kind and collide(one.entry, entry)]
        if rivals and not correct:
            raise ChangeError(
                f"{describe(entry)} overlaps what is believed: {describe(rivals[0].entry)}; say --correct to put it in "
                "its place for the time it states, or end the other one first"
            )
        for rival in rivals:
            standing.remove(rival)
            withdrawn.append(rival)
            added += [(kind, said_again(part, at_us)) for part in _remains(rival.entry, entry)]
        added.append((kind, said_again(entry, at_us)))
    return checked(Plan(withdrawn=tuple(withdrawn), added=tuple(added), unchanged=unchanged), standing)


def end(one: Kept, *, valid_to_us: int, at_us: int) -> Plan:
    """The entry ends; from an instant before its start on, it never applied. Raises ChangeError."""
    entry = one.entry
    if valid_to_us >= entry.valid_to_us:
        raise ChangeError(f"{describe(entry)} ends before that already")
    if valid_to_us <= entry.valid_from_us:
        return Plan(withdrawn=(one,))
    shorter = msgspec.structs.replace(entry, valid_to_us=valid_to_us)
    return Plan(withdrawn=(one,), added=((one.kind, said_again(shorter, at_us)),))


def undo(change_no: int, kept: Sequence[Kept], *, at_us: int) -> Plan:
    """What a change added is withdrawn, and what it withdrew is believed again. Raises ChangeError."""
    made = [one for one in kept if one.change_no == change_no]
    gone = [one for one in made if one.withdrawn_by is not None]
    if gone:
        raise ChangeError(
            f"change {change_no}: what it added was changed again by change {gone[0].withdrawn_by}; undo that one first"
        )
    revived = tuple((one.kind, said_again(one.entry, at_us)) for one in kept if one.withdrawn_by == change_no)
    plan = Plan(withdrawn=tuple(made), added=revived)
    if not plan.changes_anything:
        raise ChangeError(f"change {change_no}: there is no such change, or it changed nothing")
    return checked(plan, [one for one in kept if one.withdrawn_by is None and one.change_no != change_no])


def checked(plan: Plan, standing: Iterable[Kept]) -> Plan:
    """The plan, if no two entries could then price one call. Raises ChangeError."""
    after = [(one.kind, one.entry) for one in standing] + list(plan.added)
    try:
        for kind in (RATE, SURCHARGE):
            check_overlaps(entry for its, entry in after if its == kind and isinstance(entry, Row))
    except OverlapError as error:
        raise ChangeError(str(error)) from None
    for kind in (CONTRACT, ALIAS):
        some = [entry for its, entry in after if its == kind]
        for place, one in enumerate(some):
            if rival := next((other for other in some[:place] if collide(one, other)), None):
                raise ChangeError(f"two entries hold at one time: {describe(rival)} and {describe(one)}")
    return plan


def said_again(entry: Entry, at_us: int) -> Entry:
    """The entry, known from now on."""
    return msgspec.structs.replace(entry, known_from_us=at_us, known_to_us=END_US)


def same(one: Entry, other: Entry) -> bool:
    """Whether they say the same of the world, whenever we knew."""
    return type(one) is type(other) and _world(one) == _world(other)


def _world(entry: Entry) -> Entry:
    changes: dict[str, object] = {"known_from_us": BEGIN_US, "known_to_us": END_US}
    if isinstance(entry, Row):
        changes["note"] = ""
    return msgspec.structs.replace(entry, **changes)


def collide(one: Entry, other: Entry) -> bool:
    """Whether both could hold for one call at one time, if both are believed."""
    if _place(one) != _place(other) or max(one.valid_from_us, other.valid_from_us) >= min(
        one.valid_to_us, other.valid_to_us
    ):
        return False
    if not isinstance(one, Row) or not isinstance(other, Row):
        return True
    return max(one.above_tokens, other.above_tokens) < min(one.upto_tokens, other.upto_tokens) and any(
        max(a, c) < min(b, d) for a, b in one.windows for c, d in other.windows
    )


def _place(entry: Entry) -> tuple[object, ...]:
    if isinstance(entry, Row):
        layer, scope, provider, model, *rest = entry.key
        return (layer, scope, provider.lower(), model.lower(), *rest)
    if isinstance(entry, Contract):
        return (entry.tenant_id, entry.provider.lower(), entry.model.lower())
    return (entry.provider.lower(), entry.name.lower())


def _remains(old: Entry, new: Entry) -> list[Entry]:
    """What is left of an entry around the validity of the one that corrects it."""
    if isinstance(old, Row) and isinstance(new, Row) and _shape(old) != _shape(new):
        raise ChangeError(
            f"{describe(new)} covers other context sizes or hours than {describe(old)}; end that one, then state "
            "what is left of it"
        )
    before = msgspec.structs.replace(old, valid_to_us=min(old.valid_to_us, new.valid_from_us))
    after = msgspec.structs.replace(old, valid_from_us=max(old.valid_from_us, new.valid_to_us))
    return [part for part in (before, after) if part.valid_from_us < part.valid_to_us]


def _shape(row: Row) -> tuple[object, ...]:
    return (row.above_tokens, row.upto_tokens, row.windows)


_NAMES: Final[dict[type, Callable[[Entry], str]]] = {
    Row: lambda row: f"{row.provider}/{row.model} {getattr(row, 'meter', '')}",
    Contract: lambda contract: (
        f"contract of {getattr(contract, 'tenant_id', '')} with {contract.provider}/{contract.model}"
    ),
    Alias: lambda alias: f"alias {alias.provider}/{getattr(alias, 'name', '')}",
}


def describe(entry: Entry) -> str:
    """An entry in a few words."""
    start = date_text(entry.valid_from_us) if entry.valid_from_us > BEGIN_US else "ever"
    until = date_text(entry.valid_to_us) if entry.valid_to_us < END_US else "on"
    return f"{_NAMES[type(entry)](entry)} (from {start} {'to ' if until != 'on' else ''}{until})"
