"""Connections that are slow, silent or broken: through our own proxy, and by the kernel's packet filter.

The proxy stands before the broker for producers (`Site.producer_bootstrap`), and before Postgres for everybody while a
fault lasts: the server's socket is moved aside and the proxy takes its place, so that nobody is configured anew.
"""

from __future__ import annotations

import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import psycopg

from infra.local.layout import SUPERUSER
from tests.faults.disk import run
from tests.faults.fault import NotInjected
from tests.faults.injections.making import made
from tests.faults.proxy import Address, Proxy, Way

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from tests.faults.fault import Fault, Injected, Site

_LASTS_S: Final = (10.0, 30.0)
_MET_WITHIN_S: Final = 20.0
_CLIENTS: Final = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND application_name LIKE 'tokenledger%'
"""


@dataclass(frozen=True, slots=True)
class Toxic:
    """What a connection suffers."""

    up: Way = field(default_factory=Way)
    down: Way = field(default_factory=Way)
    slow_close_s: float = 0.0
    refusing: bool = False
    reset_every_s: float | None = None
    """All connections are reset again and again."""

    def apply(self, proxy: Proxy, dice: random.Random) -> None:
        """From now on; each cut is at a byte of its own."""
        up, down = replace(self.up), replace(self.down)
        for way in (up, down):
            if way.cut_after_bytes is not None:
                way.cut_after_bytes = dice.randrange(1, way.cut_after_bytes)
        proxy.up, proxy.down = up, down
        proxy.slow_close_s, proxy.refusing = self.slow_close_s, self.refusing

    def last(self, proxy: Proxy, lasts_s: float, dice: random.Random) -> int:
        """Let it act for so long; how many connections were broken."""
        before = proxy.counts.resets
        ends_s, broken = time.monotonic() + lasts_s, 0
        while (left_s := ends_s - time.monotonic()) > 0:
            time.sleep(min(left_s, self.reset_every_s or 0.5))
            if self.reset_every_s is not None:
                broken += proxy.reset_all()
            elif proxy.counts.resets - before > broken:
                # One cut is one connection: the next has its own byte.
                broken = proxy.counts.resets - before
                self.apply(proxy, dice)
        return broken


TOXICS: Final = {
    "slow": Toxic(up=Way(latency_s=0.05), down=Way(latency_s=0.15)),
    "narrow": Toxic(up=Way(bytes_per_s=60_000.0), down=Way(bytes_per_s=60_000.0)),
    "reset": Toxic(reset_every_s=2.0),
    "cut": Toxic(up=Way(cut_after_bytes=300_000), down=Way(cut_after_bytes=300_000)),
    "slow_close": Toxic(slow_close_s=5.0, reset_every_s=6.0),
    "silent": Toxic(up=Way(silent=True), down=Way(silent=True)),
    "deaf": Toxic(down=Way(silent=True)),
    "refused": Toxic(refusing=True, reset_every_s=1.0),
}
"""Kind → what it does. "deaf": the server hears and its answers are lost, so that a commit is done and unconfirmed."""


@dataclass(frozen=True, slots=True)
class BrokerConnection:
    """What stands between producers and the broker is slow, silent or broken for a while."""

    kind: str
    code: str = "F11"

    @property
    def name(self) -> str:
        """Named after what it does."""
        return f"{self.kind}_producers"

    def inject(self, site: Site, dice: random.Random) -> Injected:
        """Act on the producers' connections, then heal; `NotInjected` where none goes through the proxy."""
        proxy = site.broker_proxy
        if not isinstance(proxy, Proxy):
            message = "producers: the site has no proxy before the broker"
            raise NotInjected(message)
        before = replace(proxy.counts)
        toxic, lasts_s, began_ns = TOXICS[self.kind], dice.uniform(*_LASTS_S), time.time_ns()
        try:
            toxic.apply(proxy, dice)
            broken = toxic.last(proxy, lasts_s, dice)
        finally:
            proxy.heal()
        passed = proxy.counts.bytes_up - before.bytes_up
        if not passed and not broken and not proxy.counts.connections:
            message = "producers: nobody connects through the proxy; give them `Site.bootstrap`"
            raise NotInjected(message)
        detail = f"{self.kind} for {lasts_s:.1f} s: {broken} connections broken, {passed} bytes passed meanwhile"
        return made(self, "producers → broker", began_ns, detail)


@dataclass(frozen=True, slots=True)
class PostgresConnection:
    """What stands between everybody and Postgres is slow, silent or broken for a while."""

    kind: str
    code: str = "F11"

    @property
    def name(self) -> str:
        """Named after what it does."""
        return f"{self.kind}_postgres"

    def inject(self, site: Site, dice: random.Random) -> Injected:
        """Put the proxy in the way, end the sessions that go past it, act, and take it away again."""
        toxic, lasts_s, began_ns = TOXICS[self.kind], dice.uniform(*_LASTS_S), time.time_ns()
        with _before_postgres(site) as proxy:
            site.wait_until(lambda: proxy.counts.bytes_up > 0, "a client behind the proxy", within_s=_MET_WITHIN_S)
            passed = proxy.counts.bytes_up
            toxic.apply(proxy, dice)
            broken = toxic.last(proxy, lasts_s, dice)
            passed = proxy.counts.bytes_up - passed
            proxy.heal()
        site.healed("postgres", "writer", *site.jobs())
        detail = f"{self.kind} for {lasts_s:.1f} s: {broken} connections broken, {passed} bytes passed meanwhile"
        return made(self, "everybody → postgres", began_ns, detail)


@contextmanager
def _before_postgres(site: Site) -> Iterator[Proxy]:
    """A proxy in the place of Postgres's socket; who was connected before has to connect again, through it."""
    port = site.layout.ports.postgres
    socket = site.layout.postgres_socket / f".s.PGSQL.{port}"
    aside = site.layout.postgres_socket.with_name("postgres-aside")
    aside.mkdir(exist_ok=True)
    moved = aside / socket.name
    socket.rename(moved)
    ours = 0
    try:
        with Proxy(Address(path=socket), Address(path=moved)).running() as proxy:
            ours = socket.stat().st_ino
            with psycopg.connect(
                f"host={aside} port={port} dbname=postgres user={SUPERUSER}", autocommit=True
            ) as admin:
                admin.execute(_CLIENTS)
            yield proxy
    finally:
        # A Postgres that was started anew meanwhile has made its own socket in the place of ours; that one stays.
        if socket.exists() and socket.stat().st_ino != ours:
            moved.unlink()
        else:
            moved.replace(socket)


@dataclass(frozen=True, slots=True)
class Partition:
    """The kernel drops packets of one server's port: all of them, one way only, some, or on and off."""

    kind: str
    """"both", "answers", "lossy" or "flapping"."""
    server: str
    """"broker" or "jobmanager"."""
    code: str = "F10"

    @property
    def name(self) -> str:
        """Named after what is dropped."""
        return f"partition_{self.kind}_{self.server}"

    def inject(self, site: Site, dice: random.Random) -> Injected:
        """Drop for 10 to 30 seconds, by rules in a table of its own which then goes."""
        lasts_s, began_ns = dice.uniform(*_LASTS_S), time.time_ns()
        ports = _ports(site, self.server)
        table = f"tokenledger_{site.layout.ports.kafka}"
        run("nft", "add", "table", "inet", table)
        try:
            for rule in _rules(self.kind, ports):
                run("nft", f"add chain inet {table} dropping {{ type filter hook input priority 0; }}")
                run("nft", f"add rule inet {table} dropping {rule}")
            dropped = _flapping(table, lasts_s) if self.kind == "flapping" else _steady(table, lasts_s)
        finally:
            run("nft", "delete", "table", "inet", table)
        if not dropped:
            message = f"{self.server}: no packet met the rules in {lasts_s:.0f} s"
            raise NotInjected(message)
        site.healed()
        detail = f"{self.kind} on ports {ports} for {lasts_s:.1f} s: {dropped} packets dropped"
        return made(self, self.server, began_ns, detail)


def _ports(site: Site, server: str) -> tuple[int, ...]:
    ports = site.layout.ports
    if server == "broker":
        return (ports.kafka,)
    workers = (ports.flink_taskmanager_rpc, ports.flink_taskmanager2_rpc)
    return (ports.flink_jobmanager_rpc, *workers)


def _rules(kind: str, ports: tuple[int, ...]) -> tuple[str, ...]:
    numbers = ", ".join(map(str, ports))
    to, back = f"tcp dport {{ {numbers} }}", f"tcp sport {{ {numbers} }}"
    if kind == "answers":
        return (f"{back} counter drop",)
    chance = "numgen random mod 100 < 30 " if kind == "lossy" else ""
    return (f"{to} {chance}counter drop", f"{back} {chance}counter drop")


def _steady(table: str, lasts_s: float) -> int:
    time.sleep(lasts_s)
    return _dropped(table)


def _flapping(table: str, lasts_s: float) -> int:
    """Three seconds without, two with: the table sleeps and wakes."""
    ends_s = time.monotonic() + lasts_s
    while time.monotonic() < ends_s:
        time.sleep(3)
        run("nft", "add", "table", "inet", table, "{ flags dormant; }")
        time.sleep(2)
        run("nft", "add", "table", "inet", table, "{ }")
    return _dropped(table)


def _dropped(table: str) -> int:
    done = subprocess.run(["nft", "list", "table", "inet", table], capture_output=True, text=True, check=False)
    words = done.stdout.split()
    return sum(int(words[at + 1]) for at, word in enumerate(words) if word == "packets")


NETWORK: tuple[Fault, ...] = (
    *(BrokerConnection(kind) for kind in TOXICS if kind != "silent"),
    *(PostgresConnection(kind) for kind in TOXICS if kind != "silent"),
    BrokerConnection("silent", code="F10"),
    PostgresConnection("silent", code="F10"),
    Partition("both", "broker"),
    Partition("answers", "broker"),
    Partition("lossy", "broker"),
    Partition("flapping", "broker"),
    Partition("both", "jobmanager"),
)
