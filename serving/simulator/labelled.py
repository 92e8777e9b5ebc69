"""Labelled pairs of a CSV file as labels, where what a tier says is made up, and made questions as labelled pairs."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TextIO

from serving.router.pairs import Columns, Pair
from serving.router.pairs import read as read_pairs
from serving.simulator.answering import Label, is_right, share
from serving.simulator.config import Tier
from serving.simulator.questions import Question, labels

_LETTERS: Final = "ABCD"
_CHOICE: Final = re.compile(r"^A[.)] .*^B[.)] ", re.MULTILINE | re.DOTALL)
_MOST: Final = 500
_RIGHT_FROM: Final = 0.5


def read(path: Path, tiers: Sequence[str]) -> list[Label]:
    """A label a prompt; `tiers` are NAME=COLUMN, the strongest last. Raises ValueError."""
    columns = dict(tier.partition("=")[::2] for tier in tiers)
    return [_label(pair, tuple(columns)) for pair in read_pairs([path], Columns(tiers=columns))]


def write_pairs(file: TextIO, made: Sequence[Question], *, tiers: Sequence[Tier], named: Sequence[str]) -> None:
    """What `tokenledger router train` takes: prompt, group, and per NAME=TIER whether that tier is right."""
    fleet = {tier.name: tier for tier in tiers}
    columns = dict(one.partition("=")[::2] for one in named)
    if unknown := next((tier for tier in columns.values() if tier not in fleet), None):
        raise ValueError(f"--graded names tier {unknown!r}; tiers are: {', '.join(fleet)}")
    known = {label.prompt: label for label in labels(list(made))}
    rows = csv.writer(file)
    rows.writerow(("prompt", "group", *columns))
    for one in made:
        right = (is_right(one.prompt, fleet[tier], label=known[one.prompt]) for tier in columns.values())
        rows.writerow((one.prompt, one.kind, *map(int, right)))


def _label(pair: Pair, tiers: tuple[str, ...]) -> Label:
    """A letter where the prompt has options, else a number; both by hash, as the files hold no answers.

    A tier that the file does not name finds a prompt as hard as the share of named ones that failed.
    """
    text = pair.prompt.text
    draw = share("answer", text)
    if _CHOICE.search(text):
        answer = _LETTERS[int(draw * len(_LETTERS))]
        wrong = tuple(letter for letter in _LETTERS if letter != answer)
    else:
        answer = str(int(draw * _MOST))
        wrong = tuple(str(int(answer) + slip) for slip in (1, 2, 10, 17, 100))
    right = {tier: quality >= _RIGHT_FROM for tier, quality in zip(tiers, pair.qualities, strict=True)}
    failed = sum(not held for held in right.values()) / len(right)
    return Label(prompt=text, answer=answer, wrong=wrong, difficulty=failed, right=right, terse=True)
