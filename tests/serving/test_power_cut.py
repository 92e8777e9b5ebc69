"""A power cut, as near as a process can come to one: the disk as it was, without what only memory held.

The outbox writes to a file system of its own that commits by itself only every five minutes. Its process is stopped,
the image copied and mounted elsewhere: what is there was synced, the rest is gone.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from serving.gateway import epochs
from serving.gateway.records import Intent
from serving.gateway.tailing import Tail

_WRITES = """
import asyncio, sys
from pathlib import Path
from serving.gateway.outbox import Outbox, OutboxLimits
from tests.serving.attempts import intent, outcome
from tests.serving.test_outbox import _frame

async def main():
    outbox = Outbox(Path(sys.argv[1]) / "outbox", OutboxLimits(capacity_bytes=1 << 30, segment_bytes=1 << 19))
    await outbox.start()
    Path(sys.argv[1], "not_synced").write_text("x" * 1000)
    async def one(number):
        frame = _frame(intent(f"e{number}"))
        await outbox.room_for(frame)
        await outbox.write(frame)
        print(number, flush=True)
        outbox.append(_frame(outcome(f"e{number}")))
    for first in range(0, 100_000, 20):
        await asyncio.gather(*(one(number) for number in range(first, first + 20)))
asyncio.run(main())
"""
_COUNT = 1_000


@contextmanager
def _mounted(image: Path, folder: Path) -> Iterator[Path]:
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-o", "loop,commit=300", str(image), str(folder)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("no image may be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mkfs.ext4"), reason="a file system of one's own needs root")
def test_every_intent_that_was_acknowledged_is_on_disk_after_a_power_cut(tmp_path: Path) -> None:
    image, copy = tmp_path / "image", tmp_path / "copy"
    with image.open("wb") as file:
        file.truncate(64 * 1024 * 1024)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    with _mounted(image, tmp_path / "disk") as disk:
        writer = subprocess.Popen(
            [sys.executable, "-c", _WRITES, str(disk)], stdout=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        )  # fmt: skip
        assert writer.stdout is not None
        acknowledged = [int(writer.stdout.readline()) for _ in range(_COUNT)]
        writer.send_signal(signal.SIGSTOP)
        shutil.copyfile(image, copy)
        writer.kill()
        writer.wait()
        writer.stdout.close()
    with _mounted(copy, tmp_path / "after") as disk:
        assert not (disk / "not_synced").exists() or not (disk / "not_synced").read_text()
        [folder] = epochs.listed(disk / "outbox")
        tail, found = Tail(folder), set[str]()
        while part := tail.read():
            found |= {one.event_id for one in part if isinstance(one, Intent)}
    assert {f"e{number}" for number in acknowledged} <= found
