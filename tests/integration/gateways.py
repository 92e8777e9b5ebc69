"""Gateways as processes of one's own, keys for them, and the configuration that puts one before a simulator."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psycopg

from ledger import api_keys
from ledger.api_keys import ApiKey
from ledger.migrate import migrate
from ledger.private_postgres import FAST
from ledger.private_postgres import running as postgres
from serving.simulator.process import Fleet
from serving.simulator.process import running as simulator

READY_WITHIN_S = 30.0


class Gateway:
    """A gateway process that can be killed and started again where it was."""

    def __init__(self, config: Path, environment: Mapping[str, str], *, port: int) -> None:
        self._config = config
        self._environment = dict(environment)
        self._log = config.with_suffix(".log")
        self._process: subprocess.Popen[bytes] | None = None
        self.port = port
        self.url = f"http://127.0.0.1:{port}/v1"

    @property
    def pid(self) -> int:
        """The process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Running and ready, or a failure that shows the end of its log."""
        self.launch()
        deadline = time.monotonic() + READY_WITHIN_S
        while not self.ready():
            if time.monotonic() > deadline or (self._process is not None and self._process.poll() is not None):
                raise AssertionError(f"gateway not ready; its log ends\n{self.log()[-3000:]}")
            time.sleep(0.05)

    def launch(self) -> None:
        """Running, ready or not."""
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", "serving.gateway", "--config", str(self._config)]
            self._process = subprocess.Popen(command, env=os.environ | self._environment, stdout=log, stderr=log)

    def ready(self) -> bool:
        """Whether it takes calls."""
        return self.readiness() == 200

    def readiness(self) -> int:
        """What `/readyz` answers; 0 while nobody does."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=2) as reply:
                return int(reply.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code
        except OSError:
            return 0

    def log(self) -> str:
        """Everything it said."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def metric(self, name: str) -> float:
        """Sum of a metric's samples."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as reply:
            lines = reply.read().decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.split("{")[0].split(" ")[0] == name)

    def kill(self) -> None:
        """Gone, as when the machine's memory killer comes."""
        self.signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait(10)

    def signal(self, number: signal.Signals) -> None:
        """Tell the process something."""
        os.kill(self.pid, number)

    def stop(self) -> None:
        """Ended well, if it still runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()


class Alone(NamedTuple):
    """A gateway with nothing but a simulator behind it and a Postgres for its keys."""

    gateway: Gateway
    fleet: Fleet
    key: str


@contextmanager
def alone(tiers: str, folder: Path, *, extra: str = "") -> Iterator[Alone]:
    """One of them, ready; what it accounts stays in its outbox."""
    with simulator(tiers, folder) as fleet, postgres(FAST) as server:
        server.create("tokenledger")
        with psycopg.connect(server.dsn("postgres", "tokenledger"), autocommit=True) as admin:
            migrate(admin)
        secret = secret_in(folder)
        environment = {
            "TOKENLEDGER_STACK_ROOT": str(folder),
            "TOKENLEDGER_POSTGRES_SOCKET": str(server.folder),
            "TOKENLEDGER_POSTGRES_PORT": str(server.port),
            "TOKENLEDGER_OUTBOX_FOLDER": str(folder / "outbox"),
            "TOKENLEDGER_KEY_SECRET_FILE": str(secret),
        }
        key = new_key(server.dsn("keeper", "tokenledger"), secret, tenant_id="acme")
        gateway = gateway_before(fleet, folder, environment=environment, extra=extra)
        gateway.start()
        try:
            yield Alone(gateway, fleet, key)
        finally:
            gateway.stop()


def gateway_before(
    fleet: Fleet, folder: Path, *, environment: Mapping[str, str], extra: str = "", upstream: str = ""
) -> Gateway:
    """A gateway, not started yet, with an upstream for every tier and a route for every model of the fleet.

    `extra` goes to the top of its configuration, `upstream` into every upstream.
    """
    port = _free_port()
    sections = [f'{extra}\nallowed_hosts = ["127.0.0.1"]\n[listen]\nport = {port}\n']
    for tier, models in fleet.models.items():
        key_file = folder / f"{tier}.key"
        key_file.write_text("simulated", encoding="utf-8")
        sections.append(
            f'[upstreams.{tier}]\nprovider = "openai"\ntier = "{tier}"\nkey_file = "{key_file}"\n'
            f'replicas = [{{ url = "{fleet.url(tier)}" }}]\n{upstream}\n'
        )
        sections += [
            f'[routes."{model}"]\nupstreams = ["{tier}"]\napis = ["{"embeddings" if "embed" in model else "chat"}"]\n'
            for model in models
        ]
    config = folder / "gateway.toml"
    config.write_text("\n".join(sections), encoding="utf-8")
    return Gateway(config, environment, port=port)


def secret_in(folder: Path) -> Path:
    """A file with a fresh secret to hash keys with."""
    path = folder / "api_keys"
    path.write_text(secrets.token_hex(32), encoding="utf-8")
    path.chmod(0o600)
    return path


def new_key(dsn: str, secret: Path, *, tenant_id: str, **limits: object) -> str:
    """A key that is stored and may do everything its limits allow."""
    key_id, key = api_keys.new_key()
    stored = ApiKey(
        key_id=key_id,
        hmac=api_keys.digest(api_keys.read_secret(secret), key.encode()),
        tenant_id=tenant_id,
        created_at_us=time.time_ns() // 1000,
        **limits,  # type: ignore[arg-type]  # fields of ApiKey
    )
    with psycopg.connect(dsn) as connection:
        api_keys.add(connection, stored)
    return key


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port: int = held.getsockname()[1]
    return port
