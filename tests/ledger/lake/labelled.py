"""A labelled set for redaction, and how well it is found: recall and precision of each entity."""

import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from ledger.lake.redaction import Redactor
from ledger.lake.redaction.finding import Finding

_MARK = re.compile(r"\[\[([A-Z_]+):(.*?)\]\]")
_FILE = Path(__file__).with_name("labelled.txt")
NOT_COVERED = frozenset({"PERSON", "ADDRESS"})
"""Entities that patterns cannot find; a recogniser of names must be given."""


class Labelled(NamedTuple):
    """A text and what is in it."""

    text: str
    entities: tuple[Finding, ...]


class Score(NamedTuple):
    """How well one entity is found."""

    marked: int
    hidden: int
    """Marked, and no letter of it is left."""
    found: int
    right: int
    """Found, and marked as what it was found to be."""

    @property
    def recall(self) -> float:
        """Share of what is marked that is hidden."""
        return self.hidden / self.marked if self.marked else 1.0

    @property
    def precision(self) -> float:
        """Share of what was found that is marked as just that."""
        return self.right / self.found if self.found else 1.0


def labelled() -> list[Labelled]:
    lines = _FILE.read_text(encoding="utf-8").splitlines()
    return [_parsed(line) for line in lines if line and not line.startswith("#")]


def _parsed(line: str) -> Labelled:
    entities, pieces, at, length = [], [], 0, 0
    for match in _MARK.finditer(line):
        pieces += [line[at : match.start()], match[2]]
        length += match.start() - at
        entities.append(Finding(length, length + len(match[2]), match[1], 1.0))
        length += len(match[2])
        at = match.end()
    return Labelled("".join([*pieces, line[at:]]), tuple(entities))


def scores(redactor: Redactor, texts: list[Labelled]) -> dict[str, Score]:
    """Hidden is what counts for a person, whatever it was taken for; precision asks for the right name."""
    marked, hidden, found, right = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    for one in texts:
        findings = redactor.findings(one.text)
        for entity in one.entities:
            marked[entity.entity] += 1
            hidden[entity.entity] += any(f.start <= entity.start and entity.end <= f.end for f in findings)
        for finding in findings:
            found[finding.entity] += 1
            right[finding.entity] += any(
                finding.entity == e.entity and finding.start < e.end and e.start < finding.end for e in one.entities
            )
    return {
        entity: Score(marked[entity], hidden[entity], found[entity], right[entity])
        for entity in sorted(marked.keys() | found.keys())
    }
