"""One batch, one transaction: calls, postings, lines, what was seen and how far was read, all or nothing."""

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from ledger import amending, store
from ledger.amending import Amended, Amendment, Existing
from ledger.database import Connection
from ledger.grouping import Group, Keyed, grouped
from ledger.posting import Charged, Rows
from ledger.received import Origins, Received, of
from ledger.state import State
from ledger.store import OffsetsByPartition
from tokenledger.merge import Link
from tokenledger.records import PricedCall, Rejected

CODE_VERSION = "1"
_LINES_AT_ONCE = 500

Known = dict[bytes, tuple[int, int]]
"""Key → call_id and charged_at_us, as the ledger has them."""


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch did."""

    records: int
    """Records taken."""
    charged: int
    """Postings made."""
    origins: Origins
    """Outcomes counted."""
    oldest_us: int | None
    """The append time of nearly its oldest record, µs UTC."""


class Batch:
    """The work of one transaction."""

    def __init__(self, connection: Connection, state: State, now_us: int) -> None:
        self.connection = connection
        self.state = state
        self.rows = Rows(state, state.begin(now_us))
        self.records = 0
        self.charged = 0
        self.oldest_us: int | None = None
        self.origins: Origins = {}
        self.rejected: list[tuple[Received, Rejected]] = []
        self.deleted_calls: list[Charged] = []
        self.deleted_witnesses: list[tuple[int, bytes]] = []
        self.flagged: list[Charged] = []
        self.moved_keys: list[tuple[bytes, Charged]] = []

    def _make_months(self, table: str, instants_us: set[int]) -> None:
        self.state.make_months(table, instants_us, lambda days: store.ensure_months(self.connection, table, days))

    def take(self, received: Sequence[Received]) -> None:
        """Sort records out: new ones are written, those seen before counted."""
        self._make_months("postings", {self.rows.posted_at_us})
        self._make_months("lines", {self.rows.posted_at_us})
        self.records += len(received)
        if received:
            # A partition's records come nearly in order, so the first is nearly the oldest: this feeds a metric only.
            oldest_us = received[0].record.append_at_us
            self.oldest_us = oldest_us if self.oldest_us is None else min(oldest_us, self.oldest_us)
        fresh = []
        mark, origins = self.state.seen.mark, self.origins
        for one in received:
            record = one.record
            if not mark(record.topic, record.partition, record.offset):
                of(origins, record).redelivered += 1
            elif isinstance(record, PricedCall):
                fresh.append(record)
            else:
                self.reject(one, record)
        if fresh:
            self._write(fresh)

    def reject(self, received: Received, rejected: Rejected) -> None:
        """Index a record that was refused."""
        self.rejected.append((received, rejected))
        of(self.origins, rejected).rejected += 1

    def _write(self, fresh: list[PricedCall]) -> None:
        groups, keys = grouped(fresh)
        known = store.known_keys(self.connection, keys)
        touching: list[Group] = []
        plain: list[Group] = []
        if known:
            for group in groups:
                touches = any(one.event in known or one.response in known for one in group)
                (touching if touches else plain).append(group)
        else:
            plain = groups
        if touching:
            self._amend(self._repeats(touching, known), known)
        store.copy_lines(self.connection, self._charge_all(plain))
        self._flush()

    def _charge_all(self, groups: list[Group]) -> Iterator[bytes]:
        """Charge calls nobody has heard of; yields lines whenever there are enough of them to send."""
        for group in groups:
            if len(group) == 1:
                self._charge_single(group[0])
            else:
                self._charge_group(group)
            if len(self.rows.lines) > _LINES_AT_ONCE:
                yield self.rows.take_lines()
        yield self.rows.take_lines()

    def _charge_single(self, one: Keyed) -> None:
        """The usual case: one record of a call nobody has heard of."""
        charged = self.rows.charge(one.priced, id_reuse=False)
        self.rows.key(one.event, charged)
        if one.response is not None:
            self.rows.key(one.response, charged)
        of(self.origins, one.priced).winners += 1

    def _charge_group(self, group: Group) -> None:
        """Several records of calls nobody has heard of."""
        if len({(one.event, one.response, one.priced.fingerprint) for one in group}) == 1:
            # One record, several times: the first in the log stands, as `merge.resolve` has it.
            first, *others = sorted(group, key=_place_in_log)
            self._charge_single(first)
            for other in others:
                of(self.origins, other.priced).duplicates += 1
            return
        self._apply(amending.amended([], [one.priced for one in group], []), group, {})

    def _repeats(self, groups: list[Group], known: Known) -> list[Group]:
        """Count plain duplicates of winners; what is left must be compared."""
        calls = {known[key] for group in groups for one in group for key in _keys(one) if key in known}
        winners = store.winners(self.connection, calls)
        left = []
        for group in groups:
            if all(_repeats_winner(one, known, winners) for one in group):
                for one in group:
                    of(self.origins, one.priced).duplicates += 1
            else:
                left.append(group)
        return left

    def _amend(self, groups: list[Group], known: Known) -> None:
        """Compare with what the ledger has, and write the difference."""
        new = [one for group in groups for one in group]
        if not new:
            return
        calls = {known[key] for one in new for key in _keys(one) if key in known}
        existing = store.existing(self.connection, calls)
        by_id = {call.charged.call_id: call for call in existing}
        links = [
            Link(one.priced.call.tenant_id, one.priced.call.event_key, response_key)
            for one in new
            if one.event in known and (response_key := by_id[known[one.event][0]].response_key) is not None
        ]
        self._apply(amending.amended(existing, [one.priced for one in new], links), new, known)

    def _apply(self, amended: Amended, new: list[Keyed], known: Known) -> None:
        for call in amended.dissolved:
            self._withdraw(call)
        placed = [(amendment, self._place(amendment)) for amendment in amended.amendments]
        for record, outcome, change in amended.moves:
            outcomes = of(self.origins, record)
            setattr(outcomes, outcome, getattr(outcomes, outcome) + change)
        self._lead_keys(wanted_keys(placed, new, known), known)

    def _withdraw(self, call: Existing) -> None:
        self.rows.reverse(call.winner, call.charged)
        self.deleted_calls.append(call.charged)
        self._drop_witnesses(call.charged.call_id, {witness.fingerprint for witness in call.witnesses})

    def _drop_witnesses(self, call_id: int, fingerprints: Iterable[str]) -> None:
        self.deleted_witnesses += [(call_id, bytes.fromhex(fingerprint)) for fingerprint in sorted(fingerprints)]

    def _place(self, amendment: Amendment) -> Charged:
        """Write what changed about one call."""
        call = amendment.existing
        if call is None:
            charged = self.rows.charge(amendment.winner, id_reuse=amendment.id_reuse)
        elif amendment.recharge:
            self.rows.reverse(call.winner, call.charged)
            self.deleted_calls.append(call.charged)
            charged = self.rows.charge(amendment.winner, id_reuse=amendment.id_reuse, call_id=call.charged.call_id)
        else:
            charged = call.charged
            if amendment.id_reuse and not call.id_reuse:
                self.flagged.append(charged)
        before = {witness.fingerprint for witness in call.witnesses} if call is not None else set()
        self._drop_witnesses(charged.call_id, before - {loser.fingerprint for loser in amendment.losers})
        for loser in amendment.losers:
            if loser.fingerprint not in before:
                self.rows.witness(loser, charged.call_id)
        return charged

    def _lead_keys(self, wanted: dict[bytes, Charged], known: Known) -> None:
        for key, charged in wanted.items():
            if key not in known:
                self.rows.key(key, charged)
            elif known[key] != charged[:2]:
                self.moved_keys.append((key, charged))

    def _flush(self) -> None:
        """Write the rows of one part; what is removed goes first, since some of it comes back changed."""
        connection, rows = self.connection, self.rows
        if self.deleted_calls:
            store.delete_calls(connection, self.deleted_calls)
        if self.deleted_witnesses:
            store.delete_witnesses(connection, self.deleted_witnesses)
        if self.flagged:
            store.flag_id_reuse(connection, self.flagged)
        if self.moved_keys:
            store.point_keys(connection, self.moved_keys)
        for done in (self.deleted_calls, self.deleted_witnesses, self.flagged, self.moved_keys):
            done.clear()
        self._make_months("calls", {row.charged.charged_at_us for row in rows.calls})
        store.copy_rows(connection, rows)
        store.add_numbers(connection, self.state)
        self.charged += len(rows.postings)
        rows.clear()

    def finish(self, expected: OffsetsByPartition, reached: OffsetsByPartition) -> Done:
        """Write what belongs to the whole; the offsets last."""
        connection, state = self.connection, self.state
        store.add_rejected(connection, self.rejected, self.rows.posted_at_us)
        store.add_origins(connection, self.origins, state.seen.touched())
        store.add_batch(connection, state, records=self.records, code_version=CODE_VERSION)
        store.move_offsets(connection, expected, reached)
        return Done(records=self.records, charged=self.charged, origins=self.origins, oldest_us=self.oldest_us)


def _place_in_log(one: Keyed) -> tuple[int, str, int, int]:
    priced = one.priced
    return priced.append_at_us, priced.topic, priced.partition, priced.offset


def _keys(one: Keyed) -> tuple[bytes, ...]:
    return (one.event,) if one.response is None else (one.event, one.response)


def _repeats_winner(one: Keyed, known: Known, winners: dict[int, tuple[bytes, int]]) -> bool:
    """Whether it says what the winner of its one known call says, and came later."""
    call_id, _ = known.get(one.event, (None, 0))
    if call_id is None or (one.response is not None and known.get(one.response, (None, 0))[0] != call_id):
        return False
    fingerprint, append_at_us = winners.get(call_id, (b"", 0))
    return fingerprint.hex() == one.priced.fingerprint and one.priced.append_at_us >= append_at_us


def wanted_keys(
    placed: Sequence[tuple[Amendment, Charged]], new: Sequence[Keyed], known: Known
) -> dict[bytes, Charged]:
    """Where the keys of new records must lead: an event key to the call of the smallest response key under it."""
    home = {id(record): pair for pair in placed for record in pair[0].records}
    by_id = {charged.call_id: (amendment, charged) for amendment, charged in placed}
    owners: dict[bytes, tuple[Amendment, Charged]] = {}
    wanted = {}
    for one in new:
        amendment, charged = home[id(one.priced)]
        if one.response is not None:
            wanted[one.response] = charged
        rivals = [(amendment, charged)]
        if one.event in owners:
            rivals.append(owners[one.event])
        elif one.event in known and known[one.event][0] in by_id:
            rivals.append(by_id[known[one.event][0]])
        # A call without response key is no rival to one with: it was dissolved, or there is none.
        owners[one.event] = min(rivals, key=lambda rival: (rival[0].response_key is None, rival[0].response_key or ""))
    return wanted | {key: charged for key, (_, charged) in owners.items()}


def apply(
    connection: Connection,
    state: State,
    parts: Iterable[Sequence[Received]],
    *,
    reached: OffsetsByPartition,
    now_us: int,
) -> Done:
    """Write one batch; `reached` is where to read on after it. Raises, and changes nothing, if it cannot.

    It comes in parts, so that one can be decoded while Postgres takes the one before it.
    """
    expected = {place: state.offsets[place] for place in reached}
    try:
        with connection.transaction():
            store.fence(connection, state.offsets)
            batch = Batch(connection, state, now_us)
            for part in parts:
                batch.take(part)
            done = batch.finish(expected, reached)
    except BaseException:
        state.rollback()
        raise
    state.commit(reached)
    return done
