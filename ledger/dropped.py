"""Calls whose charge was dropped with its month: what they were charged can no longer be taken back."""

from ledger.database import Connection


class DroppedMonthError(Exception):
    """A record would change such a call; it is the record that is refused."""

    def __init__(self) -> None:
        super().__init__("the month in which the call was charged was dropped: the call can no longer change")


def dropped(connection: Connection, postings: list[int]) -> set[int]:
    """Of these postings those that are not there."""
    if not postings:
        return set()
    rows = connection.execute("SELECT posting_id FROM postings WHERE posting_id = ANY(%s)", (postings,)).fetchall()
    return set(postings) - {posting_id for (posting_id,) in rows}
