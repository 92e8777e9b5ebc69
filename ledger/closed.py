"""Which months of which tenants are closed, as the writer knows it while it writes.

A close and a batch never overlap: whoever closes waits for the batch that is being written, and the next batch sees
what was closed. So everything that is posted to a closed month after its close is posted as a correction.
"""

from bisect import bisect_right
from collections.abc import Iterable
from typing import Final

from ledger.database import Connection

LOCK: Final = "SELECT pg_advisory_xact_lock(hashtext('tokenledger periods'))"
"""Held by whoever closes, from before the newest batch is looked up until the close is committed."""
_SHARE: Final = "SELECT pg_advisory_xact_lock_shared(hashtext('tokenledger periods'))"
_COUNT: Final = "SELECT count(*) FROM periods"
_ALL: Final = "SELECT tenant_id, starts_us, ends_us FROM periods"


class Closed:
    """Closed months; empty for a ledger in which none is."""

    def __init__(self, months: Iterable[tuple[str, int, int]] = ()) -> None:
        self._of: dict[str, list[tuple[int, int]]] = {}
        for tenant_id, starts_us, ends_us in sorted(months):
            self._of.setdefault(tenant_id, []).append((starts_us, ends_us))
        self.count = sum(map(len, self._of.values()))
        self.before_us = max((ends_us for spans in self._of.values() for _, ends_us in spans), default=-(2**63))
        """No instant from then on is in a closed month: one comparison spares nearly every call the look-up."""

    def holds(self, tenant_id: str, at_us: int) -> bool:
        """Whether that instant of the tenant is in a closed month."""
        spans = self._of.get(tenant_id)
        if spans is None:
            return False
        place = bisect_right(spans, (at_us, 2**63)) - 1
        return place >= 0 and at_us < spans[place][1]


def closed_now(connection: Connection, known: Closed) -> Closed:
    """The closed months, for the length of the transaction: no month is closed before it ends."""
    connection.execute(_SHARE)
    # Months are only ever closed, so their number says whether there is anything new.
    row = connection.execute(_COUNT).fetchone()
    return known if row is not None and row[0] == known.count else read_closed(connection)


def read_closed(connection: Connection) -> Closed:
    """The closed months, read whole."""
    return Closed((tenant_id, starts_us, ends_us) for tenant_id, starts_us, ends_us in connection.execute(_ALL))
