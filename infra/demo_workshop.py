"""What the gateway's demos share: processes of their own beside the stack, keys for their tenants, waiting, the law."""

import json
import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg

from infra.local.layout import HOST, Layout
from ledger import api_keys
from ledger.api_keys import ApiKey

_READY_WITHIN_S = 60.0
_ACCOUNTED_WITHIN_S = 90.0
_SETTLED = """
    SELECT count(*) FILTER (WHERE status = 'ok'), count(*) FILTER (WHERE status = 'in_progress')
    FROM calls WHERE starts_with(user_id, %s)
"""


class Workshop:
    """One demo's folder and processes; all of them end with it."""

    def __init__(self, layout: Layout, held: ExitStack, *, name: str) -> None:
        self.layout = layout
        self.folder = layout.root / name
        self.environment = os.environ | layout.client_environment()
        self.run = time.strftime("%m%d-%H%M%S", time.gmtime())
        self._held = held
        self.folder.mkdir(parents=True, exist_ok=True)

    def process(self, name: str, module: str, *arguments: str) -> subprocess.Popen[bytes]:
        """A process that ends with the demo; its log is in the folder."""
        log = self._held.enter_context((self.folder / f"{name}.log").open("wb"))
        command = [str(self.layout.python), "-m", module, *arguments]
        process = subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE, stderr=log)
        self._held.callback(_end, process)
        return process

    def simulator(self, config: Path) -> dict[str, Any]:
        """A fleet of upstreams: where its tiers and its controls listen."""
        started = self.process("simulator", "serving.simulator", "--config", str(config))
        assert started.stdout is not None  # noqa: S101 - it was asked for
        ports: dict[str, Any] = json.loads(started.stdout.readline())
        return ports

    def gateway(self, config: str, **values: Any) -> str:
        """A gateway on a port of its own, ready: its base URL. `{port}` and the like are filled in."""
        with socket.create_server((HOST, 0)) as held:
            port = held.getsockname()[1]
        path = self.folder / "gateway.toml"
        path.write_text(config.format(port=port, **values), encoding="utf-8")
        gateway = self.process("gateway", "serving.gateway", "--config", str(path))
        ready = f"http://{HOST}:{port}/readyz"
        self.wait_for(lambda: gateway.poll() is not None or _answers(ready), "the gateway to be ready", _READY_WITHIN_S)
        if gateway.poll() is not None:
            raise RuntimeError((self.folder / "gateway.log").read_text(encoding="utf-8").strip())
        print(f"  gateway       http://{HOST}:{port}/v1, configuration {os.path.relpath(path)}")
        return f"http://{HOST}:{port}/v1"

    def new_key(self, connection: psycopg.Connection[tuple[Any, ...]], *, tenant: str, feature: str) -> str:
        """A key of a tenant."""
        key_id, key = api_keys.new_key()
        secret = api_keys.read_secret(self.layout.secrets / "api-keys")
        stored = ApiKey(
            key_id=key_id, hmac=api_keys.digest(secret, key.encode()), tenant_id=tenant, name="demo", feature=feature,
            created_at_us=now_us(),
        )  # fmt: skip
        api_keys.add(connection, stored)
        return key

    def wait_until_accounted(self, answered: int) -> None:
        """Until every answer a caller got is in the ledger and none of this run is in progress."""

        def is_there() -> bool:
            with psycopg.connect(self.layout.dsn("analyst")) as connection:
                row = connection.execute(_SETTLED, [f"{self.run}-"]).fetchone()
            return row is not None and row[0] >= answered and not row[1]

        self.wait_for(is_there, f"{answered} calls in the ledger", _ACCOUNTED_WITHIN_S)

    def command(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        """`tokenledger …` as a user types it."""
        command = [str(self.layout.python), "-m", "tokenledger.cli", *words]
        return subprocess.run(command, env=self.environment, cwd=self.layout.repo, capture_output=True, check=False)

    def verify(self) -> bool:
        """Whether the ledger's sums agree; its last line is printed."""
        done = self.command("verify")
        print(f"  {done.stdout.decode().strip().splitlines()[-1]}")
        return done.returncode == 0

    def wait_for(self, holds: Callable[[], bool], what: str, within_s: float) -> None:
        """Return once it holds. Raises TimeoutError."""
        deadline = time.monotonic() + within_s
        while not holds():
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {within_s:.0f} s for {what}; logs are in {self.folder}")
            time.sleep(0.2)


def now_us() -> int:
    """The clock."""
    return time.time_ns() // 1000


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:  # noqa: S310 - always http
            return bool(reply.status == 200)  # noqa: PLR2004 - the status of all that is well
    except OSError:
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(35)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(5)
