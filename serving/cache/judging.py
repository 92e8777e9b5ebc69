"""Whether two answers say the same. Pure, but for the vectors it is given.

Short answers must be equal but for case, blanks and a last full stop. Long ones may differ in words, not in numbers,
names, units, dates or negations.
"""

import unicodedata
from typing import Final

from serving.cache.guards import guard
from serving.cache.marks import marks_of

SHORT_CHARS: Final = 60
"""Answers up to this length are compared as they are."""
_ENDS: Final = " \t\n.!\"'`*"
_LOOSE: Final = frozenset({"guard_order", "guard_words"})
"""Guards that say something about questions and nothing about answers."""


def normal(answer: str) -> str:
    """An answer without what makes no difference."""
    return " ".join(unicodedata.normalize("NFKC", answer).casefold().split()).strip(_ENDS)


def same_words(one: str, other: str) -> bool | None:
    """Whether they say the same, where words can tell; None where their meaning has to be compared."""
    first, second = normal(one), normal(other)
    if first == second:
        return True
    if len(first) <= SHORT_CHARS or len(second) <= SHORT_CHARS:
        return False
    told_apart = guard(marks_of(one), marks_of(other))
    return False if told_apart is not None and told_apart not in _LOOSE else None
