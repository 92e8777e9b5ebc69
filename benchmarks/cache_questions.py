"""Streams of labelled questions for the semantic cache, with traps: near in an encoder, and of another answer.

A label is the answer: two questions of one label may share one. Traps come in pairs that differ in one thing only.
"""

import csv
import gzip
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple


class Labelled(NamedTuple):
    """A question and the answer it has."""

    text: str
    answer: str
    kind: str
    """`plain`, or the kind of trap."""


_TAILS: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "number": (
        (" within 12 days", " within 13 days"),
        (" for 3 people", " for 5 people"),
        (" of 150 euros", " of 1500 euros"),
    ),
    "entity": (
        (" in paris", " in london"),
        (" for Marlowe", " for Ellison"),
        (" with Acme", " with Umbrella"),
        (" from aunt vera", " from aunt rosa"),
    ),
    "unit": ((" in kilometers", " in miles"), (" in dollars", " in euros"), (" in minutes", " in hours")),
    "date": ((" on monday", " on tuesday"), (" in march", " in april"), (" on 2026-05-01", " on 2026-06-01")),
    "reversed": ((" from rome to berlin", " from berlin to rome"), (" from usd to eur", " from eur to usd")),
}
TRAPS: Final = ("negation", *_TAILS)
_AFTER: Final = frozenset(
    [
        "is",
        "are",
        "am",
        "was",
        "were",
        "do",
        "does",
        "did",
        "can",
        "could",
        "will",
        "would",
        "should",
        "has",
        "have",
        "i",
        "you",
        "it",
        "they",
        "we",
        "my",
        "the",
    ]
)


def negated(text: str) -> str:
    """The question with a `not` in it."""
    words = text.split()
    for at, word in enumerate(words):
        if word.lower() in _AFTER and at + 1 < len(words):
            return " ".join([*words[: at + 1], "not", *words[at + 1 :]])
    return f"do not {text}"


def trapped(question: Labelled, kind: str, draw: random.Random) -> list[Labelled]:
    """Two questions that differ in one thing, and their answers."""
    bare = question.text.rstrip(" ?.!")
    if kind == "negation":
        return [question, Labelled(negated(bare), f"{question.answer}/not", kind)]
    one, other = draw.choice(_TAILS[kind])
    return [
        Labelled(bare + one, f"{question.answer}/{one}", "plain"),
        Labelled(bare + other, f"{question.answer}/{other}", kind),
    ]


def stream(questions: list[Labelled], *, traps: int, seed: int) -> list[Labelled]:
    """The questions in a drawn order, with so many traps among them."""
    draw = random.Random(seed)
    chosen = draw.sample(questions, min(len(questions), traps))
    added = [one for at, question in enumerate(chosen) for one in trapped(question, TRAPS[at % len(TRAPS)], draw)]
    mixed = questions + added
    draw.shuffle(mixed)
    return mixed


def data_sets(folder: Path) -> Iterator[tuple[str, list[Labelled]]]:
    """CLINC150, BANKING77 and pairs of paraphrases, as far as the folder has them."""
    clinc = folder / "intents" / "clinc150.json.gz"
    if clinc.exists():
        with gzip.open(clinc) as file:
            lists = json.load(file)
        yield (
            "CLINC150",
            [Labelled(text, intent, "plain") for name in lists if "oos" not in name for text, intent in lists[name]],
        )
    banking = [folder / "intents" / f"banking77_{part}.csv" for part in ("train", "test")]
    if all(path.exists() for path in banking):
        yield "BANKING77", [Labelled(row["text"], row["category"], "plain") for path in banking for row in _rows(path)]
    pairs = folder / "cache_pairs" / "gptcache_mock_pairs.json"
    if pairs.exists():
        yield "paraphrases", _paraphrases(json.loads(pairs.read_text(encoding="utf-8")))


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _paraphrases(pairs: list[dict[str, str]]) -> list[Labelled]:
    """Sentences of one meaning share a label; one sentence may be in several pairs, whose sentences then all do."""
    label: dict[str, str] = {}
    for number, pair in enumerate(pairs):
        found = {label[text] for text in pair.values() if text in label}
        label |= dict.fromkeys((text for text, known in label.items() if known in found), str(number))
        label |= dict.fromkeys(pair.values(), str(number))
    return [Labelled(text, answer, "plain") for text, answer in label.items()]
