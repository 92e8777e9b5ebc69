"""A small disk does what a real one does when it is full or loses its power."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.disk import cut, fill, format_disk, mount, off_and_on, unmount
from tests.faults.fault import Disk, NotInjected

pytestmark = pytest.mark.slow


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    made = Disk(name="kafka", image=tmp_path / "kafka.img", mount=tmp_path / "kafka", link=tmp_path / "link")
    try:
        format_disk(made, 32)
        mount(made)
    except NotInjected as reason:
        pytest.skip(str(reason))
    yield made
    unmount(made)


def test_after_a_power_cut_what_was_synced_is_there_and_what_was_not_is_gone(disk: Disk) -> None:
    path = disk.mount / "log"
    with path.open("wb") as file:
        file.write(b"synced\n" * 500)
        file.flush()
        os.fsync(file.fileno())
        file.write(b"never synced\n" * 500)
        file.flush()
        cut(disk)
    off_and_on(disk)
    assert path.read_bytes() == b"synced\n" * 500


def test_a_full_disk_takes_not_one_byte_more_until_it_is_freed(disk: Disk) -> None:
    ballast = disk.mount / "ballast"
    assert fill(ballast) > 16 * 1024 * 1024
    with pytest.raises(OSError, match="No space left"), (disk.mount / "log").open("wb") as file:
        file.write(b"one")
    ballast.unlink()
    assert (disk.mount / "log").write_bytes(b"one") == 3
