"""Room in the outbox: what is promised is kept, what does not fit is refused before it is sent, on a full disk too."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from serving.gateway import epochs
from serving.gateway.cursors import CursorFile
from serving.gateway.frames import OUTCOME, framed
from serving.gateway.outbox import Outbox, OutboxLimits
from serving.gateway.records import Intent, OutboxFullError, Outcome
from serving.gateway.shipping import EpochShipper
from serving.gateway.tailing import Tail
from tests.serving.attempts import intent, outcome
from tests.serving.test_outbox import _LIMITS, _SEGMENT_BYTES, _calls, _frame, _shipped, root

__all__ = ["root"]


def test_a_full_outbox_refuses_intents_keeps_its_promise_to_outcomes_and_recovers_when_shipped(root: Path) -> None:
    async def played() -> tuple[int, Path]:
        outbox = Outbox(root, OutboxLimits(capacity_bytes=3 * _SEGMENT_BYTES, segment_bytes=_SEGMENT_BYTES))
        await outbox.start()
        taken = 0
        while await _fits(outbox, _frame(intent(f"e{taken}"))):
            taken += 1
        # The largest outcome there is, for every intent that was let in.
        for number in range(taken):
            outbox.append(framed(OUTCOME, _padded(outcome(f"e{number}"))))
        await asyncio.sleep(0.2)
        shipper = EpochShipper(outbox.epoch.folder, keep_s=0)
        found = 0
        while shipments := shipper.next():
            found += sum(shipment.kind == "outcome" for shipment in shipments)
            shipper.acknowledged(at_once=True)
        shipper.close()
        assert found == taken
        await asyncio.sleep(0.3)
        frame = _frame(intent("later"))
        await outbox.room_for(frame)
        await outbox.write(frame)
        await outbox.close()
        return taken, outbox.epoch.folder

    taken, folder = asyncio.run(played())
    assert taken > 10
    assert [one.event_id for one in _read_from_first(folder)][-1] == "later"


async def _fits(outbox: Outbox, frame: bytes) -> bool:
    try:
        await outbox.room_for(frame)
    except OutboxFullError:
        return False
    await outbox.write(frame)
    return True


def _padded(one: Outcome) -> bytes:
    payload = msgspec.json.encode(one)
    return payload[:-1] + b" " * (4096 - 9 - len(payload)) + b"}"


def _read_from_first(folder: Path) -> list[Intent | Outcome]:
    tail = Tail(folder)
    tail.place = tail.place._replace(segment=min(epochs.segments(folder)))
    found = []
    while part := tail.read():
        found += part
    return found


_FILLS_ITS_DISK = """
import asyncio, resource, sys
from pathlib import Path
from serving.gateway.outbox import Outbox, OutboxLimits
from serving.gateway.records import OutboxFullError
from tests.serving.test_outbox import _frame, _SEGMENT_BYTES
from tests.serving.attempts import intent

async def main():
    outbox = Outbox(Path(sys.argv[1]), OutboxLimits(capacity_bytes=1 << 40, segment_bytes=_SEGMENT_BYTES))
    await outbox.start()
    taken = 0
    try:
        while True:
            frame = _frame(intent(f"e{taken}"))
            await outbox.room_for(frame)
            await outbox.write(frame)
            taken += 1
    except OutboxFullError:
        print(taken, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="a small file system of one's own needs root")
def test_a_full_disk_refuses_intents_and_a_kill_then_loses_none_of_those_taken(root: Path) -> None:
    size = 2 * epochs.CURSOR_SLOT_BYTES + epochs.UNSYNCED_BYTES + 6 * _SEGMENT_BYTES + 65536
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(root)], check=False)
    if mounted.returncode:
        pytest.skip("no tmpfs may be mounted here")
    try:
        gateway = subprocess.Popen(
            [sys.executable, "-c", _FILLS_ITS_DISK, str(root)], stdout=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        )  # fmt: skip
        assert gateway.stdout is not None
        taken = int(gateway.stdout.readline())
        gateway.kill()
        gateway.wait()
        gateway.stdout.close()
        assert taken > 20
        [folder] = epochs.listed(root)
        # The shipper notes how far it is and deletes, on the full disk.
        calls = _calls(_shipped(folder))
        assert calls.keys() == {f"e{number}" for number in range(taken)}
        assert {one.call.status for one in calls.values()} == {"aborted"}
        cursor = CursorFile(folder)
        cursor.close()
        assert cursor.cursor.open == ()
    finally:
        subprocess.run(["umount", str(root)], check=True)


def test_a_segment_that_fails_is_left_behind_and_what_was_promised_goes_into_the_next(root: Path) -> None:
    async def played() -> Path:
        outbox = Outbox(root, _LIMITS)
        await outbox.start()
        await outbox.write(_frame(intent("a")))
        if outbox._preparing is not None:
            await outbox._preparing
        assert outbox._current is not None
        os.close(outbox._current.fd)
        outbox._current.fd = os.open("/dev/full", os.O_WRONLY)
        outbox.append(_frame(outcome("a")))
        await outbox.write(_frame(intent("b")))
        outbox.append(_frame(outcome("b")))
        await outbox.close()
        return outbox.epoch.folder

    calls = _calls(_shipped(asyncio.run(played())))
    assert {event_id: one.call.status for event_id, one in calls.items()} == {"a": "ok", "b": "ok"}
