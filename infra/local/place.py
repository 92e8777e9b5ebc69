"""Which stack is meant: its folder, and the ports that folder or the checkout states."""

from __future__ import annotations

import socket
import tomllib
from dataclasses import fields
from pathlib import Path

from infra.local.layout import HOST, Layout, Ports

REPO = Path(__file__).resolve().parents[2]
PORTS_FILE = Path(__file__).with_name("ports.toml")


def layout_of(root: str | None = None) -> Layout:
    """The stack in `root`, or the checkout's own in .local/stack."""
    folder = Path(root).resolve() if root else REPO / ".local" / "stack"
    table = tomllib.loads(PORTS_FILE.read_text(encoding="utf-8"))
    own = folder / "ports.toml"
    if own.exists():
        table |= tomllib.loads(own.read_text(encoding="utf-8"))
    return Layout(repo=REPO, root=folder, ports=Ports.from_table(table))


def claim_free_ports(root: Path) -> None:
    """Give the stack in `root` ports nobody listens on, unless it has some already."""
    own = root / "ports.toml"
    if own.exists():
        return
    root.mkdir(parents=True, exist_ok=True)
    # All are held open together, so that no port is handed out twice.
    sockets = {field.name: socket.create_server((HOST, 0)) for field in fields(Ports)}
    lines = [f"{name} = {held.getsockname()[1]}\n" for name, held in sockets.items()]
    for held in sockets.values():
        held.close()
    own.write_text("".join(lines), encoding="utf-8")
