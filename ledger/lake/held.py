"""Rows read but not yet in the lake, a partition at a time, and how they are parted into files. Pure."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from ledger.lake import schema
from ledger.lake.erasures import Erased
from ledger.lake.layout import CALLS, TEXTS, Place, Span, place
from ledger.lake.schema import PlacedCall, PlacedText

_TABLE_OF: Final[dict[str, Callable[[Sequence[Any]], pa.Table]]] = {
    CALLS: schema.calls_table,
    TEXTS: schema.texts_table,
}


class Held:
    """What was read of one partition since its last range."""

    def __init__(self, topic: str, partition: int, *, next_offset: int) -> None:
        self.topic = topic
        self.partition = partition
        self.first = self.end = next_offset
        self.table = TEXTS
        self.size_bytes = 0
        self.records = 0
        self._pieces: list[pa.Table] = []
        self._places: list[Place] = []

    @property
    def span(self) -> Span:
        """The records that were read."""
        return Span(self.topic, self.partition, self.first, self.end)

    def read_to(self, end: int, records: int) -> None:
        """So far was read, whatever came of it."""
        self.end = max(self.end, end)
        self.records += records

    def add(self, table: str, rows: Sequence[PlacedCall] | Sequence[PlacedText]) -> None:
        """Rows in the order of their records, kept as columns: a fifth of what records take."""
        if not rows:
            return
        self.table = table
        piece = _TABLE_OF[table](rows)
        self._pieces.append(piece)
        self._places += [_place_of(table, row) for row in rows]
        self.size_bytes += piece.nbytes

    def parts(self, erased: Erased) -> list[tuple[Place, pa.Table]]:
        """A table for each folder, in the order of folders; without what was erased meanwhile."""
        if not self._pieces:
            return []
        whole = pa.concat_tables(self._pieces).combine_chunks()
        rows = _by_place(self._places)
        if len(rows) > 1:  # one reordering and many slices, instead of as many pickings as folders
            whole = whole.take(pa.array([row for where in sorted(rows) for row in rows[where]], pa.int64()))
        parted, first = [], 0
        for where in sorted(rows):
            part = without_erased(whole.slice(first, len(rows[where])), erased, where=where)
            first += len(rows[where])
            if len(part):
                parted.append((where, part))
        return parted

    def clear(self) -> None:
        """The range is in the lake; the next begins where it ended."""
        self.first = self.end
        self.size_bytes = self.records = 0
        self._pieces, self._places = [], []


def _by_place(places: Sequence[Place]) -> dict[Place, list[int]]:
    """Row numbers by folder. Places are mostly one object a folder, and an object's id costs nothing to hash."""
    by_object: dict[int, list[int]] = defaultdict(list)
    for row, where in enumerate(places):
        by_object[id(where)].append(row)
    found: dict[Place, list[int]] = defaultdict(list)
    for rows in by_object.values():
        found[places[rows[0]]] += rows
    return {where: sorted(rows) for where, rows in found.items()}


def _place_of(table: str, row: PlacedCall | PlacedText) -> Place:
    tenant_id = row.priced.call.tenant_id if isinstance(row, PlacedCall) else row.text.tenant_id
    return place(table, tenant_id, charged_at_us=row.charged_at_us)


def without_erased(table: pa.Table, erased: Erased, *, where: Place) -> pa.Table:
    """Texts of erased users go; their calls stay, as nobody's."""
    if not erased:
        return table
    hashes = table.column("user_hash").to_pylist()
    instants = table.column("charged_at_us").to_pylist()
    gone = [erased.covers(where.tenant, one, at_us=at) for one, at in zip(hashes, instants, strict=True)]
    if not any(gone):
        return table
    mask = pa.array(gone, pa.bool_())
    if where.table == TEXTS:
        return table.filter(pc.invert(mask))
    at = table.schema.get_field_index("user_hash")
    return table.set_column(at, "user_hash", pc.if_else(mask, pa.scalar(None, pa.string()), table.column("user_hash")))
