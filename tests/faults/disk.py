"""A small disk in a file: made, mounted, filled, cut off from power. This needs root."""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
from typing import TYPE_CHECKING, Final

from tests.faults.fault import NotInjected

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.fault import Disk

_OPTIONS: Final = "loop,commit=300"
"""The journal commits every five minutes instead of seconds: what nobody synced is lost at a power cut."""
_BLOCK_BYTES: Final = 4_096
# EXT4_IOC_SHUTDOWN = _IOR('X', 125, __u32): from now on nothing reaches the disk, the journal's own log included.
_SHUTDOWN: Final = 0x8004587D
_WITHOUT_LOG_FLUSH: Final = 2


def run(*command: str) -> None:
    """Run a program of the system; `NotInjected` with its words where it fails or is not there."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        message = f"{command[0]}: not installed"
        raise NotInjected(message) from error
    if done.returncode != 0:
        message = f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}"
        raise NotInjected(message)


def format_disk(disk: Disk, size_mib: int) -> None:
    """An empty file system in a file that takes what is written."""
    disk.mount.mkdir(parents=True)
    disk.mount.parent.chmod(0o755)
    with disk.image.open("wb") as file:
        file.truncate(size_mib * 1024 * 1024)
    # Without the share that only root may use, and without clearing the tables later in the background.
    run("mkfs.ext4", "-q", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(disk.image))


def mount(disk: Disk) -> None:
    """Mount it."""
    run("mount", "-o", _OPTIONS, str(disk.image), str(disk.mount))


def unmount(disk: Disk) -> None:
    """Unmount it; whoever works on it must have ended."""
    run("umount", str(disk.mount))


def cut(disk: Disk) -> str:
    """From now on nothing is written to the disk; how that was done."""
    folder = os.open(disk.mount, os.O_RDONLY)
    try:
        fcntl.ioctl(folder, _SHUTDOWN, struct.pack("I", _WITHOUT_LOG_FLUSH))
    except OSError:
        # Where the kernel refuses: the disk as it is now, to go on from.
        shutil.copyfile(disk.image, _copy(disk))
        return "a copy of the disk"
    finally:
        os.close(folder)
    return "the file system's shutdown without a flush"


def off_and_on(disk: Disk) -> None:
    """Mounted anew, as it was when it was cut."""
    unmount(disk)
    if _copy(disk).exists():
        _copy(disk).rename(disk.image)
    mount(disk)


def _copy(disk: Disk) -> Path:
    return disk.image.with_suffix(".copy")


def fill(ballast: Path) -> int:
    """Take every free block of the disk this file is on; how large it is then."""
    with ballast.open("ab") as file:
        room = os.statvfs(ballast)
        free_bytes = room.f_bavail * room.f_frsize
        try:
            if free_bytes > _BLOCK_BYTES:
                os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), free_bytes - _BLOCK_BYTES)
            file.seek(0, os.SEEK_END)
            while True:
                os.write(file.fileno(), bytes(_BLOCK_BYTES))
        except OSError:
            return ballast.stat().st_size
