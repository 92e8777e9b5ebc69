"""Whether a question may get the answer of another one at all, however alike they look to an encoder. Pure."""

from collections.abc import Callable
from typing import Final

from serving.cache.marks import Marks
from serving.cache.places import PLACES
from serving.cache.records import Reason
from serving.cache.words import OPPOSITES

Guard = Callable[[Marks, Marks], bool]


def guard(asked: Marks, kept: Marks) -> Reason | None:
    """The first guard that tells the two apart, or None."""
    return next((name for name, tells_apart in _GUARDS if tells_apart(asked, kept)), None)


def _other_language(asked: Marks, kept: Marks) -> bool:
    return bool(asked.language and kept.language) and asked.language != kept.language


def _other_names(asked: Marks, kept: Marks) -> bool:
    return not _named(asked.names, kept) or not _named(kept.names, asked)


def _other_question(asked: Marks, kept: Marks) -> bool:
    if asked.asks and kept.asks and asked.asks != kept.asks:
        return True
    return any(_opposed(asked.words, kept.words, sides) for sides in OPPOSITES)


def _named(names: frozenset[str], other: Marks) -> bool:
    """Whether the other question names them too; it may write them without capitals."""
    return all(name in other.names or name in other.words for name in names)


def _opposed(asked: frozenset[str], kept: frozenset[str], sides: tuple[frozenset[str], frozenset[str]]) -> bool:
    """Whether each question takes another side."""
    one, other = sides
    in_asked = bool(asked & one), bool(asked & other)
    in_kept = bool(kept & one), bool(kept & other)
    return in_asked in {(True, False), (False, True)} and in_kept == (in_asked[1], in_asked[0])


def turned_round(asked: Marks, kept: Marks) -> bool:
    """Whether the same things stand in another order: `usd to eur`, `eur to usd`; `can A beat B`, `can B beat A`."""
    shared = frozenset(asked.stems) & frozenset(kept.stems)
    if len(shared) < 2:  # noqa: PLR2004 - one thing has no order
        return False
    first = [one for one in asked.stems if one in shared]
    second = [one for one in kept.stems if one in shared]
    if first == second:
        return False
    if sorted(asked.stems) == sorted(kept.stems):
        return True
    things = [one for one in first if one in PLACES]
    return len(things) > 1 and things != [one for one in second if one in PLACES]


_GUARDS: Final[tuple[tuple[Reason, Guard], ...]] = (
    ("guard_language", _other_language),
    ("guard_numbers", lambda asked, kept: asked.numbers != kept.numbers),
    ("guard_negation", lambda asked, kept: asked.negations != kept.negations),
    ("guard_units", lambda asked, kept: asked.units != kept.units),
    ("guard_dates", lambda asked, kept: asked.dates != kept.dates),
    ("guard_names", _other_names),
    ("guard_words", _other_question),
    ("guard_order", turned_round),
)
"""Cheapest first."""
