"""Which raw offsets were seen: a bitmap per chunk of 65536, loaded when touched, stored as a multirange."""

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

CHUNK: Final = 1 << 16
_KEPT_CHUNKS: Final = 512

Chunk = tuple[str, int, int]
Ranges = list[tuple[int, int]]
"""Topic, partition, chunk number."""


class Seen:
    """Marks offsets within a batch; `commit` keeps the marks, `rollback` forgets them."""

    def __init__(self, load: Callable[[Chunk], Ranges]) -> None:
        self._load = load
        self._chunks: dict[Chunk, bytearray] = {}
        self._touched: dict[Chunk, bytearray] = {}

    def mark(self, topic: str, partition: int, offset: int) -> bool:
        """Whether this offset is new; it is not from now on."""
        chunk = (topic, partition, offset >> 16)
        marks = self._touched.get(chunk)
        if marks is None:
            marks = self._touched[chunk] = self._copy(chunk)
        index = offset & 0xFFFF
        if marks[index]:
            return False
        marks[index] = 1
        return True

    def touched(self) -> Iterator[tuple[Chunk, Ranges]]:
        """What to store of every chunk that this batch marked."""
        for chunk, marks in self._touched.items():
            yield chunk, _ranges(marks, first=chunk[2] * CHUNK)

    def commit(self) -> None:
        """The batch is in the ledger."""
        self._chunks.update(self._touched)
        self._touched = {}
        # The oldest go first; a chunk that is touched again comes back from the ledger.
        for chunk in list(self._chunks)[: max(len(self._chunks) - _KEPT_CHUNKS, 0)]:
            del self._chunks[chunk]

    def rollback(self) -> None:
        """The batch is not in the ledger."""
        self._touched = {}

    def _copy(self, chunk: Chunk) -> bytearray:
        if (known := self._chunks.pop(chunk, None)) is not None:
            self._chunks[chunk] = known
            return bytearray(known)
        marks = bytearray(CHUNK)
        for start, end in self._load(chunk):
            first = chunk[2] * CHUNK
            marks[start - first : end - first] = b"\1" * (end - start)
        return marks


def _ranges(marks: bytearray, *, first: int) -> Ranges:
    """Half-open ranges of the offsets that are marked."""
    padded = np.zeros(len(marks) + 2, dtype=np.int8)
    padded[1:-1] = np.frombuffer(marks, dtype=np.int8)
    edges = (np.flatnonzero(np.diff(padded)) + first).tolist()
    return list(zip(edges[::2], edges[1::2], strict=True))
