"""A real Redis with the product's configuration and logins, in its own folder; it can be killed and started again."""

import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from redis import Redis, RedisError

from feature_repo.settings import RedisSettings
from infra.local import preparation
from infra.local.layout import Layout
from infra.local.machine import redis_server
from infra.local.place import layout_of
from infra.local.redis import redis_conf

_READY_WITHIN_S = 10.0


@dataclass(slots=True)
class RedisServer:
    """One Redis. Its ACL is the product's, with one more user, `admin`, who may do all."""

    layout: Layout
    process: subprocess.Popen[bytes] | None = field(default=None)

    def settings(self, user: str) -> RedisSettings:
        """How `gateway` or `pusher` log in."""
        return RedisSettings.from_environment(self.layout.client_environment(), user=user)

    def client(self, user: str) -> Redis:
        """A plain client of one of the product's users."""
        settings = self.settings(user)
        return Redis(unix_socket_path=settings.socket, username=user, password=settings.password())

    def admin(self) -> Redis:
        """A client that may do all: look at any key, flush, write what is wrong."""
        return Redis(unix_socket_path=str(self.layout.redis_socket), username="admin", password="admin")  # noqa: S106

    def start(self) -> None:
        """Returns when it answers."""
        command = (redis_server(), str(self.layout.config / "redis.conf"))
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + _READY_WITHIN_S
        while not self._answers():
            assert time.monotonic() < deadline, "redis-server does not answer"
            time.sleep(0.02)

    def kill(self) -> None:
        """As a machine's memory killer would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def _answers(self) -> bool:
        try:
            with self.admin() as admin:
                return bool(admin.ping())
        except RedisError:
            return False


@contextmanager
def running_redis() -> Iterator[RedisServer]:
    """Start one, and stop it at the end."""
    with tempfile.TemporaryDirectory(prefix="tl-redis-", dir="/tmp") as name:
        layout = layout_of(name)
        for folder in (layout.config, layout.run):
            folder.mkdir()
        preparation.secrets(layout)
        (layout.config / "redis.conf").write_text(redis_conf(layout), encoding="utf-8")
        with Path(layout.config / "redis-users.acl").open("a", encoding="utf-8") as users:
            users.write("user admin on >admin ~* +@all\n")
        server = RedisServer(layout)
        server.start()
        try:
            yield server
        finally:
            server.kill()
