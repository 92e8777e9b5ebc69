"""The minutes of the stream as one value that grows: its watermark, late calls, and what is due to be told.

Pure: the clock is an argument and the state is bytes, so that the same calls in any batches end in the same counts.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

import msgspec

from tokenledger.records.features import MINUTE_US, FeatureWindow
from tokenledger.windows import EndedCall, Entity, Tally, add, decode_ended, ended_at, entities, window, window_start

DISORDER_US: Final = 1_000_000
"""How long after its end a call may come and still be on time: producers ship it within milliseconds."""
IDLE_US: Final = 500_000
"""A partition that was silent this long holds nobody up; when all were, the wall clock moves the watermark."""
GRACE_US: Final = 5_000_000
"""After a start no partition counts as silent, for the source may still be connecting."""
LATENESS_US: Final = 60 * MINUTE_US
"""How long a closed minute takes in late calls: the longest view looks back an hour."""
RETELL_US: Final = 1_000_000
"""Closed minutes that grew are told again at most this often."""
MOST_ENTITIES: Final = 5_000
"""Entities told apart in one minute; further ones are counted together as `*`, so that names cannot fill the memory."""

_END_OF_TIME_US: Final = 2**62


class Progress(msgspec.Struct, array_like=True):
    """How far the stream has come. Kept as state: a new field goes to the end, with a default."""

    watermark_us: int = 0
    """Minutes that end by then are closed."""
    seen_us: dict[int, int] = {}
    """Partition → the latest end of a call in it."""


class Entry(msgspec.Struct, array_like=True):
    """One minute of one entity. Kept as state: a new field goes to the end, with a default."""

    told: int
    """Revision told last; 0 before the first telling."""
    tally: Tally


class Changes(msgspec.Struct, frozen=True):
    """What the state must take over to equal the value."""

    progress: bytes
    put: dict[str, bytes]
    remove: list[str]


Place = tuple[int, Entity]
"""Start of the minute, and whose it is."""


class Minutes:
    """Counts batches, tells what is due, and says what has changed since it was last asked."""

    def __init__(self, partitions: Iterable[int], *, now_us: int, disorder_us: int = DISORDER_US) -> None:
        self._disorder_us = disorder_us
        self._progress = Progress(seen_us=dict.fromkeys(partitions, 0))
        self._awake_until_us = dict.fromkeys(self._progress.seen_us, now_us + GRACE_US)
        self._retold_at_us = now_us
        self._names: dict[int, set[Entity]] = {}
        self._untold: dict[int, dict[Entity, Entry]] = {}
        """Entries that have grown since they were told; the others are in the state only."""
        self._put: dict[Place, Entry] = {}
        self._remove: list[Place] = []
        self._stored: Callable[[str], bytes | None] = lambda _key: None
        self.unreadable_records = 0
        """Records that were no priced call."""

    @property
    def watermark_us(self) -> int:
        """Minutes that end by then are closed."""
        return self._progress.watermark_us

    def restore(
        self, progress: bytes | None, kept: Iterable[tuple[str, bytes]], *, stored: Callable[[str], bytes | None]
    ) -> None:
        """Take over what an earlier value left in the state; `stored` reads one entry of it."""
        self._stored = stored
        if progress is not None:
            known = msgspec.msgpack.decode(progress, type=Progress)
            self._progress = Progress(known.watermark_us, self._progress.seen_us | known.seen_us)
            for partition in known.seen_us:
                self._awake_until_us.setdefault(partition, self._retold_at_us + GRACE_US)
        for key, value in kept:
            start_us, entity = _decode_key(key)
            self._names.setdefault(start_us, set()).add(entity)
            entry = _decode_entry(value)
            if entry.told < entry.tally.revision:
                self._untold.setdefault(start_us, {})[entity] = entry

    def take(self, partition: int, values: Iterable[bytes | None], *, now_us: int) -> None:
        """Count the records of one partition, in their order."""
        seen_us = self._progress.seen_us.get(partition, 0)
        for value in values:
            found = _decoded(value)
            if found is None:
                self.unreadable_records += 1
                continue
            call, at_us, clamped = found
            # A call cannot have ended after the log took it: a clock that is ahead moves no watermark.
            seen_us = max(seen_us, min(at_us, call.append_at_us or at_us))
            self._count(call, at_us, clamped=clamped)
        self._progress.seen_us[partition] = seen_us
        self._awake_until_us[partition] = max(self._awake_until_us.get(partition, 0), now_us + IDLE_US)
        self._advance(now_us)

    def tell(self, now_us: int) -> Iterator[FeatureWindow]:
        """Closed minutes not told yet, and now and then those that grew since."""
        self._advance(now_us)
        again = now_us - self._retold_at_us >= RETELL_US
        if again:
            self._retold_at_us = now_us
        for start_us in [start_us for start_us in self._untold if start_us + MINUTE_US <= self.watermark_us]:
            yield from self._tell_minute(start_us, again=again, now_us=now_us)
        self._forget()

    def changes(self) -> Changes:
        """Everything since the last time."""
        changes = Changes(
            progress=msgspec.msgpack.encode(self._progress),
            put={_encode_key(place): msgspec.msgpack.encode(entry) for place, entry in self._put.items()},
            remove=[_encode_key(place) for place in self._remove],
        )
        self._put, self._remove = {}, []
        return changes

    def _advance(self, now_us: int) -> None:
        """The watermark follows the slowest partition that is not silent, or the wall clock; it never goes back."""
        awake = [seen_us for number, seen_us in self._progress.seen_us.items() if now_us < self._awake_until_us[number]]
        reached_us = min(awake) if awake else now_us - IDLE_US
        self._progress.watermark_us = max(self.watermark_us, reached_us - self._disorder_us)

    def _count(self, call: EndedCall, at_us: int, *, clamped: bool) -> None:
        start_us = window_start(at_us)
        overdue_us = self._progress.watermark_us - start_us - MINUTE_US
        if overdue_us >= LATENESS_US:
            for entity in entities(call):
                self._entry(entity, window_start(self._progress.watermark_us)).tally.expired_calls += 1
            return
        tallies = [self._entry(entity, start_us).tally for entity in entities(call)]
        add(call, *tallies)
        if clamped or overdue_us >= 0:
            for tally in tallies:
                tally.clamped_calls += clamped
                tally.late_calls += overdue_us >= 0

    def _entry(self, entity: Entity, start_us: int) -> Entry:
        minute = self._untold.setdefault(start_us, {})
        entry = minute.get(entity)
        if entry is None:
            entity = self._admitted(entity, start_us)
            entry = minute[entity] = minute.get(entity) or self._fetched((start_us, entity))
        self._put[start_us, entity] = entry
        return entry

    def _admitted(self, entity: Entity, start_us: int) -> Entity:
        """The entity, or `*` where the minute has no room for another name."""
        names = self._names.setdefault(start_us, set())
        if entity not in names and len(names) >= MOST_ENTITIES:
            entity = (entity[0], "*", "*")
        return entity

    def _fetched(self, place: Place) -> Entry:
        start_us, entity = place
        names = self._names[start_us]
        stored = self._stored(_encode_key(place)) if entity in names else None
        names.add(entity)
        return Entry(0, Tally()) if stored is None else _decode_entry(stored)

    def _tell_minute(self, start_us: int, *, again: bool, now_us: int) -> Iterator[FeatureWindow]:
        minute = self._untold[start_us]
        for entity in [entity for entity, entry in minute.items() if again or not entry.told]:
            entry = minute.pop(entity)
            yield window(entity, entry.tally, start_at_us=start_us, emitted_at_us=now_us)
            entry.told = entry.tally.revision
            self._put[start_us, entity] = entry
        if not minute:
            del self._untold[start_us]

    def _forget(self) -> None:
        over_us = self.watermark_us - MINUTE_US - LATENESS_US
        for start_us in [start_us for start_us in self._names if start_us <= over_us and start_us not in self._untold]:
            for entity in self._names.pop(start_us):
                self._put.pop((start_us, entity), None)
                self._remove.append((start_us, entity))


_decode_entry: Final = msgspec.msgpack.Decoder(Entry).decode
_decode_key: Final = msgspec.json.Decoder(Place).decode


def _encode_key(place: Place) -> str:
    return msgspec.json.encode(place).decode()


def _decoded(value: bytes | None) -> tuple[EndedCall, int, bool] | None:
    """The call, when it ended, whether that is clamped. None for what no price_job wrote; the ledger rejects that."""
    try:
        call = decode_ended(value or b"")
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    at_us, clamped = ended_at(call)
    return (call, at_us, clamped) if 0 <= at_us < _END_OF_TIME_US else None
