"""Supervisor seen from outside: its XML-RPC over a unix socket, and its own start and end."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import time
import xmlrpc.client
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from infra.local.layout import Layout

_START_WITHIN_S = 10.0
_END_WITHIN_S = 60.0
# Whether a call waits for what it asked for.
_AT_ONCE, _WHEN_DONE = False, True
_NOT_RUNNING = 70  # supervisor.xmlrpc.Faults


class _SocketConnection(http.client.HTTPConnection):
    """HTTP over a unix socket; the host name is only a placeholder."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        """Connect to the socket instead of a port."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(str(self._path))


class _SocketTransport(xmlrpc.client.Transport):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        """A fresh connection a call: supervisor may have been restarted between two."""
        connection = _SocketConnection(self._path)
        self._connection = (host, connection)  # what the parent's close() closes
        return connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One program as supervisor sees it."""

    name: str
    state: str
    pid: int
    """0 when it does not run."""
    started_at_s: int
    exit_status: int
    log: str


@dataclass(frozen=True, slots=True)
class Supervision:
    """One stack's supervisor."""

    layout: Layout

    def alive(self) -> bool:
        """Whether it answers."""
        try:
            self._call("getState")
        except (OSError, xmlrpc.client.Error):
            return False
        return True

    def start(self) -> frozenset[str]:
        """It runs, with the configuration on disk; the programs that had to stop for a changed one."""
        if self.alive():
            return self._reload()
        self.layout.supervisor_socket.unlink(missing_ok=True)
        config = str(self.layout.config / "supervisord.conf")
        command = [str(self.layout.python), "-m", "supervisor.supervisord", "-c", config]
        subprocess.run(command, check=True, cwd=self.layout.repo)
        deadline = time.monotonic() + _START_WITHIN_S
        while not self.alive():
            if time.monotonic() > deadline:
                message = f"supervisor: no answer after {_START_WITHIN_S:.0f} s; see {self.log}"
                raise TimeoutError(message)
            time.sleep(0.05)
        return frozenset()

    @property
    def log(self) -> Path:
        """Supervisor's own log."""
        return self.layout.logs / "supervisor.log"

    def processes(self) -> list[Process]:
        """Every program it knows."""
        return [
            Process(
                name=info["name"],
                state=info["statename"],
                pid=info["pid"],
                started_at_s=info["start"],
                exit_status=info["exitstatus"],
                log=info["stdout_logfile"],
            )
            for info in self._call("getAllProcessInfo")
        ]

    def process(self, name: str) -> Process:
        """One program; an unknown name is an error that lists the known ones."""
        known = {process.name: process for process in self.processes()}
        if name not in known:
            message = f"stack: no program {name!r}; there are {', '.join(known)}"
            raise ValueError(message)
        return known[name]

    def start_program(self, name: str) -> None:
        """Start a program that does not run; returns at once."""
        if self.process(name).state not in {"RUNNING", "STARTING", "BACKOFF"}:
            self._call("startProcess", name, _AT_ONCE)

    def stop_program(self, name: str) -> None:
        """Stop a program gracefully; returns when it is gone, and stays so."""
        while self.process(name).state not in {"STOPPED", "FATAL"}:
            try:
                self._call("stopProcess", name, _WHEN_DONE)
            except xmlrpc.client.Fault as fault:
                if fault.faultCode != _NOT_RUNNING:
                    raise
                # It ended by itself, and supervisor is about to start it again.
                time.sleep(0.05)

    def end(self) -> None:
        """End supervisor itself; returns when its process is gone."""
        pid = self._call("getPID")
        self._call("shutdown")
        deadline = time.monotonic() + _END_WITHIN_S
        while _exists(pid):
            if time.monotonic() > deadline:
                message = f"supervisor: pid {pid} still runs after {_END_WITHIN_S:.0f} s; see {self.log}"
                raise TimeoutError(message)
            time.sleep(0.05)

    def _reload(self) -> frozenset[str]:
        """Programs whose configuration changed are stopped and known anew; others run on."""
        [[added, changed, removed]] = self._call("reloadConfig")
        ran = {process.name for process in self.processes() if process.pid}
        for name in (*changed, *removed):
            self.stop_program(name)
            self._call("removeProcessGroup", name)
        for name in (*added, *changed):
            self._call("addProcessGroup", name)
        return frozenset(changed) & ran

    def _call(self, method: str, *arguments: object) -> Any:
        transport = _SocketTransport(self.layout.supervisor_socket)
        with xmlrpc.client.ServerProxy("http://localhost", transport=transport) as proxy:
            return getattr(proxy.supervisor, method)(*arguments)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
