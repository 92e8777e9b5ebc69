"""The cascade demo's traffic: closed questions, some asked again, some in other words, through OpenAI's own SDK."""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import openai

SYSTEM: Final = "You are a careful clerk. Say only the result, in the form asked for, without a word beside it."
_AT_ONCE: Final = 8
_REPEATED: Final = 0.12
_REWORDED: Final = 0.12
_NEARBY: Final = 24
"""A question comes again only after so many others: its answer is there by then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question in all its wordings, and its answer."""

    wordings: tuple[str, ...]
    answer: str

    @property
    def wants_json(self) -> bool:
        """Whether the answer is to be a JSON object."""
        return self.answer.startswith("{")

    def accepts(self, said: str) -> bool:
        """Whether that is the answer: by value where it is JSON, else to the letter."""
        if not self.wants_json:
            return said.strip().removesuffix(".").casefold() == self.answer.casefold()
        try:
            return bool(json.loads(said) == json.loads(self.answer))
        except ValueError:
            return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request."""

    question: Question
    """What is asked."""
    wording: int = 0
    """In which words."""

    @property
    def text(self) -> str:
        """The words."""
        return self.question.wordings[self.wording]


@dataclass(slots=True)
class Heard:
    """What came of the requests of one run."""

    name: str
    """The run."""
    asks: Sequence[Ask]
    texts: dict[int, str] = field(default_factory=dict)
    """Request → the answer."""
    seconds: dict[int, float] = field(default_factory=dict)
    """Request → how long it took."""
    failures: Counter[str] = field(default_factory=Counter)

    @property
    def right(self) -> int:
        """Answers that are right by the questions' own labels."""
        return sum(self.asks[number].question.accepts(text) for number, text in self.texts.items())

    def user(self, run: str, number: int) -> str:
        """The request's `user`, by which the ledger finds it."""
        return f"{run}-{self.name}-{number:04d}"


def questions_of(labels: bytes) -> list[Question]:
    """The questions in what `python -m serving.simulator --questions` prints: a line a wording."""
    wordings: dict[str, list[str]] = {}
    answers = {}
    for line in labels.splitlines():
        label = json.loads(line)
        wordings.setdefault(label["same_as"], []).append(label["prompt"])
        answers[label["same_as"]] = label["answer"]
    return [Question(wordings=tuple(words), answer=answers[usual]) for usual, words in wordings.items()]


def workload(made_questions: Sequence[Question], *, seed: int) -> list[Ask]:
    """Requests in order: new questions, and among them earlier ones again, as they were or in other words."""
    draw = random.Random(seed)  # noqa: S311 - traffic, no secret
    fresh = iter(made_questions)
    made: list[Ask] = []
    for _ in made_questions:
        lot, known = draw.random(), made[:-_NEARBY]
        if known and lot < _REPEATED:
            made.append(draw.choice(known))
        elif known and lot < _REPEATED + _REWORDED:
            earlier = draw.choice(known)
            made.append(Ask(question=earlier.question, wording=(earlier.wording + 1) % len(earlier.question.wordings)))
        else:
            made.append(Ask(question=next(fresh)))
    return made


async def asked(url: str, key: str, *, heard: Heard, model: str, run: str) -> None:
    """All of them, a few at once, in their order."""
    waiting = iter(range(len(heard.asks)))
    async with openai.AsyncOpenAI(base_url=url, api_key=key, max_retries=1, timeout=60) as client:
        await asyncio.gather(*(_worker(client, waiting, heard=heard, model=model, run=run) for _ in range(_AT_ONCE)))


async def _worker(client: openai.AsyncOpenAI, waiting: Any, *, heard: Heard, model: str, run: str) -> None:
    for number in waiting:
        ask = heard.asks[number]
        wanted: dict[str, Any] = {"response_format": {"type": "json_object"}} if ask.question.wants_json else {}
        began_s = time.monotonic()
        try:
            answer = await client.chat.completions.create(
                model=model,
                messages=[{"role": "system", "content": SYSTEM}, {"role": "user", "content": ask.text}],
                user=heard.user(run, number),
                temperature=0,
                max_tokens=120,
                **wanted,
            )
        except openai.APIError as error:
            heard.failures[type(error).__name__] += 1
        else:
            heard.texts[number] = answer.choices[0].message.content or ""
            heard.seconds[number] = time.monotonic() - began_s
