"""A stack of its own for faults: data folders on small disks where asked, a proxy before the broker, gone at the end.

A disk is a file that is mounted in place of a data folder, before the servers first start: it can be full, and its
power can be cut, without a hair of the machine's own disk being touched. This needs root.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from infra.local import preparation
from infra.local.layout import HOST
from infra.local.machine import inspect
from infra.local.place import claim_free_ports, layout_of
from infra.local.stack import Stack
from tests.faults.fault import Disk, NotInjected, Site
from tests.faults.proxy import before_broker, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from infra.local.layout import Layout

SIZES_MIB = {"postgres": 6_144, "kafka": 4_096, "outbox": 96}
"""A disk's size where none is stated. The file behind it is sparse: it takes what is written."""
_OPTIONS = "loop,commit=300"
"""The journal commits every five minutes instead of seconds: what nobody synced is lost at a power cut."""


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


def mount(disk: Disk) -> None:
    """Mount it."""
    run("mount", "-o", _OPTIONS, str(disk.image), str(disk.mount))


def unmount(disk: Disk) -> None:
    """Unmount it; whoever works on it must have ended."""
    run("umount", str(disk.mount))


@contextmanager
def open_site(
    *,
    say: Callable[[str], None],
    names: tuple[str, ...] = (),
    disks: Mapping[str, int] | None = None,
) -> Iterator[Site]:
    """A fresh stack of these programs, all of them if none is named; `disks`: name → MiB, 0 for the usual size.

    TOKENLEDGER_KEEP_STACK=1 keeps its folder for a look.
    """
    # Directly under /tmp: a unix socket's path may have 107 bytes.
    root = Path(tempfile.mkdtemp(prefix="tlf-", dir="/tmp"))
    root.chmod(0o755)  # Postgres runs as another account when we are root
    claim_free_ports(root)
    stack = Stack(layout_of(str(root)), say)
    with ExitStack() as undo:
        if not os.environ.get("TOKENLEDGER_KEEP_STACK"):
            undo.callback(shutil.rmtree, root)
        made = {}
        for name, size_mib in (disks or {}).items():
            disk = _made(stack.layout, name, size_mib or SIZES_MIB[name])
            undo.callback(unmount, disk)
            made[name] = disk
        _move(stack, made)
        undo.callback(stack.down)
        stack.up(names)
        yield undo.enter_context(site_at(stack, made))


@contextmanager
def site_at(stack: Stack, disks: Mapping[str, Disk] | None = None) -> Iterator[Site]:
    """A stack that runs already; its disks, if it has some, are found where `open_site` put them."""
    found = disks if disks is not None else {name: one for name in SIZES_MIB if (one := disk_of(stack.layout, name))}
    proxy = before_broker(stack.layout.ports.kafka, listen=free_port())
    with proxy.running():
        bootstrap = f"{HOST}:{proxy.listen.port}"
        yield Site(stack=stack, say=stack.say, disks=found, producer_bootstrap=bootstrap, broker_proxy=proxy)


def disk_of(layout: Layout, name: str) -> Disk | None:
    """The disk that holds this data folder, if it has one of its own."""
    folder = layout.root / "disks"
    disk = Disk(name=name, image=folder / f"{name}.img", mount=folder / name, link=layout.data / name)
    return disk if disk.image.exists() else None


def _made(layout: Layout, name: str, size_mib: int) -> Disk:
    """A formatted, mounted disk, and the data folder as a link into it."""
    folder = layout.root / "disks"
    disk = Disk(name=name, image=folder / f"{name}.img", mount=folder / name, link=layout.data / name)
    disk.mount.mkdir(parents=True)
    folder.chmod(0o755)
    with disk.image.open("wb") as file:
        file.truncate(size_mib * 1024 * 1024)
    # Without the share that only root may use, and without clearing the tables later in the background.
    run("mkfs.ext4", "-q", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(disk.image))
    mount(disk)
    return disk


def _move(stack: Stack, disks: Mapping[str, Disk]) -> None:
    """Data folders, prepared as the stack prepares them, then moved to their disks."""
    layout = stack.layout
    preparation.folders(layout)
    machine = inspect(layout)
    preparation.files(layout, machine, stack.programs())
    if "postgres" in disks:
        preparation.postgres_cluster(layout, machine)
    if "kafka" in disks:
        preparation.kafka_storage(layout, machine)
    for disk in disks.values():
        inside = disk.mount / "data"
        if disk.link.exists():
            run("cp", "-a", str(disk.link), str(inside))
            shutil.rmtree(disk.link)
        else:
            inside.mkdir()
        disk.link.symlink_to(inside)
