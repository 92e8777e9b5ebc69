"""What the one writer knows of its ledger between batches: numbers to give, offsets, origins.

All of it is read from the ledger when a connection opens, so a writer that dies forgets nothing.
"""

from collections.abc import Callable, Hashable
from itertools import count
from threading import Lock
from typing import Final, Generic, NamedTuple, TypeVar

from ledger.charging import Values
from ledger.closed import Closed
from ledger.seen import Seen

_DAY_US: Final = 24 * 3600 * 1_000_000


V = TypeVar("V", bound=Hashable)


class Numbers(Generic[V]):
    """Gives every distinct value a number, once, to any thread; a batch that fails gives its numbers back."""

    def __init__(self, known: dict[V, int]) -> None:
        self._known = known
        self._lock = Lock()
        self._next = max(known.values(), default=0) + 1
        self.fresh: dict[V, int] = {}
        """Values that this batch saw first."""
        self._written = 0

    def number(self, value: V) -> int:
        """The number of this value."""
        return self._known.get(value) or self._numbered(value)

    def _numbered(self, value: V) -> int:
        with self._lock:
            if value not in self._known:
                self._known[value] = self.fresh[value] = self._next
                self._next += 1
            return self._known[value]

    def take_unwritten(self) -> list[tuple[V, int]]:
        """The fresh ones that no part of this batch has written yet."""
        with self._lock:
            unwritten = list(self.fresh.items())[self._written :]
            self._written = len(self.fresh)
            return unwritten

    def commit(self) -> None:
        """The fresh ones are in the ledger."""
        self.fresh = {}
        self._written = 0

    def rollback(self) -> None:
        """They are not."""
        for value in self.fresh:
            del self._known[value]
        self._next -= len(self.fresh)
        self.fresh = {}
        self._written = 0


class Numbered(NamedTuple):
    """Numbers that were given, as the ledger has them."""

    dimensions: dict[Values, int]
    """Dimension values → `dim_no`."""
    rates: dict[tuple[str, Values], int]
    """Tenant and rate → `rate_no`."""
    books: dict[str, int]
    """Book version → `book_no`."""


class State:
    """The writer's memory; only `commit` makes a batch's share of it stay."""

    def __init__(
        self, *, next_id: int, posted_at_us: int, offsets: dict[tuple[str, int], int], numbered: Numbered, seen: Seen
    ) -> None:
        self._ids = count(next_id)
        self._committed_id = next_id
        self.posted_at_us = posted_at_us
        self.newest_us = posted_at_us
        """The newest batch in the ledger; `posted_at_us` may be of one that failed."""
        self.offsets = offsets
        self.dimensions = Numbers(numbered.dimensions)
        self.rates = Numbers(numbered.rates)
        self.books = Numbers(numbered.books)
        self.seen = seen
        self.closed = Closed()
        """Closed months, as of this batch."""
        self._days: set[tuple[str, int]] = set()
        self._fresh_days: set[tuple[str, int]] = set()

    def make_months(self, table: str, instants_us: set[int], make: Callable[[list[int]], None]) -> None:
        """Have the partitions made that these instants need, unless this writer had them made before."""
        days = {(table, at_us // _DAY_US) for at_us in instants_us} - self._days - self._fresh_days
        if days:
            make(sorted(day * _DAY_US for _, day in days))
            self._fresh_days |= days

    def take_id(self) -> int:
        """A number no call or posting has; any thread may take one."""
        return next(self._ids)

    def next_id(self) -> int:
        """Where this batch leaves off: the next numbers begin here. No thread may take one meanwhile."""
        reached = next(self._ids)
        self._ids = count(reached)
        return reached

    def begin(self, now_us: int) -> int:
        """The instant of the next batch: now, but after every earlier one."""
        self.posted_at_us = max(now_us, self.posted_at_us + 1)
        return self.posted_at_us

    def commit(self, offsets: dict[tuple[str, int], int]) -> None:
        """The batch is in the ledger."""
        self.offsets.update(offsets)
        self._days |= self._fresh_days
        self._fresh_days = set()
        self._committed_id = self.next_id()
        self.newest_us = self.posted_at_us
        for part in (self.dimensions, self.rates, self.books, self.seen):
            part.commit()

    def rollback(self) -> None:
        """It is not."""
        self._ids = count(self._committed_id)
        self._fresh_days = set()
        for part in (self.dimensions, self.rates, self.books, self.seen):
            part.rollback()
