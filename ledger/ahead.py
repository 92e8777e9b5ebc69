"""Makes the next item while the last one is worked on: the writer decodes while it waits for Postgres."""

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Ahead(Generic[T]):
    """Calls `make` in a thread, one item ahead; an exception of it is raised where the item would have come."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._items: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(maxsize=1)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ahead", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                item: tuple[T | None, BaseException | None] = (self._make(), None)
            except BaseException as error:  # noqa: BLE001  (it is raised again by the reader)
                item = (None, error)
            self._items.put(item)
            if item[1] is not None:
                return

    def __iter__(self) -> Iterator[T]:
        """Items until `make` raises; StopIteration ends them quietly."""
        while True:
            item, error = self._items.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item  # type: ignore[misc]  # T may itself allow None, so None says nothing

    def stop(self) -> None:
        """Make no more; what was made is dropped."""
        self._stopped.set()
        while self._thread.is_alive():
            try:
                self._items.get(timeout=0.05)
            except queue.Empty:
                continue
