"""What Presidio's and our recognisers find in a text, and whether it counts.

A recogniser is asked only where a cheap look found letters it could begin with, and of a piece of text at a time: no
input makes it slow.
"""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from ledger.lake.redaction.finding import Finding

if TYPE_CHECKING:
    from ledger.lake.redaction.rules import Rule

PIECE_CHARS: Final = 4_096
"""Text is looked at in pieces: some patterns take time quadratic in what they are given."""
OVERLAP_CHARS: Final = 256
"""Longer than anything that is looked for here."""
_BEFORE_CHARS: Final = 60
_AFTER_CHARS: Final = 24


_ANYTHING: Final = re.compile(
    r"@|\d[\d ./-]*\d|[\da-fA-F]:[\da-fA-F]|:[\da-fA-F]{0,4}:|(?:bc1|[13])[a-zA-HJ-NP-Z0-9]{25}"
)


def patterns(text: str) -> Iterator[Finding]:
    """Everything in a text that a recogniser found and that counts."""
    step = PIECE_CHARS - OVERLAP_CHARS
    for first in range(0, max(len(text) - OVERLAP_CHARS, 1), step):
        piece = text[first : first + PIECE_CHARS]
        if _ANYTHING.search(piece):
            for one in _in_piece(piece):
                yield one._replace(start=one.start + first, end=one.end + first)


def _in_piece(piece: str) -> Iterator[Finding]:
    from ledger.lake.redaction.rules import NEVER, rules

    for rule in rules():
        if not rule.hint.search(piece) or (rule.alone == NEVER and rule.words and not rule.words.search(piece)):
            continue
        entity = rule.recogniser.supported_entities[0]
        for found in rule.recogniser.analyze(piece, [entity], None):
            believed = _believed(rule, piece, found=found)
            if believed is not None and not _is_part(piece, found):
                yield Finding(found.start, found.end, entity, believed)


def _believed(rule: "Rule", piece: str, *, found: Any) -> float | None:
    """The score it counts with, raised by a word beside it; None if it does not count."""
    if rule.words is not None and found.score >= rule.beside:
        around = piece[max(found.start - _BEFORE_CHARS, 0) : found.start], piece[found.end : found.end + _AFTER_CHARS]
        if any(rule.words.search(side) for side in around):
            return min(float(found.score) + 0.4, 1.0)
    return float(found.score) if found.score >= rule.alone else None


def _is_part(piece: str, found: Any) -> bool:
    """Whether it is a piece of a longer number or word, which is something else."""
    before, after = piece[found.start - 1 : found.start], piece[found.end : found.end + 1]
    first, last = piece[found.start], piece[found.end - 1]
    return (before.isalnum() and first.isalnum()) or (after.isalnum() and last.isalnum())
