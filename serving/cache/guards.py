"""Whether a question may get the answer of another one at all, however alike they look to an encoder. Pure."""

from collections.abc import Callable
from typing import Final

from serving.cache.marks import Marks
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
    return any(_opposed(asked.words, kept.words, sides=sides) for sides in OPPOSITES)


def _named(names: frozenset[str], other: Marks) -> bool:
    """Whether the other question names them too; it may write them without capitals."""
    return all(name in other.names or name in other.words for name in names)


def _opposed(asked: frozenset[str], kept: frozenset[str], *, sides: tuple[frozenset[str], frozenset[str]]) -> bool:
    """Whether each question takes another side."""
    one, other = sides
    in_asked = bool(asked & one), bool(asked & other)
    in_kept = bool(kept & one), bool(kept & other)
    return in_asked in {(True, False), (False, True)} and in_kept == (in_asked[1], in_asked[0])


def turned_round(asked: Marks, kept: Marks) -> bool:
    """Whether the same things stand in another order: `usd to eur`, `eur to usd`; `can A beat B`, `can B beat A`."""
    return _in_another_order(asked.stems, kept.stems) or _in_another_order(asked.things, kept.things)


def _in_another_order(asked: tuple[str, ...], kept: tuple[str, ...]) -> bool:
    return asked != kept and sorted(asked) == sorted(kept)


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
