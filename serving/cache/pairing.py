"""A question beside the kept ones nearest to it: which is the candidate, and what is known of the pair. Pure."""

import msgspec

from serving.cache.guards import guard
from serving.cache.marks import Marks
from serving.cache.records import Reason

NEIGHBOURS = 8
"""Kept questions that are looked at."""


class Neighbour(msgspec.Struct, frozen=True, gc=False):
    """A kept question near the one that is asked."""

    similarity: float
    """Cosine similarity."""
    answer_id: str
    """The answer it has."""
    marks: Marks
    """Its marks."""


class Candidate(msgspec.Struct, frozen=True, gc=False):
    """The nearest kept question that no guard rules out."""

    answer_id: str
    """Its answer."""
    similarity: float
    """Cosine similarity."""
    features: tuple[float, ...]
    """As `learning.FEATURES` says."""


def candidate_of(asked: Marks, near: list[Neighbour]) -> Candidate | Reason:
    """The candidate among neighbours, nearest first; else which guard ruled the nearest out."""
    allowed: list[Neighbour] = []
    first: Reason | None = None
    for one in near:
        why = guard(asked, one.marks)
        if why is None:
            allowed.append(one)
        else:
            first = first or why
    if not allowed:
        return first or "nothing_near"
    best = allowed[0]
    others = [one.similarity for one in allowed if one.answer_id != best.answer_id]
    rival = others[0] if others else near[-1].similarity if len(near) == NEIGHBOURS else 0.5
    agreeing = sum(one.answer_id == best.answer_id for one in allowed[:5])
    return Candidate(
        best.answer_id,
        best.similarity,
        (
            1.0,
            (best.similarity - 0.85) * 10,
            min((best.similarity - rival) * 10, 3.0),
            (agreeing - 1) / 4,
            *_likeness(asked, best.marks),
        ),
    )


def _likeness(asked: Marks, kept: Marks) -> tuple[float, float, float]:
    """Shared stems, whether one is swapped for another and nothing else differs, difference in length."""
    first, second = frozenset(asked.stems), frozenset(kept.stems)
    either = first | second
    overlap = len(first & second) / len(either) if either else 1.0
    swapped = len(first - second) == 1 and len(second - first) == 1 and len(asked.stems) == len(kept.stems)
    longest = max(len(asked.stems), len(kept.stems), 1)
    return overlap, float(swapped), abs(len(asked.stems) - len(kept.stems)) / longest
