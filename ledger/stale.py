"""Calls that were priced by an older book than the one that was known when the log took them.

A committed price is at work in the stream within seconds, not at once, and later where Postgres was out of the stream's
reach. What was priced in the meantime is found here: a call is charged by the book of the newest change before its
append, whoever priced it when, unless somebody had it charged by a later one, or by any book on purpose.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import takewhile
from typing import Final

from ledger import repricing, store
from ledger.amending import Existing
from ledger.closed import read_closed
from ledger.database import Connection
from ledger.prices import store as prices
from ledger.prices.changes import Kept
from ledger.repricing import Differs, differing
from tokenledger.process import Context

REASON: Final = "priced by an older book than was known"
_READ_AT_ONCE: Final = 1_000
_MOST_CHANGES: Final = 10_000
# Of a call that is no more, and of what was superseded, the charges stay among the postings. Which of them stand is
# looked up by key, one by one, and only of those by another book: hence MATERIALIZED, and LIMIT.
_FIND: Final = """
    WITH charges AS MATERIALIZED (
        SELECT subject_id, charged_at_us, posting_id, posted_at_us
        FROM postings JOIN book_versions USING (book_no)
        WHERE posted_at_us >= %s AND subject_kind = 'call' AND calls > 0 AND book_version <> %s
    )
    SELECT subject_id, charged_at_us
    FROM charges p
    CROSS JOIN LATERAL (
        SELECT FROM calls c
        WHERE c.call_id = p.subject_id AND c.charged_at_us = p.charged_at_us AND c.posting_id = p.posting_id LIMIT 1
    ) AS standing
    WHERE NOT EXISTS (
            SELECT FROM run_batches b JOIN repricing_runs USING (run_no)
            WHERE b.posted_at_us = p.posted_at_us AND kind IN ('reprice', 'reread'))
        AND NOT EXISTS (SELECT FROM repricings r WHERE r.call_id = p.subject_id)
    ORDER BY subject_id
"""


class _Books:
    """The book after each of some changes; built when it is asked for."""

    def __init__(self, kept: Sequence[Kept], changes: Sequence[tuple[int, int]]) -> None:
        self._changes = changes
        self.after = cache(lambda change_no: Context(prices.book_after(kept, change_no)))

    def due(self, call: Existing) -> Context | None:
        """The book that was known when the log took the call; None where it was priced by that or a later one."""
        at_us = call.winner.append_at_us
        known = [number for number, made_at_us in self._changes if made_at_us <= at_us]
        later = [number for number, made_at_us in self._changes if made_at_us > at_us]
        if not known or any(call.winner.book_version == self.after(one).book.version for one in (known[-1], *later)):
            return None
        return self.after(known[-1])


def stale(connection: Connection, *, since_us: int) -> Iterator[list[Differs]]:
    """Calls priced too early for a change made since then, and charged otherwise for it; some at a time.

    Those that wait for the writer are left out: whatever they wait for comes first.
    """
    newest_first = prices.history(connection, most=_MOST_CHANGES)
    recent = list(takewhile(lambda change: change.made_at_us >= since_us, newest_first))
    if not recent:
        return
    books = _Books(prices.load(connection), [(one.change_no, one.made_at_us) for one in reversed(recent)])
    closed = read_closed(connection)
    store.read_exactly(connection)
    with connection.transaction(), connection.cursor(name="stale") as cursor:
        store.read_at_leisure(connection)
        cursor.execute(_FIND, (recent[-1].made_at_us, books.after(recent[0].change_no).book.version))
        while hints := cursor.fetchmany(_READ_AT_ONCE):
            found = [(call, books.due(call)) for call in store.existing(connection, hints)]
            yield differing([(call, due) for call, due in found if due is not None], closed)


class Queue:
    """Has the writer charge them by the book they are due, in one run a book."""

    def __init__(self, connection: Connection, *, reason: str, corrects: bool) -> None:
        self._connection = connection
        self._reason = reason
        self._corrects = corrects
        self.runs: dict[str, int] = {}
        """Version of the book → number of the run."""
        self.queued = 0
        """How many calls."""

    def take(self, differs: Sequence[Differs]) -> None:
        """These too; calls of closed months only if their correction is approved."""
        chosen: dict[str, list[Differs]] = {}
        for one in differs:
            if self._corrects or not one.corrects:
                chosen.setdefault(one.after.book_version, []).append(one)
        for version, some in chosen.items():
            if version not in self.runs:
                run_no = repricing.begin_run(self._connection, reason=self._reason, book_version=version, kind="stale")
                self.runs[version] = run_no
            self.queued += repricing.queue(self._connection, some, run_no=self.runs[version])


def queue_stale(reader: Connection, writer: Connection, *, since_us: int) -> int:
    """Queue what is priced too early for a change made since then; how many. Closed months are left to people."""
    queue = Queue(writer, reason=REASON, corrects=False)
    for differs in stale(reader, since_us=since_us):
        queue.take(differs)
    return queue.queued
