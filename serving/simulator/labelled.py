"""Labelled pairs of a CSV file as labels: which tier is right on which prompt is known, what it says is made up."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from serving.router.pairs import Columns, Pair
from serving.router.pairs import read as read_pairs
from serving.simulator.answering import Label, share

_LETTERS: Final = "ABCD"
_CHOICE: Final = re.compile(r"^A[.)] .*^B[.)] ", re.MULTILINE | re.DOTALL)
_MOST: Final = 500
_RIGHT_FROM: Final = 0.5


def read(path: Path, tiers: Sequence[str]) -> list[Label]:
    """A label a prompt; `tiers` are NAME=COLUMN, the strongest last. Raises ValueError."""
    columns = dict(tier.partition("=")[::2] for tier in tiers)
    return [_label(pair, tuple(columns)) for pair in read_pairs([path], Columns(tiers=columns))]


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
