"""The upstreams of one configuration as they are at work: connections, breakers, keys."""

import ssl
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from serving.gateway.breaker import CircuitBreaker
from serving.gateway.configuration import Breaker, Configuration, ConfigurationError, Replica, Upstream
from serving.gateway.connection import Patience
from serving.gateway.deadlines import Deadlines
from serving.gateway.pool import Address, Bounds, Pool

_PATHS: Final = {"chat": "/chat/completions", "embeddings": "/embeddings"}
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_LARGEST_KEY_BYTES: Final = 16_384


class Server:
    """One replica of an upstream."""

    __slots__ = ("breaker", "heads", "host", "name", "pool", "weight")

    def __init__(self, replica: Replica, *, pool: Pool, breaker: CircuitBreaker) -> None:
        parts = urlsplit(replica.url)
        port = parts.port or _DEFAULT_PORTS[parts.scheme]
        self.name = f"{parts.hostname}:{port}"
        """host:port, as the ledger knows it."""
        self.host = parts.netloc
        self.weight = replica.weight
        self.pool = pool
        self.breaker = breaker
        prefix = parts.path.rstrip("/")
        self.heads = {
            api: f"POST {prefix}{path} HTTP/1.1\r\nhost: {self.host}\r\n".encode() for api, path in _PATHS.items()
        }
        """API → the beginning of each request to it."""

    @property
    def load(self) -> float:
        """How busy it is for its weight, with one more."""
        return (self.pool.busy + 1) / self.weight


class Deployment:
    """One upstream of the configuration with its servers."""

    __slots__ = ("_key_file", "_key_stamp", "forward", "key_header", "name", "patience", "servers", "spec")

    def __init__(self, name: str, spec: Upstream, *, servers: tuple[Server, ...]) -> None:
        self.name = name
        self.spec = spec
        self.servers = servers
        self.patience = Patience(first_byte_ms=spec.first_byte_ms, idle_ms=spec.idle_ms, total_ms=spec.total_ms)
        self.forward = frozenset(name.encode() for name in spec.forward_headers)
        self.key_header = b""
        """The header line that carries the key; empty without one. Never logged."""
        self._key_file = Path(spec.key_file) if spec.key_file else None
        self._key_stamp: tuple[int, int, int] | None = None
        self.read_key()

    def key_changed(self) -> bool:
        """Whether the key's file is another than the one that was read."""
        return self._key_file is not None and _stamp(self._key_file) != self._key_stamp

    def read_key(self) -> None:
        """The key as its file has it now. Raises ConfigurationError, and keeps the key it had."""
        if self._key_file is None:
            return
        self._key_stamp = _stamp(self._key_file)
        try:
            key = self._key_file.read_bytes().strip()
        except OSError as error:
            raise ConfigurationError(f"upstreams.{self.name}.key_file: {error}") from None
        if not key or len(key) > _LARGEST_KEY_BYTES or not all(33 <= byte <= 126 for byte in key):  # noqa: PLR2004
            message = f"upstreams.{self.name}.key_file {self._key_file} must hold one key: printable ASCII, no spaces"
            raise ConfigurationError(message)
        scheme = b"Bearer " if self.spec.key_header == "authorization" else b""
        self.key_header = b"%s: %s%s\r\n" % (self.spec.key_header.encode(), scheme, key)

    def served_model(self, asked: str) -> str:
        """The model's name at this upstream."""
        return self.spec.model or asked


class Fleet:
    """All deployments of one configuration."""

    def __init__(self, configuration: Configuration, deadlines: Deadlines, *, before: "Fleet | None" = None) -> None:
        self.configuration = configuration
        self._servers: dict[tuple[object, ...], Server] = {}
        known = before._servers if before is not None else {}  # noqa: SLF001  (its own kind)
        self.deployments: dict[str, Deployment] = {}
        for name, spec in configuration.upstreams.items():
            tls = _tls(name, spec)
            servers = []
            for replica in spec.replicas:
                identity = (name, replica, configuration.breaker, *_wire(spec))
                server = known.get(identity) or _server(replica, spec, configuration.breaker, tls=tls, wait=deadlines)
                self._servers[identity] = server
                servers.append(server)
            self.deployments[name] = Deployment(name, spec, servers=tuple(servers))

    def close(self, but: "Fleet | None" = None) -> None:
        """Keep no connection open, except to servers another fleet has taken over."""
        kept = set(but._servers.values()) if but is not None else set()  # noqa: SLF001  (its own kind)
        for server in self._servers.values():
            if server not in kept:
                server.pool.close()

    def sweep(self) -> None:
        """Close connections that were unused for too long."""
        for server in self._servers.values():
            server.pool.sweep()


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return (stat.st_mtime_ns, stat.st_size, stat.st_ino)


def _wire(spec: Upstream) -> tuple[object, ...]:
    """What of an upstream a connection depends on."""
    return (spec.connections, spec.waiting, spec.connect_ms, spec.keep_alive_ms, spec.ca_file)


def _server(
    replica: Replica, spec: Upstream, breaker: Breaker, *, tls: ssl.SSLContext | None, wait: Deadlines
) -> Server:
    parts = urlsplit(replica.url)
    assert parts.hostname is not None  # noqa: S101  (the configuration was checked)
    secure = parts.scheme == "https"
    address = Address(
        host=parts.hostname,
        port=parts.port or _DEFAULT_PORTS[parts.scheme],
        tls=tls if secure else None,
    )
    bounds = Bounds(
        connections=spec.connections,
        waiting=spec.waiting,
        connect_s=spec.connect_ms / 1_000,
        keep_alive_s=spec.keep_alive_ms / 1_000,
    )
    return Server(replica, pool=Pool(address, bounds, deadlines=wait), breaker=CircuitBreaker(breaker))


def _tls(name: str, spec: Upstream) -> ssl.SSLContext | None:
    if not any(replica.url.startswith("https:") for replica in spec.replicas):
        return None
    try:
        return ssl.create_default_context(cafile=spec.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"upstreams.{name}.ca_file {spec.ca_file}: {error}") from None
