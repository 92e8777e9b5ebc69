"""What a version of a dataset is: its recipe, what it was made from, its files. The same manifest, the same bytes.

It holds no clock: when it was made is the folder's time and the lineage event's. Its version is a hash of everything
that decides the bytes.
"""

import hashlib
from typing import Final

import msgspec

from dags.core.recipe import RULES, Recipe

FORMAT: Final = 1
_JSON: Final = msgspec.json.Encoder(order="deterministic")


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """The captured calls it was made from."""

    tenants: tuple[str, ...]
    """Tenants that were asked for."""
    since_us: int | None
    """Calls from then on, µs UTC; None is from the first."""
    until_us: int | None
    """Calls before then; None is to the last."""
    calls: int
    """Calls read."""
    digest: str
    """SHA-256 over the calls and their scores, in the order of their keys: how files are cut makes no difference."""


class FileFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a version."""

    path: str
    """Its name."""
    rows: int
    """Rows in it."""
    size_bytes: int
    """Its size."""
    sha256: str
    """Its hash."""


class Growth(msgspec.Struct, frozen=True, kw_only=True):
    """Where a version came from when it was not built from the lake."""

    parent: str
    """The version before it."""
    why: str
    """`erasure`, `review`."""
    rows: int
    """Rows that were added; below 0, taken away."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """One immutable version."""

    format: int = FORMAT
    """Version of this record."""
    name: str
    """The dataset."""
    version: str
    """Hash of what decides its bytes."""
    kind: str
    """`finetune`, `eval`, `router_pairs` or `golden`."""
    rules: str = RULES
    """Version of the rules."""
    recipe: Recipe | None
    """How it was made; None for a golden set, which grows by review."""
    source: Source | None
    """What from; None for a golden set."""
    against: dict[str, str] = {}
    """Dataset → version it was checked against for leakage."""
    growth: Growth | None = None
    """Where it came from otherwise."""
    counts: dict[str, int]
    """Operations read, rows written by kind, and what was left out, by kind and reason."""
    files: tuple[FileFacts, ...]
    """Its files; the manifest and the card aside."""

    @property
    def rows(self) -> int:
        """Rows of data."""
        return sum(file.rows for file in self.files if file.path not in {INDEX, REVIEWS})

    @property
    def id(self) -> str:
        """As it is named on the command line."""
        return f"{self.name}@{self.version}"


INDEX: Final = "index.jsonl"
"""One line a row: where it is, whose it is, which calls it was made from. No texts."""


REVIEWS: Final = "reviews.jsonl"
"""Of a golden set: who let which rows in, and why."""


def version_of(recipe: Recipe, source: Source, *, against: dict[str, str]) -> str:
    """The version that these inputs give."""
    return _short([FORMAT, RULES, recipe, source, against])


def grown_version(parent: str, why: str, *, files: tuple[FileFacts, ...]) -> str:
    """The version of a set that grew from another."""
    return _short([FORMAT, parent, why, files])


def _short(inputs: object) -> str:
    return hashlib.sha256(_JSON.encode(inputs)).hexdigest()[:16]


def encode(manifest: Manifest) -> bytes:
    """As it stands in the version's folder."""
    return msgspec.json.format(_JSON.encode(manifest)) + b"\n"


def decode(data: bytes) -> Manifest:
    """The reverse; raises msgspec.MsgspecError."""
    return msgspec.json.decode(data, type=Manifest)
