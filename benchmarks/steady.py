"""Requests at a fixed rate whatever the answers do, and how long each took: `python -m benchmarks.steady`.

Prints a JSON object with the latencies. A request's time counts from when it was due, so a server that stalls cannot
hide what it did to the requests that would have come meanwhile.
"""

import argparse
import asyncio
import json
import sys
from typing import cast

import uvloop


class _Caller(asyncio.Protocol):
    """One connection; answers state their length or are chunked with no length, as the proxies send them."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.done: asyncio.Future[bool] | None = None
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self.transport = cast("asyncio.Transport", transport)

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
        if whole and self.done is not None:
            self._received, done, self.done = b"", self.done, None
            done.set_result(head.startswith(b"http/1.1 200"))

    def connection_lost(self, exc: Exception | None) -> None:
        """What was asked is not answered."""
        del exc
        if self.done is not None and not self.done.done():
            self.done.set_result(False)


async def measured(port: int, request: bytes, *, rate: float, seconds: float) -> tuple[list[float], int]:
    """Latencies in seconds of all that were answered, and how many were not."""
    loop = asyncio.get_running_loop()
    idle: list[_Caller] = []
    latencies: list[float] = []
    failed = 0

    async def one(due: float) -> None:
        nonlocal failed
        caller = idle.pop() if idle else (await loop.create_connection(_Caller, "127.0.0.1", port))[1]
        caller.done = loop.create_future()
        assert caller.transport is not None
        caller.transport.write(request)
        if await caller.done:
            latencies.append(loop.time() - due)
            idle.append(caller)
        else:
            failed += 1

    started = loop.time()
    tasks: set[asyncio.Task[None]] = set()
    for number in range(int(rate * seconds)):
        due = started + number / rate
        if due > loop.time():
            await asyncio.sleep(due - loop.time())
        task = loop.create_task(one(due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    return latencies, failed


def main() -> int:
    """Exit status 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--rate", type=float, required=True, help="requests a second")
    parser.add_argument("--seconds", type=float, default=5.0)
    asked = parser.parse_args()
    request = sys.stdin.buffer.read()
    latencies, failed = uvloop.run(measured(asked.port, request, rate=asked.rate, seconds=asked.seconds))
    latencies.sort()
    at = {f"p{share}_us": round(1e6 * latencies[int(len(latencies) * share / 100)]) for share in (50, 99)}
    json.dump({"answered": len(latencies), "failed": failed, **at}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
