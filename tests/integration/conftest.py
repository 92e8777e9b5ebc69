"""One complete stack for all integration tests: own folder, free ports, gone at the end whatever happens."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler.loadscope import LoadScopeScheduling

from infra.local.layout import Layout
from infra.local.place import claim_free_ports, layout_of
from infra.local.readiness import flink
from infra.local.stack import Stack
from ledger.lake.consent import ConsentFile
from tests.integration.redis_server import RedisServer, running_redis

HEALTHY_WITHIN_S = 120.0


@dataclass(frozen=True, slots=True)
class RunningStack:
    """A stack that is up, with what a test may do to it."""

    stack: Stack
    told: list[str]
    """Every progress line so far."""

    @property
    def layout(self) -> Layout:
        """Where it lives."""
        return self.stack.layout

    def names(self) -> list[str]:
        """The programs that `up` waits for, in start order."""
        return [program.name for program in self.stack.programs() if program.awaited and not program.on_request]

    def pid(self, name: str) -> int:
        """The program's process, 0 while it has none."""
        return self.stack.supervision.process(name).pid

    def kill(self, name: str) -> int:
        """Kill -9, as a machine's memory killer would; the pid that died."""
        pid = self.pid(name)
        assert pid > 0, f"{name} does not run"
        os.kill(pid, signal.SIGKILL)
        return pid

    def job(self, name: str) -> dict[str, Any]:
        """The running Flink job of that name, as the JobManager describes it."""
        jobs = flink(self.layout, "/jobs/overview")["jobs"]
        [job] = [job for job in jobs if job["name"] == name and job["state"] == "RUNNING"]
        described: dict[str, Any] = job
        return described

    def worker_of(self, job: str) -> str:
        """The program that runs the job's tasks."""
        jid = self.job(job)["jid"]
        vertex = flink(self.layout, f"/jobs/{jid}")["vertices"][0]["id"]
        [worker] = flink(self.layout, f"/jobs/{jid}/vertices/{vertex}/taskmanagers")["taskmanagers"]
        return str(worker["taskmanager-id"]).rpartition("-")[0]

    def tokenledger(self, *words: str) -> str:
        """What a command printed, typed by an operator of this stack; it succeeded."""
        command = [str(self.layout.python), "-m", "tokenledger.cli", *words]
        environment = os.environ | self.layout.client_environment()
        done = subprocess.run(
            command, cwd=self.layout.repo, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def allow_texts(self, *tenants: str) -> None:
        """These tenants let their texts be kept, and every process knows."""
        for tenant in tenants:
            self.tokenledger("tenants", "set", tenant, "--capture-consent", "yes", "--reason", "a test")
        file = ConsentFile(self.layout.consent)
        self.wait_until(lambda: all(map(file.now().allows, tenants)), "the consent of tenants to be followed")

    def healthy(self) -> bool:
        """Every program runs and does its work."""
        return all(self.stack.ready(name) for name in self.names())

    def wait_until_healthy(self, within_s: float = HEALTHY_WITHIN_S) -> None:
        """Return when all is well; a failure says what is not."""
        self.wait_until(self.healthy, "every program to be ready", within_s=within_s)

    def wait_until(self, holds: Callable[[], bool], what: str, *, within_s: float = HEALTHY_WITHIN_S) -> None:
        """Poll until it holds; a failure names what was awaited and every program's state."""
        deadline = time.monotonic() + within_s
        while not holds():
            if time.monotonic() > deadline:
                supervision = self.stack.supervision
                states = [(p.name, p.state) for p in supervision.processes()] if supervision.alive() else "unknown"
                pytest.fail(f"waited {within_s:.0f} s for {what}; programs are {states}; logs in {self.layout.logs}")
            time.sleep(0.1)


class OneStack(LoadScopeScheduling):  # type: ignore[misc]
    """Of several workers one has the stack and every file that uses it; the rest goes to the others, file by file."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        text = (Path(__file__).parents[2] / file).read_text(encoding="utf-8")
        return "stack" if "RunningStack" in text else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneStack:
    """How `make test` shares these tests out."""
    return OneStack(config, log)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """A Redis with the product's configuration; a test that needs it empty flushes it with `admin`."""
    with running_redis() as server:
        yield server


@pytest.fixture(scope="session")
def stack() -> Iterator[RunningStack]:
    """A complete stack in a folder of its own; TOKENLEDGER_KEEP_STACK=1 keeps the folder for a look."""
    # Directly under /tmp: a unix socket's path may have 107 bytes, and pytest's own folders are deep.
    root = Path(tempfile.mkdtemp(prefix="tl-", dir="/tmp"))
    root.chmod(0o755)  # Postgres runs as another account when we are root
    claim_free_ports(root)
    told: list[str] = []
    running = Stack(layout_of(str(root)), told.append)
    try:
        running.up()
        yield RunningStack(running, told)
    finally:
        running.down()
        if not os.environ.get("TOKENLEDGER_KEEP_STACK"):
            shutil.rmtree(root)
