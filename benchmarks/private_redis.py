"""A Redis of one's own for benchmarks: on a socket in a folder that is gone afterwards, nothing on disk."""

import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from feature_repo.settings import RedisSettings
from infra.local.machine import redis_server

_READY_WITHIN_S = 10.0


@contextmanager
def running() -> Iterator[RedisSettings]:
    """Start one, and stop it at the end."""
    with tempfile.TemporaryDirectory(prefix="tlb-redis-", dir="/tmp") as folder:
        socket = Path(folder) / "redis.sock"
        options = ("--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", folder)
        process = subprocess.Popen((redis_server(), *options), stdout=subprocess.DEVNULL)
        try:
            give_up_s = time.monotonic() + _READY_WITHIN_S
            while not socket.exists():
                assert time.monotonic() < give_up_s, "redis-server does not answer"
                time.sleep(0.02)
            yield RedisSettings(user="default", socket=str(socket))
        finally:
            process.terminate()
            process.wait()
