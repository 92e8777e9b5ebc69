"""The semantic cache in its thread: answers a question, learns from every answer a model gave, keeps new questions."""

from collections.abc import Callable
from typing import Final
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from serving.cache import metrics
from serving.cache.configuration import RouteCache
from serving.cache.exact import Kept
from serving.cache.judging import same_words
from serving.cache.marks import marks_of
from serving.cache.minilm import DIMENSIONS
from serving.cache.replies import text_of
from serving.cache.semantic import Asked, Draw, Met, Phrasing, Semantic
from serving.cache.store import Change, News, Pair, Said

Floats = NDArray[np.float32]
Same = Callable[[str, str], float]
"""How alike two texts are in meaning."""

_REMEMBERED: Final = 20_000


class Learned:
    """All tenants' questions, and what is known of them. Used by one thread."""

    def __init__(self, *, tenant_rows: int, put: Callable[[Change], None], draw: Draw) -> None:
        self.semantic = Semantic(DIMENSIONS, tenant_rows=tenant_rows)
        self._put = put
        self.draw = draw
        self._own_pairs: dict[str, None] = {}

    def meet(self, asked: Asked, vector: Floats, *, rules: RouteCache) -> tuple[Floats, Met, Kept | None]:
        """The question's vector, what it met, and the answer to be served."""
        met = self.semantic.meet(asked, vector, rules=rules, draw=self.draw)
        served = met.reason is None and met.candidate is not None
        return vector, met, self.semantic.answers[met.candidate.answer_id] if served and met.candidate else None

    def keep(self, asked: Asked, met: Met, *, vector: Floats, kept: Kept, rules: RouteCache, same: Same) -> None:
        """A model's answer to a question: what it says of the candidate, and one question more."""
        right = self._judged(asked, met, answer=text_of(kept.reply), rules=rules, same=same)
        known = self.semantic.answers.get(met.candidate.answer_id) if right and met.candidate is not None else None
        answer = known or kept
        vector_bytes, name = vector.tobytes(), uuid4().hex
        said = Said(name, asked.tenant_id, asked.partition, answer.answer_id, asked.text, vector_bytes, asked.at_us)
        self._add(said, answer)

    def _add(self, said: Said, answer: Kept, *, stored: bool = False) -> None:
        phrasing = Phrasing(
            said.name, said.tenant_id, said.partition, said.answer_id, marks_of(said.question), answer.at_us
        )
        self.semantic.add(phrasing, np.frombuffer(said.vector, dtype=np.float32), kept=answer)
        metrics.QUESTIONS.set(len(self.semantic))
        if not stored:
            self._put(said)

    def check(self, asked: Asked, met: Met, *, answer: str, rules: RouteCache, same: Same) -> None:
        """A model's answer to a question that a hit answered."""
        right = self._judged(asked, met, answer=answer, rules=rules, same=same)
        if right is not None:
            metrics.checked(asked.tenant_id, asked.route, right=right)

    def _judged(self, asked: Asked, met: Met, *, answer: str, rules: RouteCache, same: Same) -> bool | None:
        """Whether the candidate's answer was right, and the pair is learned; None where there is none."""
        kept = self.semantic.answers.get(met.candidate.answer_id) if met.candidate is not None else None
        if kept is None or met.candidate is None:
            return None
        right = same_words(answer, rival := text_of(kept.reply))
        if right is None:
            right = same(answer, rival) >= rules.same_answer
        checked = self.semantic.learn(asked, met, correct=right, rules=rules)
        if checked is not None:
            name = uuid4().hex
            self._own_pairs[name] = None
            self._put(
                Pair(name, asked.tenant_id, asked.route, met.candidate.answer_id, checked, met.reason != "unsure",
                     asked.at_us)
            )  # fmt: skip
            self._tell(asked.tenant_id, asked.route)
        return right

    def _tell(self, tenant_id: str, route: str) -> None:
        metrics.rate(tenant_id, route, known=self.semantic.budget(tenant_id, route).rate())

    def take(self, news: News, routes: dict[str, RouteCache]) -> None:
        """What other processes, or this one in another life, kept, checked and purged."""
        answers = {kept.answer_id: kept for kept in news.answers}
        for said in news.phrasings:
            answer = answers.get(said.answer_id) or self.semantic.answers.get(said.answer_id)
            if answer is not None and len(said.vector) == DIMENSIONS * 4:
                self._add(said, answer, stored=True)
        for pair in news.pairs:
            if pair.name in self._own_pairs or pair.route not in routes:
                continue
            self.semantic.taught(pair.tenant_id, pair.route, answer_id=pair.answer_id, checked=pair.checked,
                                 drawn=pair.drawn, rules=routes[pair.route])  # fmt: skip
        for key in {(pair.tenant_id, pair.route) for pair in news.pairs}:
            self._tell(*key)
        for purge in news.purges:
            self.semantic.purge(purge)
        while len(self._own_pairs) > _REMEMBERED:
            del self._own_pairs[next(iter(self._own_pairs))]
