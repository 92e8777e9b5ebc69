"""Requests at a fixed rate whatever the answers do, and how long each took: `python -m benchmarks.steady`.

Prints a JSON object with the latencies. A request's time counts from when it was due, so a server that stalls cannot
hide what it did to the requests that would have come meanwhile; where all connections are busy, the next waits its turn
and its time runs. No task and no future a request: the load shares its core with the upstream.
"""

import argparse
import asyncio
import ctypes
import gc
import json
import os
import sys
import time
from collections import deque
from typing import cast

import uvloop

_PATIENCE_S = 20.0
_MONOTONIC = 1


def ticking(rate: float) -> int:
    """A descriptor that can be read so many times a second; the loop's own timers know whole milliseconds only."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor: int = libc.timerfd_create(_MONOTONIC, os.O_NONBLOCK)
    seconds, nanoseconds = divmod(round(1e9 / rate), 1_000_000_000)
    every = (ctypes.c_long * 4)(seconds, nanoseconds, seconds, nanoseconds)
    if descriptor < 0 or libc.timerfd_settime(descriptor, 0, every, None) != 0:
        raise OSError(ctypes.get_errno(), "timerfd")
    return descriptor


class Load:
    """All requests of one run."""

    def __init__(self, request: bytes, *, count: int) -> None:
        self.request = request
        self.latencies: list[float] = []
        self.failed = 0
        self.idle: list[Caller] = []
        self._left = count
        self._due: deque[float] = deque()
        self._sent = 0
        self.done = asyncio.get_running_loop().create_future()

    def tick(self, descriptor: int) -> None:
        """Send what is due by now."""
        now_s = time.monotonic()
        for _ in range(min(int.from_bytes(os.read(descriptor, 8), sys.byteorder), self._left - self._sent)):
            self._sent += 1
            if self.idle:
                self.idle.pop().send(now_s)
            else:
                self._due.append(now_s)

    def answered(self, caller: "Caller", due: float, *, well: bool) -> None:
        """One more answer; the caller takes the next that waits."""
        if well:
            self.latencies.append(time.monotonic() - due)
        else:
            self.failed += 1
        if self._due:
            caller.send(self._due.popleft())
        else:
            self.idle.append(caller)
        if len(self.latencies) + self.failed == self._left and not self.done.done():
            self.done.set_result(None)


class Caller(asyncio.Protocol):
    """One connection; answers state their length or are chunked with no length, as the proxies send them."""

    load: Load

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._due: float | None = None
        self._received = b""

    def send(self, due: float) -> None:
        """The next request."""
        self._due = due
        assert self._transport is not None
        self._transport.write(self.load.request)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Until the answer is whole."""
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._received[:end].lower()
        if b"content-length: " in head:
            length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
            whole = len(self._received) >= end + 4 + length
        else:
            whole = self._received.endswith(b"0\r\n\r\n")
        if whole and self._due is not None:
            self._received, due, self._due = b"", self._due, None
            self.load.answered(self, due, well=head.startswith(b"http/1.1 200"))

    def connection_lost(self, exc: Exception | None) -> None:
        """The run cannot go on as it was meant."""
        del exc
        if not self.load.done.done():
            self.load.done.set_exception(ConnectionError("the server closed a connection"))


async def measured(
    port: int, request: bytes, *, rate: float, seconds: float, connections: int
) -> tuple[list[float], int]:
    """Latencies in seconds of all that were answered, and how many were not."""
    loop = asyncio.get_running_loop()
    callers = [(await loop.create_connection(Caller, "127.0.0.1", port))[1] for _ in range(connections)]
    load = Load(request, count=max(int(rate * seconds), 1))
    for caller in callers:
        caller.load = load
        load.idle.append(caller)
    descriptor = ticking(rate)
    loop.add_reader(descriptor, load.tick, descriptor)
    await asyncio.wait_for(load.done, seconds + _PATIENCE_S)
    loop.remove_reader(descriptor)
    return load.latencies, load.failed


def main() -> int:
    """Exit status 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--rate", type=float, required=True, help="requests a second")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--connections", type=int, default=64)
    asked = parser.parse_args()
    request = sys.stdin.buffer.read()
    gc.disable()
    run = measured(asked.port, request, rate=asked.rate, seconds=asked.seconds, connections=asked.connections)
    latencies, failed = uvloop.run(run)
    latencies.sort()
    at = {f"p{share}_us": round(1e6 * latencies[int(len(latencies) * share / 100)]) for share in (50, 90, 99)}
    json.dump({"answered": len(latencies), "failed": failed, **at}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
