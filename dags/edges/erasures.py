"""Users whose rows no version may hold: a list that is only ever added to. An edge: it reads and writes a file."""

from pathlib import Path
from typing import Final

import msgspec

from dags.edges import workshop

_FILE: Final = "erasures.jsonl"


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """One request."""

    tenant_id: str
    """Tenant of the user."""
    user_hash: str
    """Keyed hash of the user, as in the lake."""


def listed(datasets: Path) -> list[Erasure]:
    """Every request, the oldest first."""
    try:
        lines = (datasets / _FILE).read_bytes().splitlines()
    except FileNotFoundError:
        return []
    return [msgspec.json.decode(line, type=Erasure) for line in lines]


def erased(datasets: Path) -> frozenset[tuple[str, str]]:
    """(tenant, user) that are not to be read."""
    return frozenset((one.tenant_id, one.user_hash) for one in listed(datasets))


def add(datasets: Path, erasure: Erasure) -> bool:
    """Remember a request; False where it was known."""
    known = listed(datasets)
    if erasure in known:
        return False
    workshop.replace(datasets / _FILE, b"".join(msgspec.json.encode(one) + b"\n" for one in (*known, erasure)))
    return True
