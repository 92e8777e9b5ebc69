"""One batch, one transaction: calls, postings, lines, what was seen and how far was read, all or nothing."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Generic, NamedTuple, TypeVar

import msgspec

from ledger import amending, store
from ledger.ahead import Ahead
from ledger.amending import Amended, Amendment, Existing
from ledger.calls import CallPacker
from ledger.charging import charged_at_us
from ledger.copying import CHARGE, Why
from ledger.database import Connection
from ledger.drafting import Draft, draft, record_keys
from ledger.grouping import grouped
from ledger.posting import Charge, Charged, Poster, Rows
from ledger.received import Origins, Placed, Received, of
from ledger.state import State
from ledger.store import OffsetsByPartition
from ledger.writing import writing
from tokenledger.merge import Link
from tokenledger.records import PricedCall, Rejected

CODE_VERSION = "1"
PART_RECORDS: Final = 1_000
"""Records prepared while the ones before them are written: few, so that little waits at both ends of a batch, and
enough, since each part costs four COPYs."""

S = TypeVar("S", bound=Placed)
Decode = Callable[[S], Received]
Part = list[Draft[S] | Received]
Group = list[Draft[S]]
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


class Repricing(msgspec.Struct, frozen=True, kw_only=True):
    """A call that is to be charged anew."""

    call_id: int
    """The call."""
    charged_at_us: int
    """When it is charged, µs UTC."""
    corrects: bool
    """Whether a change of a closed month is approved."""
    priced: PricedCall
    """The same facts by the new book."""
    again: dict[str, PricedCall] | None = None
    """In a rereading: fingerprint that a record of the call had → the record as it was read again."""


class Keyed(NamedTuple):
    """A record to be compared, and its keys."""

    priced: PricedCall
    event: bytes
    response: bytes | None


class Batch(Generic[S]):
    """The work of one transaction."""

    def __init__(self, connection: Connection, state: State, now_us: int, decode: Decode[S]) -> None:
        self.connection = connection
        self.state = state
        self.decode = decode
        posted_at_us = state.begin(now_us)
        # One for each of two threads.
        self.poster = Poster(state, CallPacker(connection), posted_at_us)
        self._drafter = Poster(state, CallPacker(connection), posted_at_us)
        self.rows = Rows()
        self.records = 0
        self.charged = 0
        self.oldest_us: int | None = None
        self.origins: Origins = {}
        self.rejected: list[tuple[Received, Rejected]] = []
        self.deleted_calls: list[Charged] = []
        self.deleted_witnesses: list[tuple[int, bytes]] = []
        self.flagged: list[Charged] = []
        self.moved_keys: list[tuple[bytes, Charged]] = []

    def make_months(self, table: str, instants_us: set[int]) -> None:
        """Have the partitions made that these instants need."""
        self.state.make_months(table, instants_us, lambda days: store.ensure_months(self.connection, table, days))

    def parts(self, sources: Sequence[S], part_records: int) -> Iterator[Part[S]]:
        """All that needs no database; another thread may do it ahead of `take`."""
        for first in range(0, len(sources), part_records):
            yield [self._prepared(source) for source in sources[first : first + part_records]]

    def _prepared(self, source: S) -> Draft[S] | Received:
        received = self.decode(source)
        record = received.record
        return draft(source, record, self._drafter) if isinstance(record, PricedCall) else received

    def take(self, part: Part[S]) -> None:
        """Sort records out: new ones are written, those seen before counted."""
        self.make_months("postings", {self.poster.posted_at_us})
        self.make_months("lines", {self.poster.posted_at_us})
        self.records += len(part)
        # A partition's records come nearly in order, so the first is nearly the oldest: this feeds a metric only.
        self._note_age(part[0])
        fresh = []
        mark, origins = self.state.seen.mark, self.origins
        for one in part:
            record = one if isinstance(one, Draft) else one.record
            if not mark(record.topic, record.partition, record.offset):
                of(origins, record).redelivered += 1
            elif isinstance(one, Draft):
                fresh.append(one)
            else:
                self._reject(one)
        if fresh:
            self._write(fresh)

    def _note_age(self, one: Draft[S] | Received) -> None:
        append_at_us = (one if isinstance(one, Draft) else one.record).append_at_us
        self.oldest_us = append_at_us if self.oldest_us is None else min(append_at_us, self.oldest_us)

    def _reject(self, received: Received) -> None:
        """Index a record that was refused."""
        rejected = received.record
        assert isinstance(rejected, Rejected), "what is no call was rejected"  # noqa: S101
        self.rejected.append((received, rejected))
        of(self.origins, rejected).rejected += 1

    def _write(self, fresh: list[Draft[S]]) -> None:
        groups, keys = grouped(fresh)
        known = store.known_keys(self.connection, keys)
        touching: list[Group[S]] = []
        plain: list[Group[S]] = []
        if known:
            for group in groups:
                touches = any(one.event in known or one.response in known for one in group)
                (touching if touches else plain).append(group)
        else:
            plain = groups
        if touching:
            self._amend(self._repeats(touching, known), known)
        for group in plain:
            if len(group) == 1:
                self._charge_single(group[0])
            else:
                self._charge_group(group)
        self._flush()

    def _charge_single(self, one: Draft[S]) -> None:
        """The usual case: one record of a call nobody has heard of."""
        charged = one.charge.charged
        self.rows.charge(one.charge)
        self.rows.key(one.event, charged)
        if one.response is not None:
            self.rows.key(one.response, charged)
        of(self.origins, one).winners += 1

    def _charge_group(self, group: Group[S]) -> None:
        """Several records of calls nobody has heard of."""
        if len({(one.event, one.response, one.fingerprint) for one in group}) == 1:
            # One record, several times: the first in the log stands, as `merge.resolve` has it.
            first, *others = sorted(group, key=_place_in_log)
            self._charge_single(first)
            for other in others:
                of(self.origins, other).duplicates += 1
            return
        new = self._keyed(group)
        self._apply(amending.amended([], [one.priced for one in new], []), new, {})

    def _keyed(self, drafts: Iterable[Draft[S]]) -> list[Keyed]:
        """The records themselves, decoded again."""
        records = [(one, self.decode(one.source).record) for one in drafts]
        return [Keyed(record, one.event, one.response) for one, record in records if isinstance(record, PricedCall)]

    def _repeats(self, groups: list[Group[S]], known: Known) -> list[Group[S]]:
        """Count plain duplicates of winners; what is left must be compared."""
        calls = {known[key] for group in groups for one in group for key in _keys(one) if key in known}
        winners = store.winners(self.connection, calls)
        left = []
        for group in groups:
            if all(_repeats_winner(one, known, winners) for one in group):
                for one in group:
                    of(self.origins, one).duplicates += 1
            else:
                left.append(group)
        return left

    def _amend(self, groups: list[Group[S]], known: Known) -> None:
        """Compare with what the ledger has, and write the difference."""
        new = self._keyed(one for group in groups for one in group)
        if not new:
            return
        calls = {known[key] for one in new for key in _keys(one) if key in known}
        existing = store.existing(self.connection, calls, writing=True, whole=True)
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
        self._count(amended)
        self._lead_keys(wanted_keys(placed, new, known), known)

    def _count(self, amended: Amended) -> None:
        for record, outcome, change in amended.moves:
            outcomes = of(self.origins, record)
            setattr(outcomes, outcome, getattr(outcomes, outcome) + change)

    def _withdraw(self, call: Existing) -> None:
        self.rows.postings.append(self.poster.reverse(call.winner, call.charged))
        self.deleted_calls.append(call.charged)
        self._drop_witnesses(call.charged.call_id, {witness.fingerprint for witness in call.witnesses})

    def _drop_witnesses(self, call_id: int, fingerprints: Iterable[str]) -> None:
        self.deleted_witnesses += [(call_id, bytes.fromhex(fingerprint)) for fingerprint in sorted(fingerprints)]

    def _place(self, amendment: Amendment, *, why: Why = CHARGE) -> Charged:
        """Write what changed about one call."""
        call = amendment.existing
        if call is None:
            charged = self._charge(self.poster.charge(amendment.winner, id_reuse=amendment.id_reuse))
        elif amendment.recharge:
            charged = self._replace(call, amendment.winner, id_reuse=amendment.id_reuse, why=why)
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

    def _charge(self, charge: Charge) -> Charged:
        self.rows.charge(charge)
        return charge.charged

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
        self.make_months("calls", {charge.charged.charged_at_us for charge in rows.charges})
        store.copy_rows(connection, rows)
        store.add_numbers(connection, self.state)
        self.charged += len(rows.postings)
        rows.clear()

    def recharge(self, queued: Sequence[Repricing]) -> None:
        """Charge calls anew: what was charged is taken back, and the new charge stands in its place."""
        for table in ("postings", "lines"):
            self.make_months(table, {self.poster.posted_at_us})
        by_id = {one.call_id: one for one in queued}
        hints = [(one.call_id, one.charged_at_us) for one in queued]
        for call in store.existing(self.connection, hints, writing=True):
            one = by_id[call.charged.call_id]
            if one.again is None:
                self._replace(call, one.priced, id_reuse=call.id_reuse, why=Why("reprice"))
            else:
                self._reread(call, one.again, corrects=one.corrects)
        self._flush()

    def _replace(self, call: Existing, winner: PricedCall, *, id_reuse: bool, why: Why = CHARGE) -> Charged:
        """Take back what was charged, and charge the record that counts now."""
        self.rows.postings.append(self.poster.reverse(call.winner, call.charged, why=why))
        self.deleted_calls.append(call.charged)
        charge = self.poster.charge(winner, id_reuse=id_reuse, call_id=call.charged.call_id, why=why)
        return self._charge(charge)

    def _reread(self, call: Existing, again: dict[str, PricedCall], *, corrects: bool) -> None:
        amended = amending.read_again(call, again)
        [amendment] = amended.amendments
        winner = amendment.winner
        if not corrects and self.state.closed.holds(winner.call.tenant_id, charged_at_us(winner)):
            return  # The month it would come to stand in was closed meanwhile: nobody approved its correction.
        charged = self._place(amendment, why=Why("reread"))
        self._count(amended)
        if charged.charged_at_us != call.charged.charged_at_us:
            self._lead_on(amendment, charged)

    def _lead_on(self, amendment: Amendment, charged: Charged) -> None:
        """Another record of the call counts, and was made in another instant: its keys are to say where it stands."""
        held = [Keyed(record, *record_keys(record)) for record in amendment.records]
        keys = {key for one in held for key in _keys(one)}
        known = store.known_keys(self.connection, sorted(keys))
        self.moved_keys += [(key, charged) for key, (call_id, _) in known.items() if call_id == charged.call_id]

    def finish(self, expected: OffsetsByPartition, reached: OffsetsByPartition) -> Done:
        """Write what belongs to the whole; the offsets last."""
        connection, state = self.connection, self.state
        # Those too that were given to records which then brought nothing new.
        store.add_numbers(connection, state)
        store.add_rejected(connection, self.rejected, self.poster.posted_at_us)
        store.add_origins(connection, self.origins, state.seen.touched())
        store.add_batch(connection, state, records=self.records, code_version=CODE_VERSION)
        store.move_offsets(connection, expected, reached)
        return Done(records=self.records, charged=self.charged, origins=self.origins, oldest_us=self.oldest_us)


def _place_in_log(one: Draft[S]) -> tuple[int, str, int, int]:
    return one.append_at_us, one.topic, one.partition, one.offset


def _keys(one: Keyed | Draft[S]) -> tuple[bytes, ...]:
    return (one.event,) if one.response is None else (one.event, one.response)


def _repeats_winner(one: Draft[S], known: Known, winners: dict[int, tuple[bytes, int]]) -> bool:
    """Whether it says what the winner of its one known call says, and came later."""
    call_id, _ = known.get(one.event, (None, 0))
    if call_id is None or (one.response is not None and known.get(one.response, (None, 0))[0] != call_id):
        return False
    fingerprint, append_at_us = winners.get(call_id, (b"", 0))
    return fingerprint.hex() == one.fingerprint and one.append_at_us >= append_at_us


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
    sources: Sequence[S],
    *,
    decode: Decode[S],
    now_us: int,
    part_records: int = PART_RECORDS,
) -> Done:
    """Write one batch, each partition's records in order. Raises, and changes nothing, if it cannot."""
    reached = {(one.topic, one.partition): one.offset + 1 for one in sources}
    expected = {place: state.offsets[place] for place in reached}
    with writing(connection, state, reached):
        batch = Batch(connection, state, now_us, decode)
        with Ahead(batch.parts(sources, part_records)) as parts:
            for part in parts:
                batch.take(part)
        return batch.finish(expected, reached)
