"""Outcomes on their way to a segment, copied into pages that the kernel keeps when the process is killed.

An outcome is synced up to 50 ms after its caller has the answer. A power cut in that time leaves an orphan; a kill must
not, since the process knew what the call had used. Copying costs a microsecond and no system call.
"""

import mmap
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from serving.gateway.epochs import UNSYNCED, UNSYNCED_BYTES
from serving.gateway.frames import OUTCOME, frames
from serving.gateway.records import Outcome
from serving.gateway.tailing import stored

_HALF_BYTES: Final = UNSYNCED_BYTES // 2


class Unsynced:
    """Two halves: outcomes of the group being written lie in one, those that come meanwhile in the other.

    What is older stays until it is written over: its outcomes are in a segment, and a reader does not ask for them.
    """

    def __init__(self, folder: Path) -> None:
        fd = os.open(folder / UNSYNCED, os.O_RDWR)
        self._pages = mmap.mmap(fd, UNSYNCED_BYTES)
        os.close(fd)
        self._half = 0
        self._at = 0

    def keep(self, frame: bytes) -> None:
        """Copy it, if there is room: half a megabyte holds more outcomes than 50 ms bring."""
        end = self._at + len(frame)
        if end <= _HALF_BYTES:
            begin = self._half * _HALF_BYTES
            self._pages[begin + self._at : begin + end] = frame
            self._at = end

    def turn(self) -> None:
        """All that was kept is being written, and what was being written before is in a segment."""
        self._half ^= 1
        self._at = 0

    def begin_anew(self, outcomes: Iterable[bytes]) -> None:
        """Writing failed: these are what is not in a segment."""
        self._at = 0
        for frame in outcomes:
            self.keep(frame)

    def close(self) -> None:
        """Nothing more is kept."""
        self._pages.close()


def left(folder: Path) -> list[Outcome]:
    """What a process that was killed had kept, and older ones; of those that are torn, none."""
    try:
        data = (folder / UNSYNCED).read_bytes()
    except FileNotFoundError:
        return []
    halves = data[:_HALF_BYTES], data[_HALF_BYTES:]
    return [stored(frame.payload) for half in halves for frame in frames(half) if frame.kind == OUTCOME]
