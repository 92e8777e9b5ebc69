"""The price book of a process that prices: loaded whole before anything is priced, and swapped whole when it changes.

A thread waits for a change, loads the book beside the one at work and puts it in its place: one assignment, so each
call is priced by one book. While Postgres is away the book at work stays, and `age_s` says for how long.
"""

import math
import threading
import time
from collections.abc import Callable
from typing import Final

import psycopg

from ledger.database import Connection, connect
from ledger.prices import store
from ledger.prices.changes import Kept
from ledger.settings import Settings
from ledger.wakeups import follow
from tokenledger.process import Context

_FIRST_WITHIN_S: Final = 60.0
_AGAIN_AFTER_S: Final = 2.0
_APPLICATION: Final = "tokenledger-prices"


class NoBookError(Exception):
    """There is no price book, so nothing may be priced."""


class Following:
    """The book at work."""

    def __init__(
        self, settings: Settings, *, say: Callable[[str], None], loaded: Callable[[Context], None] = lambda _: None
    ) -> None:
        self._settings = settings
        self._say = say
        self._loaded = loaded
        self._stop = threading.Event()
        self._has_book = threading.Event()
        self._change_no = -1
        self._kept: dict[tuple[str, int], Kept] = {}
        self._looked_s = time.monotonic()
        self.context: Context
        """What to price with now."""
        self._thread = threading.Thread(target=self._follow, name="prices", daemon=True)

    def wait_loaded(self, longest_s: float) -> bool:
        """Whether the ledger's book was loaded once, at the latest after so long."""
        return self._has_book.wait(longest_s)

    @property
    def age_s(self) -> float:
        """How long ago it was seen that this book is the newest."""
        return time.monotonic() - self._looked_s

    def start(self) -> None:
        """Load the book, then follow it. Raises NoBookError if there is none within a minute."""
        for left in range(int(_FIRST_WITHIN_S / _AGAIN_AFTER_S), 0, -1):
            try:
                with connect(self._settings, application=_APPLICATION) as connection:
                    self._look(connection)
                break
            except psycopg.Error as error:
                self._say(f"no price book yet: {str(error).strip()}")
                if left == 1 or self._stop.wait(_AGAIN_AFTER_S):
                    raise NoBookError(f"no price book within {_FIRST_WITHIN_S:.0f} s: {error}") from error
        self._thread.start()

    def start_with(self, context: Context) -> None:
        """Price by this one, and follow as soon as Postgres is there."""
        self.context = context
        self._looked_s = -math.inf
        self._thread.start()

    def close(self) -> None:
        """Follow no longer."""
        self._stop.set()

    def _follow(self) -> None:
        follow(
            self._settings, self._look, application=_APPLICATION, stopped=self._stop.is_set, failed=self._not_followed
        )

    def _not_followed(self, why: str) -> None:
        # A book that cannot be built is as bad as none: the one at work is right until somebody looks.
        self._say(f"the price book stays at change {self._change_no}: {why}")

    def _look(self, connection: Connection) -> None:
        if store.newest(connection) != self._change_no:
            change_no = store.load_newer(connection, self._kept, after=max(self._change_no, 0))
            book = store.book_now(list(self._kept.values()))
            self.context, self._change_no = Context(book), change_no
            self._say(f"price book {book.version}, change {change_no}")
            self._loaded(self.context)
            self._has_book.set()
        self._looked_s = time.monotonic()
