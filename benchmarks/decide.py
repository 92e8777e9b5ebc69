"""`Decide` over gRPC from outside: latency at a steady rate, CPU a call, and how many were late.

Run: `uv run python -m benchmarks.decide [--rate 200] [--seconds 20]`. The service runs as it is shipped, in a process
of its own, with a trained model and a feature store that is away (policy `without_features = "prompt"`).
"""

import argparse
import asyncio
import contextlib
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc

from serving.router import versions
from serving.router.features import Prompt, features
from serving.router.service import messages
from serving.router.training import Plan, train
from serving.simulator import questions
from tokenledger.records.choosing import METHOD, PACKAGE, SERVICE, DecideRequest

POLICY = """
[tiers.small]
provider = "openai"
model = "gpt-4.1-nano"
input_usd_pico_per_token = 100_000
output_usd_pico_per_token = 400_000
[tiers.large]
provider = "openai"
model = "gpt-4.1"
input_usd_pico_per_token = 2_000_000
output_usd_pico_per_token = 8_000_000
[routes.chat]
tiers = ["small", "large"]
without_features = "prompt"
familiarity = 0.0
"""
_REACH_MS = 10.0
_CHARS = 2_000


def train_on_made_up_questions(folder: Path) -> None:
    """A model of questions whose difficulty is known, promoted."""
    made = questions.questions(600, seed=2)
    draw = random.Random(1)
    right = np.array([[draw.random() > one.difficulty, 1.0] for one in made], dtype=float)
    model = train([features(Prompt(text=one.prompt)) for one in made], right, tiers=("small", "large"), plan=Plan())
    versions.promote(folder, versions.save(folder, model, {}).name)


@contextlib.contextmanager
def _service(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    (folder / "router.toml").write_text(POLICY, encoding="utf-8")
    train_on_made_up_questions(folder / "models")
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    command = [
        *(sys.executable, "-m", "serving.router.service", "--policy", str(folder / "router.toml")),
        *("--models", str(folder / "models"), "--listen", f"127.0.0.1:{port}"),
    ]
    process = subprocess.Popen(command, env=os.environ | {"TOKENLEDGER_REDIS_SOCKET": str(folder / "none.sock")})
    try:
        yield process, port
    finally:
        process.terminate()
        process.wait(10)


def _cpu_s(pid: int) -> float:
    """CPU time of a process and its threads so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _measured(port: int, *, rate: float, seconds: float) -> tuple[list[float], list[float], Counter[str]]:
    """Milliseconds of every call, started at even intervals whether or not the one before has ended.

    Beside each a health check is made, which decides nothing: what gRPC and the machine take by themselves.
    """
    made = [one.prompt for one in questions.questions(500, seed=9)]
    texts = ["\n".join(made[at : at + 40])[:_CHARS] for at in range(len(made) - 40)]
    took: list[float] = []
    bare: list[float] = []
    reasons: Counter[str] = Counter()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary(
            f"/{PACKAGE}.{SERVICE}/{METHOD}",
            request_serializer=messages.encode,
            response_deserializer=messages.decode_response,
        )
        health: Any = health_pb2_grpc.HealthStub(channel)
        await channel.channel_ready()

        async def one(number: int) -> None:
            asked = DecideRequest(route="chat", operation_id=f"op-{number}", text=texts[number % len(texts)])
            began = time.perf_counter()
            try:
                answer = await call(asked, timeout=1.0)
            except grpc.aio.AioRpcError as error:
                reasons[error.code().name] += 1
            else:
                took.append((time.perf_counter() - began) * 1e3)
                reasons[answer.reason] += 1

        async def nothing() -> None:
            began = time.perf_counter()
            await health.Check(health_pb2.HealthCheckRequest(), timeout=1.0)
            bare.append((time.perf_counter() - began) * 1e3)

        async def both(number: int) -> None:
            await (one(number) if number % 2 else nothing())

        for number in range(20):
            await one(number)
        took.clear()
        reasons.clear()
        await _at_rate(both, rate=2 * rate, seconds=seconds)
    return took, bare, reasons


async def _at_rate(one: Callable[[int], Coroutine[Any, Any, None]], *, rate: float, seconds: float) -> None:
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
            group.create_task(one(number))


def main() -> int:
    """Print the figures; 1 where p99 is above the deadline."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decide", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rate", type=float, default=200.0, help="calls a second (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=20.0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, _service(Path(name)) as (process, port):
        time.sleep(2)
        before_s = _cpu_s(process.pid)
        took, bare, reasons = asyncio.run(_measured(port, rate=asked.rate, seconds=asked.seconds))
        cpu_us = (_cpu_s(process.pid) - before_s) / max(len(took), 1) * 1e6
    p50, p95, p99, most = np.quantile(took, (0.5, 0.95, 0.99, 1.0))
    alone = ", ".join(f"{value:.2f}" for value in np.quantile(bare, (0.5, 0.95, 0.99, 1.0)))
    late = reasons["deadline"] / max(reasons.total(), 1)
    print(f"| Decide at {asked.rate:.0f}/s, prompts of 2,000 characters, p50, p95, p99, most | "
          f"{p50:.2f}, {p95:.2f}, {p99:.2f}, {most:.2f} ms | p99 ≤ {_REACH_MS:.0f} ms |")  # fmt: skip
    print(f"| a health check in between, which decides nothing | {alone} ms | |")
    print(f"| CPU of the service a call and a health check | {cpu_us:.0f} µs | |")
    print(f"| answered by the static tier for want of time | {late:.2%} | |")
    print(f"reasons: {dict(reasons)}")
    return 0 if p99 <= _REACH_MS else 1


if __name__ == "__main__":
    sys.exit(main())
