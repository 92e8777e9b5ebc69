"""The same request again: kept answers by key, within bounds, the one used longest ago leaving first."""

from collections import OrderedDict
from typing import NamedTuple

import msgspec


class Kept(msgspec.Struct, frozen=True, gc=False):
    """An answer that was kept."""

    answer_id: str
    """Its id."""
    tenant_id: str
    """The tenant."""
    route: str
    """Route of the gateway."""
    key: bytes
    """Key of the request."""
    knowledge: str
    """Versions of the knowledge it rests on, the operator's and the caller's."""
    reply: bytes
    """As `replies.kept_form` makes it."""
    provider: str
    """Provider of the call that made it."""
    model: str
    """Model that made it."""
    at_us: int
    """When it was kept, µs UTC."""

    def size_bytes(self) -> int:
        """About what it takes."""
        return len(self.reply) + 512


class Purge(NamedTuple):
    """What shall be gone: a tenant's answers up to an instant, or one of them, or those of one knowledge version."""

    tenant_id: str
    answer_id: str | None
    knowledge: str | None
    at_us: int

    def concerns(self, kept: Kept) -> bool:
        """Whether it is about this answer."""
        return (
            kept.tenant_id == self.tenant_id
            and kept.at_us <= self.at_us
            and self.answer_id in {None, kept.answer_id}
            and (self.knowledge is None or self.knowledge in kept.knowledge.split("\n"))
        )


class Exact:
    """All tenants' answers. Used by one thread."""

    def __init__(self, *, tenant_entries: int, total_bytes: int) -> None:
        self._tenant_entries = tenant_entries
        self._total_bytes = total_bytes
        self._tenants: dict[str, OrderedDict[bytes, Kept]] = {}
        self.bytes = 0
        """What the answers take, about."""

    def __len__(self) -> int:
        return sum(map(len, self._tenants.values()))

    def get(self, tenant_id: str, key: bytes, *, oldest_us: int) -> Kept | None:
        """The answer, if it is there and not too old."""
        kept_ones = self._tenants.get(tenant_id)
        kept = kept_ones.get(key) if kept_ones is not None else None
        if kept is None or kept_ones is None:
            return None
        if kept.at_us < oldest_us:
            return None
        kept_ones.move_to_end(key)
        return kept

    def put(self, kept: Kept) -> None:
        """Keep it in the place of an older one of its key."""
        kept_ones = self._tenants.setdefault(kept.tenant_id, OrderedDict())
        before = kept_ones.get(kept.key)
        if before is not None:
            if before.at_us >= kept.at_us:
                return
            self._remove(before)
        elif len(kept_ones) >= self._tenant_entries:
            self._remove(next(iter(kept_ones.values())))
        kept_ones[kept.key] = kept
        self.bytes += kept.size_bytes()
        while self.bytes > self._total_bytes and len(self) > 1:
            largest = max(self._tenants.values(), key=len)
            self._remove(next(iter(largest.values())))

    def _remove(self, kept: Kept) -> None:
        del self._tenants[kept.tenant_id][kept.key]
        self.bytes -= kept.size_bytes()

    def purge(self, purge: Purge) -> int:
        """What it concerns is gone; how many answers that were."""
        gone = [kept for kept in self._tenants.get(purge.tenant_id, {}).values() if purge.concerns(kept)]
        for kept in gone:
            self._remove(kept)
        return len(gone)
