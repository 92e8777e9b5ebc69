"""Questions asked before in other words: who is near, whether to trust it, and what checked pairs teach.

State of one process, used by one thread. A question meets only questions of its own partition.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from serving.cache.budget import Budget, Rate
from serving.cache.configuration import RouteCache
from serving.cache.exact import Kept, Purge
from serving.cache.learning import Checked
from serving.cache.marks import Marks, marks_of
from serving.cache.pairing import NEIGHBOURS, Candidate, Neighbour, candidate_of
from serving.cache.records import Reason
from serving.cache.vectors import Shelf

Floats = NDArray[np.float32]
Draw = Callable[[], float]

_US: Final = 1_000_000


class Asked(msgspec.Struct, frozen=True, gc=False):
    """A question in its partition."""

    tenant_id: str
    """The tenant."""
    route: str
    """Route of the gateway."""
    partition: bytes
    """Key of the partition."""
    text: str
    """The question."""
    at_us: int
    """When it is asked, µs UTC."""
    least_similarity: float
    """The operator's, or the caller's where that is higher."""
    oldest_us: int
    """Answers kept before then are too old."""


class Phrasing(msgspec.Struct, frozen=True, gc=False):
    """A kept question."""

    name: str
    """Its own id."""
    tenant_id: str
    """The tenant."""
    partition: bytes
    """Its partition."""
    answer_id: str
    """The answer it has."""
    marks: Marks
    """What must not differ."""
    at_us: int
    """When it was kept, µs UTC."""


class Met(msgspec.Struct, frozen=True, gc=False):
    """What a question met."""

    candidate: Candidate | None
    """The kept question nearest to it that no guard rules out."""
    reason: Reason | None
    """Why its answer is not served; None where it is."""
    offset: float = 0.0
    """What was known of the candidate's answer alone."""
    verify: bool = False
    """Whether the hit is to be checked."""


class Semantic:
    """All tenants' partitions."""

    def __init__(self, dimensions: int, *, tenant_rows: int) -> None:
        self._dimensions = dimensions
        self._tenant_rows = tenant_rows
        self._shelves: dict[bytes, Shelf] = {}
        self._rows: dict[str, OrderedDict[str, Phrasing]] = {}
        self._budgets: dict[tuple[str, str], Budget] = {}
        self._uses: Counter[str] = Counter()
        self.answers: dict[str, Kept] = {}
        """Answers that some question here has, by id."""

    def __len__(self) -> int:
        return sum(map(len, self._rows.values()))

    def budget(self, tenant_id: str, route: str) -> Budget:
        """What is learned for a tenant's route."""
        return self._budgets.setdefault((tenant_id, route), Budget())

    def rates(self) -> dict[tuple[str, str], Rate]:
        """How often hits were wrong, by tenant and route."""
        return {key: budget.rate() for key, budget in self._budgets.items()}

    def meet(self, asked: Asked, vector: Floats, *, rules: RouteCache, draw: Draw) -> Met:
        """The decision."""
        near = self._near(asked, vector)
        if not near:
            return Met(None, "nothing_near")
        candidate = candidate_of(marks_of(asked.text), near)
        if not isinstance(candidate, Candidate):
            return Met(None, candidate)
        budget = self.budget(asked.tenant_id, asked.route)
        offset = budget.offset(candidate.answer_id)
        if not budget.is_sure(candidate):
            return Met(candidate, "unsure", offset)
        if draw() < rules.explore_share:
            return Met(candidate, "explored", offset)
        return Met(candidate, None, offset, draw() < rules.verify_share)

    def _near(self, asked: Asked, vector: Floats) -> list[Neighbour]:
        shelf = self._shelves.get(asked.partition)
        if shelf is None:
            return []
        rows = self._rows[asked.tenant_id]
        found: list[Neighbour] = []
        for name, similarity in shelf.nearest(vector, NEIGHBOURS):
            row = rows[name]
            if similarity < asked.least_similarity:
                break
            if row.at_us < asked.oldest_us:
                self._remove(row)
                continue
            rows.move_to_end(name)
            found.append(Neighbour(similarity, row.answer_id, row.marks))
        return found

    def learn(self, asked: Asked, met: Met, *, correct: bool, rules: RouteCache) -> Checked | None:
        """Whether the candidate's answer was right for the question; the pair, to be kept."""
        if met.candidate is None:
            return None
        checked = Checked(met.candidate.features, met.offset, correct)
        self.taught(asked.tenant_id, asked.route, answer_id=met.candidate.answer_id, checked=checked,
                    drawn=met.reason != "unsure", rules=rules)  # fmt: skip
        return checked

    def taught(
        self, tenant_id: str, route: str, *, answer_id: str, checked: Checked, drawn: bool, rules: RouteCache
    ) -> None:
        """A checked pair, of this process or another one."""
        self.budget(tenant_id, route).learn(
            answer_id, checked, drawn=drawn, budget=rules.error_budget, confidence=rules.confidence
        )

    def add(self, phrasing: Phrasing, vector: Floats, *, kept: Kept) -> None:
        """Keep a question and its answer; the one met longest ago makes room."""
        rows = self._rows.setdefault(phrasing.tenant_id, OrderedDict())
        if phrasing.name in rows:
            return
        while len(rows) >= self._tenant_rows:
            self._remove(next(iter(rows.values())))
        rows[phrasing.name] = phrasing
        self._uses[phrasing.answer_id] += 1
        self.answers[phrasing.answer_id] = kept
        shelf = self._shelves.get(phrasing.partition)
        if shelf is None:
            shelf = self._shelves[phrasing.partition] = Shelf(self._dimensions)
        shelf.add(phrasing.name, vector)

    def _remove(self, row: Phrasing) -> None:
        del self._rows[row.tenant_id][row.name]
        shelf = self._shelves[row.partition]
        shelf.remove(row.name)
        if not len(shelf):
            del self._shelves[row.partition]
        self._uses[row.answer_id] -= 1
        if not self._uses[row.answer_id]:
            kept = self.answers.pop(row.answer_id)
            del self._uses[row.answer_id]
            self.budget(kept.tenant_id, kept.route).forget(row.answer_id)

    def purge(self, purge: Purge) -> None:
        """What it concerns is gone, with every question that had it."""
        rows: Mapping[str, Phrasing] = self._rows.get(purge.tenant_id, {})
        for row in [row for row in rows.values() if purge.concerns(self.answers[row.answer_id])]:
            self._remove(row)
