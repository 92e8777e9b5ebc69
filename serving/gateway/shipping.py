"""One epoch on its way to Kafka: what is sent next, what is durable of that, and what is closed at its end.

Sending comes first, the cursor after its acknowledgement, deletion after the cursor: a crash anywhere repeats records
and loses none, and the ledger counts repeated ones once.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from serving.gateway import capturing, epochs
from serving.gateway.capturing import Texts
from serving.gateway.cursors import Cursor, CursorFile
from serving.gateway.defects import survived
from serving.gateway.envelopes import NOT_UNDERSTOOD, orphaned, raw_event
from serving.gateway.records import Intent, Outcome
from serving.gateway.replies import Members
from serving.gateway.tailing import Place, Tail
from serving.gateway.unsynced import left
from tokenledger.process import default_context, process
from tokenledger.records import PricedCall, RawEvent

SAVE_EVERY_S: Final = 1.0
_NOT_AGAIN: Final = frozenset({"usage"})

_members: Final = msgspec.json.Decoder(Members)
_encode: Final = msgspec.json.Encoder().encode


class Shipment(NamedTuple):
    """One record to be sent."""

    kind: str
    raw: RawEvent


class EpochShipper:
    """Reads one epoch from its cursor to its end."""

    def __init__(self, folder: Path, *, keep_s: float) -> None:
        self.folder = folder
        self._keep_s = keep_s
        self._file = CursorFile(folder)
        cursor = self._file.cursor
        self._tail = Tail(folder, Place(cursor.segment, cursor.offset))
        self._sequence = cursor.sequence
        self._texts_file = 0
        """What lies before it is shipped."""
        self._open = {intent.event_id: intent for intent in cursor.open}
        self._saved_s = time.monotonic()
        self._done_with: dict[int, float] = {}
        self._ended_s: float | None = None
        self._lock: int | None = None

    @property
    def ended(self) -> bool:
        """Whether its owner is dead and all of it is shipped."""
        return self._ended_s is not None

    def next(self) -> list[Shipment]:
        """What to send now; at the end of a dead epoch what it had still to write, and the closings of open intents."""
        if self.ended:
            return []
        if self._lock is None:
            # Asked before reading: what a dead owner wrote is all there when it is read after this.
            self._lock = epochs.adopt(self.folder)
        found = [shipment for one in self._tail.read() for shipment in self._shipments(one)]
        if not found and self._lock is not None:
            found = [shipment for one in left(self.folder) for shipment in self._shipments(one)]
            closings = [self._raw(intent, orphaned(intent)) for intent in self._open.values()]
            found += [Shipment("closing", raw) for raw in closings if raw is not None]
            self._open.clear()
            self._ended_s = time.monotonic()
        return found

    def _shipments(self, one: Intent | Outcome) -> Iterator[Shipment]:
        if isinstance(one, Intent):
            self._open[one.event_id] = one
            if (begun := self._raw(one, None)) is not None:
                yield Shipment("intent", begun)
            return
        intent = self._open.pop(one.event_id, None)
        if intent is None:
            return  # written twice when a segment failed, or its intent never reached the disk
        raw = self._raw(intent, one, texts=self._texts(one)) or self._raw(intent, one)
        if raw is not None:
            yield Shipment("outcome", raw)
        if raw is None or not _is_understood(raw):
            yield from self._understandable(intent, one)

    def _understandable(self, intent: Intent, outcome: Outcome) -> Iterator[Shipment]:
        """The call came to its end, though its record will be rejected: one without what contradicts itself ends it."""
        for plainer in _plainer(outcome):
            raw = self._raw(intent, plainer)
            if raw is not None and _is_understood(raw):
                yield Shipment("plainer", raw)
                return

    def _texts(self, outcome: Outcome) -> Texts | None:
        if outcome.texts is None:
            return None
        self._texts_file = max(self._texts_file, outcome.texts.file)
        return capturing.read(self.folder, outcome.texts)

    def _raw(self, intent: Intent, outcome: Outcome | None, *, texts: Texts | None = None) -> RawEvent | None:
        """The record; None where none can be made."""
        raw = survived("shipped", lambda: raw_event(intent, outcome, epoch=self.folder.name, texts=texts))
        if raw is None:
            return None
        self._sequence += 1
        raw.headers["ce_sequence"] = str(self._sequence).encode()
        raw.headers["ce_epoch"] = self.folder.name.encode()
        return raw

    def acknowledged(self, *, at_once: bool = False) -> None:
        """All that `next` gave so far is acknowledged: keep that, and delete what is shipped and kept long enough."""
        now_s = time.monotonic()
        place = self._tail.place
        cursor = self._file.cursor
        moved = (place.segment, place.offset) != (cursor.segment, cursor.offset) or len(cursor.open) != len(self._open)
        if moved and (at_once or self.ended or now_s - self._saved_s >= SAVE_EVERY_S):
            self._saved_s = now_s
            cursor = Cursor(
                segment=place.segment, offset=place.offset, sequence=self._sequence, open=tuple(self._open.values())
            )
            self._file.write(cursor)
            if self._texts_file:
                capturing.forget(self.folder, before=self._texts_file)
        self._delete(now_s)

    def _delete(self, now_s: float) -> None:
        for number in epochs.segments(self.folder):
            if number >= self._file.cursor.segment:
                break
            if now_s - self._done_with.setdefault(number, now_s) >= self._keep_s:
                epochs.segment_path(self.folder, number).unlink()
                del self._done_with[number]

    def behind_bytes(self) -> int:
        """What is written and not acknowledged, at most: whole segments beyond the cursor, less where it stands."""
        cursor = self._file.cursor
        sizes = [
            epochs.segment_path(self.folder, number).stat().st_size
            for number in epochs.segments(self.folder)
            if number >= cursor.segment
        ]
        return max(sum(sizes) - cursor.offset, 0)

    def removable(self) -> bool:
        """Whether it was ended long enough ago."""
        return self._ended_s is not None and time.monotonic() - self._ended_s >= self._keep_s

    def close(self) -> None:
        """Stop reading it."""
        self._file.close()
        if self._lock is not None:
            os.close(self._lock)


def _is_understood(raw: RawEvent) -> bool:
    """Whether the ledger will have a call of it."""
    return isinstance(survived("shipped", lambda: process(raw, default_context())), PricedCall)


def _plainer(outcome: Outcome) -> Iterator[Outcome]:
    """The same with less and less in it; the last is always understood."""
    timeless = msgspec.structs.replace(outcome, timings_us={}, token_times_us=(), first_token_at_us=None)
    yield timeless
    if outcome.reply is not None:
        try:
            reply = _members.decode(outcome.reply)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            reply = {}
        kept = {name: value for name, value in reply.items() if name not in _NOT_AGAIN}
        yield msgspec.structs.replace(timeless, reply=msgspec.Raw(_encode(kept)), output_chunks=0)
    yield Outcome(event_id=outcome.event_id, aborted=True, error_type=NOT_UNDERSTOOD)
