"""Which stack is meant: its folder, and the ports that folder or the checkout states."""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
import tomllib
from dataclasses import fields
from pathlib import Path

from infra.local.layout import HOST, Layout, Ports

REPO = Path(__file__).resolve().parents[2]
PORTS_FILE = Path(__file__).with_name("ports.toml")
_BLOCKS = (10_000, 32_000, 50)
"""First port, end, ports of a block: below those that Linux gives to outgoing connections, which would take one."""


def layout_of(root: str | None = None) -> Layout:
    """The stack in `root`, or the checkout's own in .local/stack."""
    folder = Path(root).resolve() if root else REPO / ".local" / "stack"
    table = tomllib.loads(PORTS_FILE.read_text(encoding="utf-8"))
    own = folder / "ports.toml"
    if own.exists():
        table |= tomllib.loads(own.read_text(encoding="utf-8"))
    return Layout(repo=REPO, root=folder, ports=Ports.from_table(table))


def claim_free_ports(root: Path) -> None:
    """Give the stack in `root` ports that nobody listens on and no other stack has, unless it has some already.

    Claims are links to the stacks' folders, in the folder for temporary files; one whose folder is gone is free again.
    """
    own = root / "ports.toml"
    if own.exists():
        return
    root.mkdir(parents=True, exist_ok=True)
    names = [field.name for field in fields(Ports)]
    claims = Path(tempfile.gettempdir(), f"tokenledger-ports-{os.getuid()}")
    claims.mkdir(exist_ok=True)
    with (claims / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for first in range(*_BLOCKS):
            claim = claims / str(first)
            ports = range(first, first + len(names))
            if not claim.exists() and all(map(_free, ports)):
                claim.unlink(missing_ok=True)
                claim.symlink_to(root.resolve())
                lines = [f"{name} = {port}\n" for name, port in zip(names, ports, strict=True)]
                own.write_text("".join(lines), encoding="utf-8")
                return
    message = f"no block of {len(names)} free ports from {_BLOCKS[0]} on; claims are in {claims}"
    raise OSError(message)


def _free(port: int) -> bool:
    try:
        socket.create_server((HOST, port)).close()
    except OSError:
        return False
    return True
