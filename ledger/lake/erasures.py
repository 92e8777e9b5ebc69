"""Whose rows were removed: a list that outlives the rows, so that nobody who was erased comes back from the log."""

import os
from pathlib import Path

import msgspec

from ledger.lake.layout import ERASURES


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """One data subject, as nobody can read it."""

    tenant: str
    """Hash of the tenant."""
    user_hash: str
    """Keyed hash of the user."""
    erased_at_us: int
    """Rows of calls up to this instant, µs UTC, are gone."""


class Erased:
    """All of them, to be asked row by row."""

    def __init__(self, erasures: list[Erasure]) -> None:
        self._until_us: dict[tuple[str, str], int] = {}
        for one in erasures:
            key = one.tenant, one.user_hash
            self._until_us[key] = max(one.erased_at_us, self._until_us.get(key, one.erased_at_us))

    def __bool__(self) -> bool:
        return bool(self._until_us)

    def covers(self, tenant: str, user_hash: str | None, *, at_us: int) -> bool:
        """Whether a row of this user and time must not be there."""
        if user_hash is None:
            return False
        until_us = self._until_us.get((tenant, user_hash))
        return until_us is not None and at_us <= until_us


def read_erasures(lake: Path) -> Erased:
    """What the lake's list says."""
    try:
        lines = (lake / ERASURES).read_bytes().splitlines()
    except FileNotFoundError:
        return Erased([])
    return Erased([msgspec.json.decode(line, type=Erasure) for line in lines if line.strip()])


def add_erasure(lake: Path, erasure: Erasure) -> None:
    """One more, durable when this returns."""
    with (lake / ERASURES).open("ab") as file:
        file.write(msgspec.json.encode(erasure) + b"\n")
        file.flush()
        os.fsync(file.fileno())
