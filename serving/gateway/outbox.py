"""The gateway's own log: an intent is on disk before `write` returns, an outcome soon after `append`, room promised.

Everything but the writing itself happens on the event loop: frames gather in a group while the group before them is
being written and synced by one thread, so many requests share one sync and no lock is needed.
"""

import asyncio
import contextlib
import os
import queue
import threading
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from ledger.observing import logger
from serving.gateway import epochs
from serving.gateway.account_metrics import OUTBOX_ERRORS, OUTBOX_SYNC_SECONDS
from serving.gateway.epochs import Segment
from serving.gateway.frames import MAX_FRAME_BYTES
from serving.gateway.records import OutboxFullError
from serving.gateway.unsynced import Unsynced

OUTCOME_ROOM_BYTES: Final = 4096
"""Room that is kept for the outcome of every open intent; no outcome's frame is longer."""
_OUTCOMES_WAIT_S: Final = 0.05
_GROUP_GAP_S: Final = 0.002
"""Groups begin at least this far apart: under load a sync then serves several requests, and a lone one waits for none.
A sync costs some 100 µs of CPU whatever it carries."""
_RETRY_AFTER_S: Final = 0.25

log = logger("serving.gateway.outbox")


class WriteFailedError(OutboxFullError):
    """The disk failed under the frame: it may be there or not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxLimits:
    """How much an outbox may take."""

    capacity_bytes: int
    """All segments of all epochs together."""
    segment_bytes: int
    """One segment."""

    def __post_init__(self) -> None:
        """Raises ValueError for segments that do not hold two frames."""
        if self.segment_bytes < 2 * MAX_FRAME_BYTES:
            message = f"outbox: segments of {self.segment_bytes} bytes; at least {2 * MAX_FRAME_BYTES} would be right"
            raise ValueError(message)


class _Entry(NamedTuple):
    frame: bytes
    waiter: asyncio.Future[None] | None


class _Written(NamedTuple):
    """What the writer says of a group."""

    error: OSError | None
    room_bytes: int
    """What is left of the segment it writes to."""
    left_behind: bool
    """Whether a segment failed under it."""


class Outbox:
    """One epoch, written by one process. All methods are called on the event loop that `start` ran on."""

    def __init__(self, root: Path, limits: OutboxLimits) -> None:
        self._root = root
        self._limits = limits
        self.epoch = epochs.create(root)
        self._unsynced = Unsynced(self.epoch.folder)
        self._next_number = 0
        self._pending: list[_Entry] = []
        self._writing = False
        self._timer: asyncio.Handle | None = None
        self._due_s = 0.0
        self._begun_s = 0.0
        self._room_bytes = 0
        self._open = 0
        self._prepared: deque[Segment] = deque()
        self._preparing: asyncio.Future[None] | None = None
        self._retry_at_s = 0.0
        self._without_room = False
        self._current: Segment | None = None
        self._groups: queue.SimpleQueue[list[_Entry] | None] = queue.SimpleQueue()
        self._preparer = ThreadPoolExecutor(1, "outbox-prepare")
        self._writer = threading.Thread(target=self._write_groups, name="outbox-write", daemon=True)

    async def start(self) -> None:
        """Writing may begin; a disk without room is no error yet, intents are refused then."""
        self._loop = asyncio.get_running_loop()
        self._writer.start()
        self._prepare()
        if self._preparing is not None:
            await self._preparing

    @property
    def open_intents(self) -> int:
        """Intents whose outcome is still to come."""
        return self._open

    @property
    def room_bytes(self) -> int:
        """What is left on disk for frames, less what is promised to outcomes."""
        return self._room_bytes - self._open * OUTCOME_ROOM_BYTES

    # Intents and outcomes

    def has_room_for(self, frame: bytes) -> bool:
        """Whether there is room for the frame and its outcome."""
        return self._room_bytes - self._open * OUTCOME_ROOM_BYTES >= len(frame) + OUTCOME_ROOM_BYTES

    async def room_for(self, frame: bytes) -> None:
        """Returns when there is room for the frame and its outcome, to be written at once. Raises OutboxFullError."""
        while not self.has_room_for(frame):
            self._prepare()
            if self._preparing is None:
                message = f"outbox: full at {self._limits.capacity_bytes} bytes or its disk is; nothing was sent"
                raise OutboxFullError(message)
            await asyncio.shield(self._preparing)

    async def write(self, frame: bytes) -> None:
        """Returns when the frame is durable. Raises WriteFailedError; an outcome has to follow all the same."""
        self._open += 1
        self._room_bytes -= len(frame)
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._pending.append(_Entry(frame, waiter))
        self._flush_at(self._begun_s + _GROUP_GAP_S)
        if self.room_bytes < self._limits.segment_bytes:
            self._prepare()
        await waiter

    def append(self, frame: bytes) -> None:
        """Takes the outcome of an open intent; it outlives the process at once, the machine within 50 ms."""
        self._unsynced.keep(frame)
        self._open -= 1
        self._room_bytes -= len(frame)
        self._pending.append(_Entry(frame, None))
        if self._timer is None and not self._writing:
            self._flush_at(time.monotonic() + _OUTCOMES_WAIT_S)

    def take(self, intent: bytes, outcome: bytes) -> None:
        """Both frames of a call that sends nothing, so that nobody waits for the disk. Raises OutboxFullError."""
        if self.room_bytes < self._limits.segment_bytes:
            self._prepare()
        if self.room_bytes < len(intent) + OUTCOME_ROOM_BYTES:
            raise OutboxFullError(f"outbox: full at {self._limits.capacity_bytes} bytes or its disk is")
        self._open += 1
        self._room_bytes -= len(intent)
        self._pending.append(_Entry(intent, None))
        self.append(outcome)

    async def close(self) -> None:
        """All that was taken is on disk, if the disk allows; the epoch has no owner from now on."""
        deadline_s = time.monotonic() + 5
        while (self._pending or self._writing) and time.monotonic() < deadline_s:
            self._flush()
            await asyncio.sleep(0.005)
        self._groups.put(None)
        await asyncio.to_thread(self._writer.join)
        self._preparer.shutdown()
        for segment in filter(None, (self._current, *self._prepared)):
            segment.close()
        self._unsynced.close()
        os.close(self.epoch.lock)

    # Groups

    def _flush_at(self, due_s: float) -> None:
        """Begin the next group then; what comes in before is part of it. A later date gives way to an earlier one."""
        if self._writing:
            return
        if self._timer is not None:
            if self._due_s <= due_s:
                return
            self._timer.cancel()
        self._due_s = due_s
        wait_s = due_s - time.monotonic()
        # A turn of the loop is waited for in any case: what else arrives in it comes along.
        self._timer = self._loop.call_later(wait_s, self._flush) if wait_s > 0 else self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._writing or not self._pending:
            return
        self._writing = True
        self._begun_s = time.monotonic()
        self._unsynced.turn()
        group, self._pending = self._pending, []
        self._groups.put(group)

    def _done(self, group: list[_Entry], written: _Written) -> None:
        """On the loop: the writer has answered."""
        self._writing = False
        if written.left_behind:
            OUTBOX_ERRORS.inc()
            self._count_room(written.room_bytes)
        if written.error is None:
            for _, waiter in group:
                if waiter is not None and not waiter.done():
                    waiter.set_result(None)
            if self._pending:
                waited_for = any(entry.waiter is not None for entry in self._pending)
                gap_s = _GROUP_GAP_S if waited_for else _OUTCOMES_WAIT_S
                self._flush_at(self._begun_s + gap_s)
            return
        self._failed(group, written)

    def _failed(self, group: list[_Entry], written: _Written) -> None:
        """Whoever waits is told; what nobody waits for is tried again, since it was promised."""
        log.error("disk failed", extra={"facts": {"error": str(written.error), "epoch": self.epoch.name}})
        kept = [entry for entry in group if entry.waiter is None]
        self._pending = kept + self._pending
        self._unsynced.begin_anew(entry.frame for entry in self._pending if entry.waiter is None)
        self._count_room(written.room_bytes)
        for _, waiter in group:
            if waiter is not None and not waiter.done():
                waiter.set_exception(WriteFailedError(f"outbox: not written: {written.error}; nothing was sent"))
        self._loop.call_later(_RETRY_AFTER_S, self._retry)

    def _count_room(self, current_bytes: int) -> None:
        """What is left, counted anew; the writer is idle."""
        self._room_bytes = (
            max(_usable(current_bytes), 0)
            + sum(_usable(segment.size) for segment in self._prepared)
            - sum(len(entry.frame) for entry in self._pending)
        )

    def _retry(self) -> None:
        self._prepare()
        self._flush()

    def _write_groups(self) -> None:
        """The writer's thread."""
        while (group := self._groups.get()) is not None:
            begun_s = time.perf_counter()
            written = self._write_group([entry.frame for entry in group])
            OUTBOX_SYNC_SECONDS.observe(time.perf_counter() - begun_s)
            with contextlib.suppress(RuntimeError):  # the loop was closed: nobody is left to be told
                self._loop.call_soon_threadsafe(self._done, group, written)

    def _write_group(self, frames: list[bytes]) -> _Written:
        """Written and synced; a segment that fails is left behind, and the whole group goes into the next."""
        error: OSError | None = None
        while self._current is not None or self._prepared:
            try:
                self._sync(frames)
            except OSError as failure:
                error = failure
                self._drop_current()
            else:
                return _Written(None, self._current_room(), left_behind=error is not None)
        return _Written(error or OSError("no segment"), 0, left_behind=True)

    def _sync(self, frames: list[bytes]) -> None:
        """Segment by segment: the next is begun when all before it is durable."""
        first = 0
        while first < len(frames):
            segment = self._current or self._take_prepared()
            last, room = first, segment.size - segment.at
            while last < len(frames) and len(frames[last]) <= room:
                room -= len(frames[last])
                last += 1
            if last > first:
                segment.write(b"".join(frames[first:last]))
                first = last
            if first < len(frames):
                self._drop_current()

    def _take_prepared(self) -> Segment:
        try:
            self._current = self._prepared.popleft()
        except IndexError:
            raise OSError("outbox: no segment is left") from None
        return self._current

    def _drop_current(self) -> None:
        if self._current is not None:
            self._current.close()
            self._current = None

    def _current_room(self) -> int:
        return 0 if self._current is None else self._current.size - self._current.at

    # Segments ahead of need

    def _prepare(self) -> None:
        """Have one more segment made, unless one is being made or the last attempt just failed."""
        if self._preparing is None and time.monotonic() >= self._retry_at_s:
            number, self._next_number = self._next_number, self._next_number + 1
            self._preparing = self._loop.create_future()
            self._preparer.submit(self._make_segment, number).add_done_callback(self._tell_prepared)

    def _tell_prepared(self, made: Future[Segment | OSError]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed
            self._loop.call_soon_threadsafe(self._prepared_one, made.result())

    def _make_segment(self, number: int) -> Segment | OSError:
        """The preparer's thread."""
        size = self._limits.segment_bytes
        try:
            taken_bytes = epochs.taken_bytes(self._root)
            if taken_bytes + size > self._limits.capacity_bytes:
                return OSError(f"{taken_bytes} of {self._limits.capacity_bytes} bytes are taken")
            return epochs.new_segment(self.epoch.folder, number, size=size)
        except OSError as error:
            return error

    def _prepared_one(self, made: Segment | OSError) -> None:
        done, self._preparing = self._preparing, None
        if isinstance(made, OSError):
            OUTBOX_ERRORS.inc()
            self._retry_at_s = time.monotonic() + _RETRY_AFTER_S
            if not self._without_room:
                log.warning("no new segment", extra={"facts": {"why": str(made), "epoch": self.epoch.name}})
            self._without_room = True
        else:
            self._without_room = False
            self._prepared.append(made)
            self._room_bytes += _usable(made.size)
            if self._pending:
                self._flush()
        if done is not None and not done.done():
            done.set_result(None)


def _usable(size: int) -> int:
    """What a segment surely holds: the frame that does not fit its end goes into the next."""
    return size - MAX_FRAME_BYTES
