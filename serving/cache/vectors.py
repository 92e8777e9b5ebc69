"""The vectors of one partition in one matrix, searched whole: no index, so no recall to lose."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_FIRST_ROWS: Final = 4


class Shelf:
    """Rows by number; the last takes the place of one that goes."""

    __slots__ = ("_count", "_rows", "names")

    def __init__(self, dimensions: int) -> None:
        self._rows: Floats = np.empty((_FIRST_ROWS, dimensions), dtype=np.float32)
        self._count = 0
        self.names: list[str] = []
        """Name of each row."""

    def __len__(self) -> int:
        return self._count

    def add(self, name: str, vector: Floats) -> None:
        """One more row."""
        if self._count == len(self._rows):
            grown = np.empty((2 * self._count, self._rows.shape[1]), dtype=np.float32)
            grown[: self._count] = self._rows
            self._rows = grown
        self._rows[self._count] = vector
        self._count += 1
        self.names.append(name)

    def remove(self, name: str) -> None:
        """That row goes."""
        at = self.names.index(name)
        self._count -= 1
        last = self.names.pop()
        if at < self._count:
            self._rows[at] = self._rows[self._count]
            self.names[at] = last

    def nearest(self, vector: Floats, most: int) -> list[tuple[str, float]]:
        """Name and cosine similarity of the nearest rows, nearest first."""
        if not self._count:
            return []
        found = self._rows[: self._count] @ vector
        if self._count > most:
            best = np.argpartition(found, self._count - most)[self._count - most :]
        else:
            best = np.arange(self._count)
        order = best[np.argsort(-found[best], kind="stable")]
        return [(self.names[at], float(found[at])) for at in order]
