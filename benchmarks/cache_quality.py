"""How often a semantic cache is right on labelled questions: learned at several budgets, and by a fixed threshold."""

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.cache_questions import Labelled
from serving.cache.bounds import upper_bound
from serving.cache.configuration import RouteCache
from serving.cache.exact import Kept
from serving.cache.marks import marks_of
from serving.cache.minilm import DIMENSIONS, packaged
from serving.cache.semantic import Asked, Phrasing, Semantic
from serving.cache.vectors import Shelf

Floats = NDArray[np.float32]

BUDGETS: Final = (0.01, 0.02, 0.05)
THRESHOLDS: Final = (0.8, 0.9, 0.95, 0.97)
_BATCH: Final = 16
_ROWS: Final = 40_000


class Vectors:
    """Texts → vectors, kept in a file between runs where one is given."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._known: dict[str, Floats] = {}
        if path is not None and path.exists():
            with np.load(path) as found:
                self._known = dict(zip(found["texts"].tolist(), found["vectors"], strict=True))

    def __getitem__(self, text: str) -> Floats:
        return self._known[text]

    def make(self, texts: list[str]) -> None:
        """Embed those that are not known."""
        lacking = sorted({text for text in texts if text not in self._known}, key=len)
        if not lacking:
            return
        model = packaged()
        for start in range(0, len(lacking), _BATCH):
            batch = lacking[start : start + _BATCH]
            self._known.update(zip(batch, model.vectors(model.tokens(batch)), strict=True))
        if self._path is not None:
            np.savez(self._path, texts=np.array(list(self._known)), vectors=np.array(list(self._known.values())))


def judged(questions: list[Labelled], vectors: Vectors) -> Iterator[str]:
    """One line each."""
    for budget in BUDGETS:
        yield _learned(questions, vectors, RouteCache(semantic=True, error_budget=budget))
    for threshold in THRESHOLDS:
        yield _fixed(questions, vectors, threshold)


def _learned(questions: list[Labelled], vectors: Vectors, rules: RouteCache) -> str:
    semantic, draw = Semantic(DIMENSIONS, tenant_rows=_ROWS), random.Random(1)
    answers: dict[str, str] = {}
    served: list[bool] = []
    trapped: Counter[str] = Counter()
    late = 0
    for number, one in enumerate(questions):
        asked = Asked("t", "r", b"p", one.text, number, rules.least_similarity, 0)
        met = semantic.meet(asked, vectors[one.text], rules=rules, draw=draw.random)
        right = met.candidate is not None and answers[met.candidate.answer_id] == one.answer
        if met.reason is None and met.candidate is not None:
            served.append(right)
            late += number >= len(questions) // 2
            trapped[one.kind] += not right
            if met.verify:
                semantic.learn(asked, met, correct=right, rules=rules)
            continue
        semantic.learn(asked, met, correct=right, rules=rules)
        answer_id = met.candidate.answer_id if right and met.candidate is not None else str(number)
        answers.setdefault(answer_id, one.answer)
        kept = Kept(answer_id, "t", "r", b"", "", b"", "p", "m", number)
        semantic.add(
            Phrasing(str(number), "t", b"p", answer_id, marks_of(one.text), number), vectors[one.text], kept=kept
        )
    rate = semantic.budget("t", "r").rate()
    wrong = served.count(False)
    return (
        f"budget {rules.error_budget:.0%}: {_share(len(served), wrong, questions)}, of the second half "
        f"{2 * late / len(questions):.1%} served; by its own checks {rate.wrong} wrong of {rate.checked}, "
        f"at most {rate.bound:.1%}; wrong by kind {dict(+trapped)}"
    )


def _fixed(questions: list[Labelled], vectors: Vectors, threshold: float) -> str:
    shelf, answers, served, wrong = Shelf(DIMENSIONS), dict[str, str](), 0, 0
    for number, one in enumerate(questions):
        near = shelf.nearest(vectors[one.text], 1)
        if near and near[0][1] >= threshold:
            served += 1
            wrong += answers[near[0][0]] != one.answer
        else:
            shelf.add(str(number), vectors[one.text])
            answers[str(number)] = one.answer
    return f"fixed cosine {threshold:.2f}, no guard: {_share(served, wrong, questions)}"


def _share(served: int, wrong: int, questions: list[Labelled]) -> str:
    if not served:
        return "nothing served"
    bound = upper_bound(wrong, served, confidence=0.95)
    share = f"{wrong} wrong of {served} = {wrong / served:.2%} (95 %: at most {bound:.2%})"
    return f"{served / len(questions):.1%} served, {share}"
