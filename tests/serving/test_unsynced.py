"""An outcome that was taken outlives its process at once, though it is synced later."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from serving.gateway import epochs
from serving.gateway.frames import INTENT, OUTCOME, framed
from serving.gateway.outbox import Outbox, OutboxLimits
from serving.gateway.restoring import unsettled
from serving.gateway.shipping import EpochShipper
from serving.gateway.unsynced import Unsynced, left
from tests.serving.attempts import intent, outcome
from tokenledger.process import default_context

_LIMITS = OutboxLimits(capacity_bytes=1 << 22, segment_bytes=1 << 17)


async def _take_and_die(root: Path) -> None:
    """Ten intents, then their outcomes, and the end before any outcome can be written."""
    outbox = Outbox(root, _LIMITS)
    await outbox.start()
    for number in range(10):
        frame = framed(INTENT, msgspec.json.encode(intent(f"e{number}")))
        await outbox.room_for(frame)
        await outbox.write(frame)
    for number in range(9):
        outbox.append(framed(OUTCOME, msgspec.json.encode(outcome(f"e{number}"))))
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_a_process_that_is_killed_right_after_an_outcome_leaves_the_outcome_not_an_orphan(tmp_path: Path) -> None:
    code = (
        "import asyncio, sys, pathlib; from tests.serving.test_unsynced import _take_and_die;"
        " asyncio.run(_take_and_die(pathlib.Path(sys.argv[1])))"
    )
    died = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False, timeout=60)
    assert died.returncode == -signal.SIGKILL
    [folder] = epochs.listed(tmp_path)
    shipper = EpochShipper(folder, keep_s=0)
    sent = []
    while not shipper.ended:
        sent += shipper.next()
    assert [one.kind for one in sent] == ["intent"] * 10 + ["outcome"] * 9 + ["closing"]
    assert sum(one.amount_usd_pico for one in unsettled(tmp_path, own="", context=default_context())) > 0
    shipper.close()


def test_the_half_that_is_being_written_stays_until_it_is_written(tmp_path: Path) -> None:
    epoch = epochs.create(tmp_path)
    kept = Unsynced(epoch.folder)
    frames = [framed(OUTCOME, msgspec.json.encode(outcome(f"e{number}"))) for number in range(4)]
    kept.keep(frames[0])
    kept.turn()
    kept.keep(frames[1])
    assert {one.event_id for one in left(epoch.folder)} == {"e0", "e1"}
    kept.begin_anew([frames[0], frames[1]])
    kept.turn()
    kept.keep(frames[2])
    assert {one.event_id for one in left(epoch.folder)} == {"e0", "e1", "e2"}
    kept.keep(b"x" * epochs.UNSYNCED_BYTES)  # no room: it is synced as ever, only later than a kill
    assert {one.event_id for one in left(epoch.folder)} == {"e0", "e1", "e2"}
    kept.close()
    os.close(epoch.lock)


def test_an_outcome_that_was_torn_is_none(tmp_path: Path) -> None:
    epoch = epochs.create(tmp_path)
    frame = framed(OUTCOME, msgspec.json.encode(outcome("torn")))
    for cut in range(len(frame)):
        kept = Unsynced(epoch.folder)
        kept.keep(frame[:cut].ljust(len(frame), b"\xff"))
        assert left(epoch.folder) == []
        kept.close()
    os.close(epoch.lock)


def test_outcomes_of_many_groups_are_each_shipped_once(tmp_path: Path) -> None:
    async def many() -> None:
        outbox = Outbox(tmp_path, _LIMITS)
        await outbox.start()
        for number in range(200):
            frame = framed(INTENT, msgspec.json.encode(intent(f"e{number}")))
            await outbox.room_for(frame)
            await outbox.write(frame)
            outbox.append(framed(OUTCOME, msgspec.json.encode(outcome(f"e{number}"))))
        await outbox.close()

    asyncio.run(many())
    [folder] = epochs.listed(tmp_path)
    shipper = EpochShipper(folder, keep_s=0)
    sent = []
    while not shipper.ended:
        sent += shipper.next()
    outcomes = [one.raw.headers["ce_id"] for one in sent if one.kind == "outcome"]
    assert len(outcomes) == len(set(outcomes)) == 200
    assert not [one for one in sent if one.kind == "closing"]
    shipper.close()
