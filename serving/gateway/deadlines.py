"""Deadlines of everything that waits, kept by one timer instead of one each.

A timer per wait would cost more than the request it guards. What waits says by when; a tick looks at all of them.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final, Protocol

TICK_S: Final = 0.05
NEVER: Final = float("inf")

now_s: Final = time.monotonic


class Due(Protocol):
    """Something that waits."""

    due_s: float
    """By when, on the monotonic clock; may be moved at any time."""

    def expire(self) -> None:
        """The time is over. Moves `due_s`, or leaves the deadlines."""


class Alarm:
    """Does one thing when its time is over."""

    __slots__ = ("_action", "due_s")

    def __init__(self, after_s: float, action: Callable[[], None]) -> None:
        self.due_s = now_s() + after_s
        self._action = action

    def expire(self) -> None:
        """It is over."""
        self.due_s = NEVER
        self._action()


class Deadlines:
    """All that wait in this process."""

    def __init__(self) -> None:
        self._waiting: set[Due] = set()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, one: Due) -> None:
        """From now on `one` is told when its time is over."""
        self._waiting.add(one)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def discard(self, one: Due) -> None:
        """It waits no longer."""
        self._waiting.discard(one)

    def _tick(self) -> None:
        now = now_s()
        for one in [one for one in self._waiting if one.due_s <= now]:
            if one in self._waiting:  # an earlier one's end may have ended it
                one.expire()
        # With nothing left to watch, an idle process sleeps.
        self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick) if self._waiting else None
