"""Work that must not hold up the loop: one thread, one task at a time, its result fetched when it is there."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")


class Background(Generic[T]):
    """A task that is begun when the one before has ended."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._running: Future[T] | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing runs and no result waits."""
        return self._running is None

    def begin(self, work: Callable[[], T]) -> None:
        """Begin; only when idle."""
        self._running = self._pool.submit(work)

    def result(self, *, wait: bool = False) -> T | None:
        """What came of it, once; None while it runs or if nothing does. Raises what the task raised."""
        running = self._running
        if running is None or not (wait or running.done()):
            return None
        self._running = None
        return running.result()

    def close(self) -> None:
        """Wait for the end of what runs."""
        self._pool.shutdown(wait=True)
