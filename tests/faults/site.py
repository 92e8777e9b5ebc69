"""A stack of its own for faults: data folders on small disks where asked, a proxy before the broker, gone at the end.

A disk is a file that is mounted in place of a data folder, before the servers first start: it can be full, and its
power can be cut, without a hair of the machine's own disk being touched. This needs root.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from confluent_kafka.admin import (  # type: ignore[attr-defined] # it re-exports without saying so
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from infra.local import preparation
from infra.local.layout import HOST
from infra.local.machine import inspect
from infra.local.place import claim_free_ports, layout_of
from infra.local.stack import NotReady, Stack
from tests.faults.disk import format_disk, mount, run, unmount
from tests.faults.fault import Disk, Site
from tests.faults.proxy import before_broker, free_port
from tokenledger.records.topics import TOPICS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from infra.local.layout import Layout

_STARTS = 5
SIZES_MIB = {"postgres": 6_144, "kafka": 4_096, "outbox": 96}
"""A disk's size where none is stated. The file behind it is sparse: it takes what is written."""


def _up(stack: Stack, names: tuple[str, ...]) -> None:
    """Everything runs; on a machine that is busy with other things a server may need more than one chance."""
    for tries in range(_STARTS, 0, -1):
        try:
            stack.up(names)
        except NotReady as error:
            if tries == 1:
                raise
            stack.say(f"not ready yet: {str(error).partition(chr(10))[0]}")
        else:
            return


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
            disk = disk_in(stack.layout, name)
            format_disk(disk, size_mib or SIZES_MIB[name])
            mount(disk)
            undo.callback(unmount, disk)
            made[name] = disk
        _move(stack, made)
        undo.callback(stack.down)
        _up(stack, names)
        if "kafka" in made:
            sync_every_record(stack.layout)
        yield undo.enter_context(site_at(stack, made))


def sync_every_record(layout: Layout) -> None:
    """The broker syncs before it acknowledges.

    By itself Kafka leaves what it acknowledged in the page cache and trusts its replicas, of which one broker has none:
    without this a power cut takes acknowledged records with it, and there is nothing to prove.
    """
    admin = AdminClient({"bootstrap.servers": layout.kafka_bootstrap})
    one = ConfigEntry("flush.messages", "1", incremental_operation=AlterConfigOpType.SET)
    asked = [ConfigResource(ResourceType.TOPIC, topic.name, incremental_configs=[one]) for topic in TOPICS]
    for answer in admin.incremental_alter_configs(asked).values():
        answer.result(30)


@contextmanager
def site_at(stack: Stack, disks: Mapping[str, Disk] | None = None) -> Iterator[Site]:
    """A stack that runs already; its disks, if it has some, are found where `open_site` put them."""
    found = (
        disks
        if disks is not None
        else {name: disk for name in SIZES_MIB if (disk := disk_in(stack.layout, name)).image.exists()}
    )
    proxy = before_broker(stack.layout.ports.kafka, listen=free_port())
    with proxy.running():
        bootstrap = f"{HOST}:{proxy.listen.port}"
        yield Site(stack=stack, say=stack.say, disks=found, producer_bootstrap=bootstrap, broker_proxy=proxy)


def disk_in(layout: Layout, name: str) -> Disk:
    """The disk that this data folder would be on."""
    folder = layout.root / "disks"
    return Disk(name=name, image=folder / f"{name}.img", mount=folder / name, link=layout.data / name)


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
