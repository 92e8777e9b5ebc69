"""Something in a text that must not stay there, and how findings that touch become one. Pure."""

from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeAlias


class Finding(NamedTuple):
    """A piece of a text."""

    start: int
    """First character."""
    end: int
    """Character after the last."""
    entity: str
    """What it is: `EMAIL_ADDRESS`, `SECRET`, …"""
    score: float
    """How sure, from 0 to 1; of findings that touch the surest names the whole."""


Recogniser: TypeAlias = Callable[[str], Iterable[Finding]]
"""Finds things in a text; a model for names is one such."""


def joined(findings: Iterable[Finding]) -> list[Finding]:
    """Findings in order, those that overlap as one: nothing that any of them covers is left over."""
    result: list[Finding] = []
    for one in sorted(findings, key=lambda one: (one.start, -one.end)):
        if result and one.start < result[-1].end:
            last = result[-1]
            surest = max(last, one, key=lambda other: (other.score, other.end - other.start))
            result[-1] = Finding(last.start, max(last.end, one.end), surest.entity, surest.score)
        else:
            result.append(one)
    return result
