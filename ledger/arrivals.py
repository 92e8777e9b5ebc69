"""Calls without a price are charged by themselves once there is one.

Beside the compactor's work, a thread looks at the calls that wait in their index whenever the price book has changed,
some at a time, and queues those that have a price now; the writer posts them. Where it stands is in the ledger, in the
transaction that queues, so that being killed costs nothing. Until then they stay what they are: unknown, not zero.
"""

import threading
from importlib.metadata import version
from typing import Any, Final, NamedTuple

import psycopg

from ledger import repricing, store
from ledger.closed import read_closed
from ledger.database import Connection, connect
from ledger.ending import Stop
from ledger.observing import ARRIVALS, RETRIES, UNPRICED, logger
from ledger.prices import store as prices
from ledger.repricing import differing
from ledger.settings import Settings
from tokenledger.process import Context

log = logger("ledger.arrivals")

LOOK_EVERY_S: Final = 2.0
AT_ONCE: Final = 1_000
MOST_WAITING: Final = 20_000
"""Beyond so many calls in the writer's queue it waits: what comes from the log goes first."""
_COUNT_EVERY: Final = 30
"""Looks between two counts of what waits for a price."""
_REASON: Final = "a price arrived: change {change_no} of the book"
_STATE: Final = "SELECT change, posting_id, run_no FROM price_arrivals"
_LOCKED: Final = "SELECT change, posting_id, run_no FROM price_arrivals FOR UPDATE"
_NEXT: Final = """
    SELECT call_id, charged_at_us, posting_id, book_version FROM calls
    WHERE price_status IN ('unpriced', 'partly_priced') AND posting_id > %s
    ORDER BY posting_id LIMIT %s
"""
_MOVE: Final = "UPDATE price_arrivals SET change = %s, posting_id = %s, run_no = %s"
_WAITING: Final = "SELECT count(*) FROM calls WHERE price_status IN ('unpriced', 'partly_priced')"


class Step(NamedTuple):
    """What one look came to."""

    looked_at: int
    """Calls."""
    queued: int
    """Of these, calls that have a price now and do not wait for what somebody asked for them."""
    closed: int
    """Of these, calls that have one but whose month is closed: `tokenledger reprice --correct-closed` is for them."""


class Arrivals:
    """The book at work, and how far its calls are looked at."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._change_no = -1
        self._context: Context | None = None
        store.prepare(connection, synchronous_commit="on")

    def look(self, *, at_once: int = AT_ONCE) -> Step | None:
        """Look at the next calls; None where there are none left, or too many wait for the writer."""
        connection = self._connection
        change_no = prices.newest(connection)
        change, after, _ = _only(connection.execute(_STATE))
        if connection.execute(_NEXT, (after if change == _name(change_no) else 0, 1)).fetchone() is None:
            return None
        if repricing.left(connection) >= MOST_WAITING:
            return None
        if change_no != self._change_no or self._context is None:
            self._change_no, book = prices.current(connection)
            self._context = Context(book)
        with connection.transaction():
            return self._step(self._context, at_once)

    def _step(self, context: Context, at_once: int) -> Step:
        connection, name = self._connection, _name(self._change_no)
        change, after, run_no = _only(connection.execute(_LOCKED))
        if change != name:
            after, run_no = 0, None
        rows = connection.execute(_NEXT, (after, at_once)).fetchall()
        version_now = context.book.version
        calls = store.existing(connection, [row[:2] for row in rows if row[3] != version_now])
        found = differing([(call, context) for call in calls], read_closed(connection))
        chosen = [one for one in found if not one.corrects]
        queued = 0
        if chosen:
            if run_no is None:
                reason = _REASON.format(change_no=self._change_no)
                run_no = repricing.begin_run(connection, reason=reason, book_version=version_now, kind="arrival")
            queued = repricing.queue(connection, chosen, run_no=run_no)
        connection.execute(_MOVE, (name, rows[-1][2] if rows else after, run_no))
        return Step(len(rows), queued, len(found) - len(chosen))

    def count(self) -> int:
        """Calls that wait for a price."""
        return int(_only(self._connection.execute(_WAITING))[0])


def _name(change_no: int) -> str:
    """The state of the book: where no catalogue was imported, the packaged one is part of it."""
    return f"{change_no}/{version('genai-prices')}"


def _only(cursor: psycopg.Cursor[tuple[Any, ...]]) -> tuple[Any, ...]:
    row = cursor.fetchone()
    assert row is not None, "price_arrivals has lost its row"  # noqa: S101  (our own mistake, not the world's)
    return row


def follow(settings: Settings, stop: Stop) -> None:
    """Look until asked to stop, through every outage of the database."""
    while not stop.asked:
        try:
            with connect(settings, application="tokenledger-arrivals") as connection:
                _follow(Arrivals(connection), stop)
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            RETRIES.inc()
            log.warning("database away, trying again", extra={"facts": {"error": str(error)}})
            stop.wait(1.0)
        except ValueError as error:
            # A book that cannot be built is as bad as none, until somebody mends it.
            log.warning("no price book", extra={"facts": {"error": str(error)}})
            stop.wait(30.0)


def _follow(arrivals: Arrivals, stop: Stop) -> None:
    looks = 0
    while not stop.asked:
        step = arrivals.look()
        if step is not None:
            ARRIVALS.labels("queued").inc(step.queued)
            ARRIVALS.labels("closed").inc(step.closed)
            ARRIVALS.labels("still_unpriced").inc(step.looked_at - step.queued - step.closed)
        if looks % _COUNT_EVERY == 0:
            UNPRICED.set(arrivals.count())
        looks += 1
        if step is None or step.looked_at < AT_ONCE:
            stop.wait(LOOK_EVERY_S)


def in_background(settings: Settings, stop: Stop) -> threading.Thread:
    """A thread that follows; it ends with the process."""
    thread = threading.Thread(target=follow, args=(settings, stop), name="arrivals", daemon=True)
    thread.start()
    return thread
