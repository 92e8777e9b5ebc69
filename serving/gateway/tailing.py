"""An epoch of the outbox as its readers see it: whole frames in order, up to where nothing more is written.

Reading begins at a cursor and never changes anything. A frame that is not whole ends a segment, unless a later segment
has begun: the writer begins one only when all before it is durable or given up.
"""

import os
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from serving.gateway import epochs
from serving.gateway.defects import survived
from serving.gateway.envelopes import NOT_UNDERSTOOD
from serving.gateway.frames import INTENT, MAX_FRAME_BYTES, OUTCOME, Frame, frames
from serving.gateway.records import Intent, Outcome

_READ_BYTES: Final = 1024 * 1024
_BEGINNING: Final = b'{"event_id":"'

_intent: Final = msgspec.json.Decoder(Intent)
# The decoder knows raw JSON, but not raw JSON or null; where there is no reply, the field is not written.
_Stored = msgspec.defstruct(
    "_Stored",
    [
        (field.name, msgspec.Raw, msgspec.Raw()) if field.name == "reply" else (field.name, field.type, field.default)
        for field in msgspec.structs.fields(Outcome)
        if field.name not in {"event_id", "timings_us"}
    ]
    + [("timings_us", dict[str, int], msgspec.field(default_factory=dict)), ("event_id", str, "")],
)
_outcome: Final = msgspec.json.Decoder(_Stored)


class Place(NamedTuple):
    """Where the next frame is read."""

    segment: int
    offset: int


BEGINNING: Final = Place(0, 0)


class Tail:
    """Reads one epoch on and on."""

    def __init__(self, folder: Path, place: Place = BEGINNING) -> None:
        self.folder = folder
        self.place = place
        self._read_bytes = MAX_FRAME_BYTES

    def read(self) -> list[Intent | Outcome]:
        """What is there to be read, oldest first; empty where nothing more is written yet."""
        found = self._here()
        while not found and (later := self._begun_later()) is not None:
            # Once more: the writer may have added to this segment before it began the next.
            found = self._here()
            if not found:
                self.place = Place(later, 0)
                found = self._here()
        # A quiet segment is looked at often and is all zeros, so little of it is read.
        self._read_bytes = min(2 * self._read_bytes, _READ_BYTES) if found else MAX_FRAME_BYTES
        return [decoded for frame in found if (decoded := _decoded(frame)) is not None]

    def _here(self) -> list[Frame]:
        segment, offset = self.place
        data = _pread(epochs.segment_path(self.folder, segment), offset, size=self._read_bytes)
        found = list(frames(data))
        if found:
            self.place = Place(segment, offset + found[-1].end)
        return found

    def _begun_later(self) -> int | None:
        """The next segment with anything in it."""
        for number in epochs.segments(self.folder):
            if number > self.place.segment:
                data = _pread(epochs.segment_path(self.folder, number), 0, size=MAX_FRAME_BYTES)
                if next(frames(data), None) is not None:
                    return number
        return None


def _pread(path: Path, offset: int, *, size: int) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return b""  # shipped and deleted
    try:
        return os.pread(fd, size, offset)
    finally:
        os.close(fd)


def _decoded(frame: Frame) -> Intent | Outcome | None:
    if frame.kind == INTENT:
        return _intent.decode(frame.payload)
    return stored(frame.payload) if frame.kind == OUTCOME else None


def stored(payload: bytes) -> Outcome:
    """An outcome as it lies in its frame; one that cannot be read, as an attempt that came to its end."""
    return survived("stored", lambda: _whole(payload)) or _bare(payload)


def _bare(payload: bytes) -> Outcome:
    """Its id alone, which every outcome begins with."""
    event_id = payload.removeprefix(_BEGINNING).partition(b'"')[0].decode("ascii", "replace")
    return Outcome(event_id=event_id, aborted=True, error_type=NOT_UNDERSTOOD)


def _whole(payload: bytes) -> Outcome:
    fields = msgspec.structs.asdict(_outcome.decode(payload))
    # A copy: a piece of the frame would keep the whole of it in memory.
    reply = bytes(fields.pop("reply"))
    return Outcome(**fields, reply=msgspec.Raw(reply) if reply else None)
