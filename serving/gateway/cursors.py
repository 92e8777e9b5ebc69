"""How far an epoch is shipped, and which intents are open there: written in place, so a full disk cannot stop it.

The cursor file has two slots that are written in turn. Of those that are whole the newer counts, so a crash in the
middle of a write leaves the one before.
"""

import os
from pathlib import Path
from struct import Struct
from typing import Final
from zlib import crc32

import msgspec

from serving.gateway.epochs import CURSOR, CURSOR_SLOT_BYTES
from serving.gateway.records import Intent

_HEAD: Final = Struct("<III")


class Cursor(msgspec.Struct, frozen=True, kw_only=True):
    """All before this place is acknowledged by Kafka."""

    segment: int = 0
    """Segment that is read on."""
    offset: int = 0
    """Offset in it."""
    sequence: int = 0
    """Records of the epoch sent so far."""
    open: tuple[Intent, ...] = ()
    """Intents before this place without an outcome before it."""


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Cursor).decode


class CursorFile:
    """The cursor of one epoch."""

    def __init__(self, folder: Path) -> None:
        self._fd = os.open(folder / CURSOR, os.O_RDWR)
        slots = [
            (version, slot, cursor) for slot in (0, 1) if (found := self._read(slot)) for version, cursor in [found]
        ]
        self._version, self._slot, self.cursor = max(slots, key=lambda found: found[0], default=(0, 1, Cursor()))

    def _read(self, slot: int) -> tuple[int, Cursor] | None:
        first = slot * CURSOR_SLOT_BYTES
        version, length, checksum = _HEAD.unpack(os.pread(self._fd, _HEAD.size, first).ljust(_HEAD.size, b"\0"))
        if not 0 < length <= CURSOR_SLOT_BYTES - _HEAD.size:
            return None
        body = os.pread(self._fd, length, first + _HEAD.size)
        return (version, _decode(body)) if crc32(body, version) == checksum else None

    def write(self, cursor: Cursor) -> bool:
        """Durable when this returns; false where it has too many open intents for its slot, and the old one holds."""
        body = _encode(cursor)
        if len(body) > CURSOR_SLOT_BYTES - _HEAD.size:
            return False
        version, slot = self._version + 1, 1 - self._slot
        head = _HEAD.pack(version, len(body), crc32(body, version))
        os.pwrite(self._fd, head + body, slot * CURSOR_SLOT_BYTES)
        os.fdatasync(self._fd)
        self._version, self._slot, self.cursor = version, slot, cursor
        return True

    def close(self) -> None:
        """No more is written here."""
        os.close(self._fd)
