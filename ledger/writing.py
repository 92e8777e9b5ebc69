"""What every transaction of the writer is wrapped in."""

from collections.abc import Iterator
from contextlib import contextmanager

from ledger import store
from ledger.closed import closed_now
from ledger.database import Connection
from ledger.state import State
from ledger.store import OffsetsByPartition


@contextmanager
def writing(connection: Connection, state: State, reached: OffsetsByPartition | None = None) -> Iterator[None]:
    """All that is written inside, or nothing: by the only writer, that knows which months are closed.

    `state` follows how it ends, so that memory and ledger never differ; `reached` is how far the log is read then.
    Raises what was raised inside, and `store.AnotherWriterError` where another writer wrote.
    """
    try:
        with connection.transaction():
            store.fence(connection, state.offsets, newest_us=state.newest_us)
            state.closed = closed_now(connection, state.closed)
            yield
    except BaseException:
        state.rollback()
        raise
    state.commit(reached or {})
