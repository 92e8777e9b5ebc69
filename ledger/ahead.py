"""Makes the next item while the last one is worked on: the writer decodes while it waits for Postgres."""

import queue
import threading
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Generic, NamedTuple, Self, TypeVar

T = TypeVar("T")


class _End(NamedTuple):
    """No more items, and why."""

    error: BaseException | None


class Ahead(Generic[T]):
    """Iterates over items in a thread, one item ahead; what they raise is raised where the item would have come."""

    def __init__(self, items: Iterable[T]) -> None:
        self._source = items
        self._made: queue.Queue[T | _End] = queue.Queue(maxsize=1)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ahead", daemon=True)

    def __enter__(self) -> Self:
        """Start."""
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stop; what was made and not taken is dropped."""
        self._stopped.set()
        while self._thread.is_alive():
            try:
                self._made.get(timeout=0.01)
            except queue.Empty:
                continue

    def __iter__(self) -> Iterator[T]:
        """The items."""
        while not isinstance(item := self._made.get(), _End):
            yield item
        if item.error is not None:
            raise item.error

    def _run(self) -> None:
        end = _End(None)
        try:
            for item in self._source:
                if self._stopped.is_set():
                    return
                self._made.put(item)
        except BaseException as error:  # noqa: BLE001  (it is raised again where the item would have come)
            end = _End(error)
        self._made.put(end)
