"""`python -m tests.serving.process CONFIG`: the gateway's process with its accounting in memory, told at the end."""

import sys
from pathlib import Path

import msgspec
import uvloop

from serving.gateway.__main__ import serve
from serving.gateway.service import Gateway, load
from tests.serving.running import Memory


async def run(path: Path) -> None:
    """Serve until told to end, then print every outcome, a line each."""
    memory = Memory()
    gateway = Gateway(load(path), accounting=memory, admission=memory, ready=lambda: True)
    await serve(gateway, path)
    assert memory.settled_once()
    for outcome in memory.outcomes:
        sys.stdout.write(msgspec.json.encode(outcome).decode() + "\n")


uvloop.run(run(Path(sys.argv[1])))
