"""A simulator as a process of one's own: started, asked what it served, told what to get wrong, gone at the end."""

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from serving.simulator.journal import Entry, read_journal

_HOST = "127.0.0.1"
_IDLE_WITHIN_S = 20.0


class Fleet:
    """A running simulator."""

    def __init__(self, ports: Mapping[str, Any], *, journal: Path, process: subprocess.Popen[bytes]) -> None:
        self._control: int = ports["control"]
        self._journal = journal
        self.process = process
        self.ports: dict[str, int] = ports["tiers"]
        self.models: dict[str, list[str]] = ports["models"]

    def url(self, tier: str) -> str:
        """What an SDK calls the base URL."""
        return f"http://{_HOST}:{self.ports[tier]}/v1"

    def change(self, tier: str, **change: object) -> dict[str, Any]:
        """Tell a tier what its controls take; its state afterwards."""
        return self._ask("POST", f"/tiers/{tier}", body=json.dumps(change))

    def state(self) -> dict[str, Any]:
        """What every tier does just now."""
        return self._ask("GET", "/tiers")

    def journal(self) -> list[Entry]:
        """What was served so far."""
        return read_journal(self._journal)

    def wait_until_idle(self) -> None:
        """Until no request is answered or waits; TimeoutError when that takes long."""
        deadline = time.monotonic() + _IDLE_WITHIN_S
        while any(state["active"] or state["waiting"] for state in self.state().values()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"simulator: still at work after {_IDLE_WITHIN_S:.0f} s: {self.state()}")
            time.sleep(0.05)

    def _ask(self, method: str, path: str, *, body: str | None = None) -> dict[str, Any]:
        connection = http.client.HTTPConnection(_HOST, self._control, timeout=10)
        try:
            connection.request(method, path, body)
            reply = connection.getresponse()
            answer: dict[str, Any] = json.load(reply)
        finally:
            connection.close()
        if reply.status != 200:  # noqa: PLR2004 - the status of all that is well
            raise ValueError(f"simulator: {answer['error']['message']}")
        return answer


@contextmanager
def running(tiers: str, folder: Path) -> Iterator[Fleet]:
    """A simulator of these `[[tiers]]` on free ports; its journal and log are in the folder."""
    journal, config = folder / "simulator.jsonl", folder / "simulator.toml"
    config.write_text(f'seed = 7\njournal = "{journal.name}"\n{tiers}', encoding="utf-8")
    with started("--config", str(config), log=folder / "simulator.log") as (process, ports):
        yield Fleet(ports, journal=journal, process=process)


@contextmanager
def started(*arguments: str, log: Path) -> Iterator[tuple[subprocess.Popen[bytes], dict[str, Any]]]:
    """`python -m serving.simulator` with these arguments, and the ports it says it has."""
    command = [sys.executable, "-m", "serving.simulator", *arguments]
    with log.open("wb") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors)
        try:
            yield process, _ports(process, log)
        finally:
            process.terminate()
            process.wait(10)
            if process.stdout is not None:
                process.stdout.close()


def _ports(process: subprocess.Popen[bytes], log: Path) -> dict[str, Any]:
    line = process.stdout.readline() if process.stdout is not None else b""
    if not line:
        raise OSError(f"simulator did not start: {log.read_text(encoding='utf-8').strip()}")
    ports: dict[str, Any] = json.loads(line)
    return ports
