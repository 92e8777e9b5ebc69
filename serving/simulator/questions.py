"""Questions with one right answer, made by rule from a seed: what cascades and caches are judged on. Pure.

Each is easy or hard by what it asks (more steps, longer numbers) and a little by luck that its text does not show, as
with real prompts. It comes in several wordings that all ask the same.
"""

import json
import random
from collections.abc import Callable
from typing import Final

import msgspec

from serving.simulator.answering import Label

_LUCK: Final = 0.2
"""Part of a question's difficulty that its text does not show."""
_MOSTLY_EASY: Final = 1.6
"""Raises no question above 1, and lowers most: traffic is easy for the greater part."""
_NUMBER: Final = "Give the number only."
_LETTER: Final = "Answer with the letter only."
_YES: Final = "Answer yes or no."
_REFUSAL: Final = "I'm sorry, but I can't work that out."
_NAMES: Final = ("Ada", "Bruno", "Chen", "Dora", "Emil", "Farah", "Goran", "Hana", "Ivo", "Jana", "Kofi", "Lena")
_PLACES: Final = ("Porto", "Gdansk", "Lyon", "Turku", "Ghent", "Split", "Malaga", "Bergen", "Graz", "Tartu")
_GOODS: Final = ("apples", "lamps", "chairs", "books", "tickets", "bottles", "tiles", "candles")
_WORDS: Final = (
    *("anchor", "barley", "candle", "dragon", "ember", "falcon", "garnet", "harbor", "island", "jungle"),
    *("kettle", "lantern", "marble", "nectar", "orchid", "pepper", "quartz", "ribbon", "saddle", "timber"),
)


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """One question."""

    kind: str
    """What it asks for."""
    wordings: tuple[str, ...]
    """Ways to ask it; the first is the usual one."""
    answer: str
    """The right answer, as a model says it."""
    wrong: tuple[str, ...]
    """Answers that are wrong, as models give them."""
    difficulty: float
    """0 is easy, 1 is hard."""
    format: str = ""
    """`json_object` where the answer is to be one."""

    @property
    def prompt(self) -> str:
        """The usual wording."""
        return self.wordings[0]


class _Draft(msgspec.Struct, frozen=True, gc=False):
    wordings: tuple[str, ...]
    answer: str
    wrong: tuple[str, ...]
    shown: float
    format: str = ""


def questions(count: int, *, seed: int) -> list[Question]:
    """So many different ones; the same for the same seed."""
    source = random.Random(seed)  # noqa: S311 - questions, no secrets
    made: dict[str, Question] = {}
    while len(made) < count:
        kind = source.choice(tuple(_KINDS))
        draft = _KINDS[kind](source)
        difficulty = ((1 - _LUCK) * draft.shown + _LUCK * source.random()) ** _MOSTLY_EASY
        question = Question(
            kind=kind,
            wordings=draft.wordings,
            answer=draft.answer,
            wrong=draft.wrong,
            difficulty=round(difficulty, 4),
            format=draft.format,
        )
        made.setdefault(question.prompt, question)
    return list(made.values())


def labels(made: list[Question]) -> list[Label]:
    """What the simulator must know of them: every wording, all answered alike."""
    return [
        Label(
            prompt=wording,
            answer=one.answer,
            wrong=one.wrong,
            difficulty=one.difficulty,
            same_as=one.prompt,
            terse=True,
        )
        for one in made
        for wording in one.wordings
    ]


def agrees(said: str, one: Question) -> bool:
    """Whether an answer that was given is the right one: as JSON where it is JSON, else to the letter."""
    text = said.strip().removesuffix(".")
    if not one.format:
        return text.casefold() == one.answer.casefold()
    try:
        return bool(json.loads(text) == json.loads(one.answer))
    except ValueError:
        return False


# The kinds


def _numbers_like(source: random.Random, right: int) -> tuple[str, ...]:
    """Slips: a digit, a sign, a factor; and giving up."""
    near = {right + source.choice((-1, 1)) * source.choice((1, 2, 10, 9, 90, 100)) for _ in range(4)}
    slips = sorted({*near, right * 10, right + source.randint(11, 89)} - {right})
    return (*map(str, slips), _REFUSAL)


def _sum(source: random.Random) -> _Draft:
    digits, steps = source.randint(1, 4), source.randint(1, 3)
    numbers = [source.randint(10 ** (digits - 1), 10**digits - 1) for _ in range(steps + 1)]
    signs = [source.choice("+-*") for _ in range(steps)]
    told = str(numbers[0]) + "".join(f" {sign} {number}" for sign, number in zip(signs, numbers[1:], strict=True))
    right = numbers[0]
    products: list[int] = [numbers[0]]
    for sign, number in zip(signs, numbers[1:], strict=True):
        if sign == "*":
            products[-1] *= number
        else:
            products.append(number if sign == "+" else -number)
    right = sum(products)
    shown = min(1.0, 0.1 * digits + 0.2 * (steps - 1) + 0.12 * signs.count("*") * digits)
    wordings = (f"What is {told}? {_NUMBER}", f"Compute {told}. {_NUMBER}", f"How much is {told}? {_NUMBER}")
    return _Draft(wordings, str(right), _numbers_like(source, right), shown)


def _story(source: random.Random) -> _Draft:
    """A purchase with one to four steps."""
    name, place, goods = source.choice(_NAMES), source.choice(_PLACES), source.choice(_GOODS)
    steps = source.randint(1, 4)
    boxes, each, price = source.randint(2, 19), source.randint(3, 24), source.randint(2, 15)
    right = boxes * each
    told = [f"{name} packs {goods} in {place}: {boxes} boxes of {each}"]
    if steps > 1:
        broken = source.randint(1, each)
        right -= broken
        told.append(f"{broken} of them break")
    if steps > 2:  # noqa: PLR2004 - steps are counted
        right *= price
        told.append(f"each of the rest is sold for {price} euros")
    if steps > 3:  # noqa: PLR2004
        rent = source.randint(5, 60)
        right -= rent
        told.append(f"{rent} euros go to the landlord")
    asked = "How many euros are left" if steps > 2 else f"How many {goods} are there in the end"  # noqa: PLR2004
    wordings = (
        f"{'; '.join(told)}. {asked}? {_NUMBER}",
        f"Here is a small problem. {'. '.join(told)}. {asked}? {_NUMBER}",
    )
    return _Draft(wordings, str(right), _numbers_like(source, right), 0.2 + 0.25 * (steps - 1))


def _choice(source: random.Random) -> _Draft:
    """One of four words by its place in the alphabet."""
    words = source.sample(_WORDS, 4)
    place = source.randint(1, 4)
    told = ("first", "second", "third", "last")[place - 1]
    right = "ABCD"[words.index(sorted(words)[place - 1])]
    options = "\n".join(f"{letter}. {word}" for letter, word in zip("ABCD", words, strict=True))
    wordings = (
        f"Which of these words comes {told} in the alphabet?\n{options}\n{_LETTER}",
        f"Sort these words by the alphabet. Which one is {told}?\n{options}\n{_LETTER}",
    )
    shown = {1: 0.15, 4: 0.35, 2: 0.6, 3: 0.7}[place]
    return _Draft(wordings, right, tuple(letter for letter in "ABCD" if letter != right), shown)


def _divides(source: random.Random) -> _Draft:
    """Divisibility: yes or no, so that two who are wrong agree."""
    digits = source.randint(2, 6)
    divisor = source.choice((2, 3, 4, 5, 7, 9, 10, 11, 13))
    number = source.randint(10 ** (digits - 1), 10**digits - 1)
    number += -number % divisor if source.random() < 0.5 else 0  # noqa: PLR2004 - as often yes as no
    right = "yes" if number % divisor == 0 else "no"
    shown = (0.0 if divisor in {2, 5, 10} else 0.35 if divisor in {3, 4, 9} else 0.6) + 0.06 * digits
    wordings = (
        f"Is {number} divisible by {divisor}? {_YES}",
        f"Can {number} be divided by {divisor} without remainder? {_YES}",
    )
    return _Draft(wordings, right, ("no" if right == "yes" else "yes",), shown)


def _extract(source: random.Random) -> _Draft:
    """A name, a place and a sum out of a note, the more people in it the harder."""
    people = source.randint(1, 4)
    names, places = source.sample(_NAMES, people), source.sample(_PLACES, people)
    sums = [source.randint(12, 980) for _ in names]
    told = ". ".join(f"{name} from {place} paid {euros} euros" for name, place, euros in zip(names, places, sums, strict=True))  # fmt: skip  # noqa: E501
    at = source.randrange(people)
    right = {"name": names[at], "city": places[at], "euros": sums[at]}
    others = [
        {"name": names[at], "city": places[(at + 1) % people], "euros": sums[at] + source.choice((-10, 1, 10))},
        {"name": names[(at + 1) % people], "city": places[at], "euros": sums[(at + 1) % people] + 1},
        {"name": names[at], "city": places[at], "euros": sums[at] * 10},
    ]
    asked = f"Give name, city and euros of {names[at]}'s payment as JSON"
    return _Draft(
        (f"{asked}.\nNote: {told}.", f"Read this note: {told}.\n{asked}, nothing else."),
        json.dumps(right),
        (*(json.dumps(one) for one in others), json.dumps(others[0]).replace('"city": "', '"city": ').rstrip("}")),
        0.1 + 0.22 * (people - 1),
        "json_object",
    )


_UNITS: Final = {
    ("kilometres", "metres"): 1_000,
    ("hours", "minutes"): 60,
    ("hours", "seconds"): 3_600,
    ("kilograms", "grams"): 1_000,
    ("days", "hours"): 24,
    ("weeks", "hours"): 168,
}


def _convert(source: random.Random) -> _Draft:
    (large, small), factor = source.choice(tuple(_UNITS.items()))
    count = source.randint(2, 99)
    rest = source.randint(1, factor - 1) if source.random() < 0.5 else 0  # noqa: PLR2004 - as often with a rest
    told = f"{count} {large}" + (f" and {rest} {small}" if rest else "")
    right = count * factor + rest
    shown = (0.1 if factor in {60, 1_000} else 0.4) + (0.3 if rest else 0.0) + (0.1 if count > 20 else 0.0)  # noqa: PLR2004
    wordings = (
        f"How many {small} are {told}? {_NUMBER}",
        f"Convert {told} to {small}. {_NUMBER}",
        f"Express {told} in {small}. {_NUMBER}",
    )
    return _Draft(wordings, str(right), _numbers_like(source, right), shown)


_KINDS: Final[dict[str, Callable[[random.Random], _Draft]]] = {
    "sum": _sum,
    "story": _story,
    "choice": _choice,
    "divides": _divides,
    "extract": _extract,
    "convert": _convert,
}
