"""The gateway as a process: signals, reloads, and what becomes of calls in flight."""

import asyncio
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from infra.local.place import REPO
from tests.serving.running import CHAT, STREAM, Reply, Request, config, free_port, raw, request, streamed, upstream


class Process:
    """A running gateway process."""

    def __init__(self, popen: "subprocess.Popen[bytes]", path: Path, port: int) -> None:
        self.popen = popen
        self.path = path
        self.port = port

    async def get(self, path: str) -> tuple[int, bytes]:
        """Status and body; 0 while nobody answers."""
        return await asyncio.to_thread(self._get, path)

    def _get(self, path: str) -> tuple[int, bytes]:
        try:
            url, headers = f"http://127.0.0.1:{self.port}{path}", {"authorization": "Bearer good"}
            wanted = urllib.request.Request(url, headers=headers)
            with urllib.request.urlopen(wanted, timeout=5) as reply:  # noqa: S310 - always http
                return reply.status, reply.read()
        except urllib.error.HTTPError as error:
            return error.code, b""
        except OSError:
            return 0, b""

    async def until(self, path: str, text: bytes) -> None:
        """Return once a page has this text."""
        for _ in range(300):
            if text in (await self.get(path))[1]:
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"{path} never said {text!r}")

    async def ended(self) -> list[dict[str, Any]]:
        """The outcomes, once it has ended well."""
        out, _ = await asyncio.to_thread(self.popen.communicate, None, 20)
        assert self.popen.returncode == 0
        return [msgspec.json.decode(line) for line in out.splitlines()]


@asynccontextmanager
async def process(folder: Path, text: str) -> AsyncIterator[Process]:
    """A gateway process with its configuration in a folder."""
    port, path = free_port(), folder / "gateway.toml"
    path.write_text(f"listen.port = {port}\n{text}")
    command = [sys.executable, "-m", "tests.serving.process", str(path)]
    with (folder / "log").open("wb") as log:
        popen = subprocess.Popen(command, cwd=REPO, stdout=subprocess.PIPE, stderr=log)  # noqa: ASYNC220 - at once
    made = Process(popen, path, port)
    try:
        await made.until("/readyz", b"ready")
        yield made
    finally:
        if popen.poll() is None:
            popen.kill()
        popen.wait()
        assert popen.stdout is not None
        popen.stdout.close()


def test_calls_in_flight_end_well_after_sigterm(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with upstream(streamed(*STREAM, pause_s=0.2)) as up, process(tmp_path, config(up=up.port)) as gateway:
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            writer.write(request(CHAT | {"stream": True, "stream_options": {"include_usage": True}}))
            head = await reader.readuntil(b"he")
            gateway.popen.send_signal(signal.SIGTERM)
            rest = await reader.read()
            assert Reply.of(head + rest).body == b"".join(STREAM)
            assert (await gateway.get("/healthz"))[0] == 0, "it still takes connections"
            [outcome] = await gateway.ended()
            assert outcome["reply"]["usage"]["total_tokens"] == 7
            writer.close()

    asyncio.run(scenario())


def test_a_call_that_outlives_the_patience_is_cut_off_and_accounted(tmp_path: Path) -> None:
    async def slow(_request: Request, writer: asyncio.StreamWriter) -> None:
        await raw(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n", *STREAM[:2])(_request, writer)
        await asyncio.sleep(5)

    async def scenario() -> None:
        text = "drain.shutdown_ms = 1000\n"
        async with upstream(slow) as up, process(tmp_path, text + config(up=up.port)) as gateway:
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            writer.write(request(CHAT | {"stream": True}))
            await reader.readuntil(b"he")
            gateway.popen.send_signal(signal.SIGTERM)
            [outcome] = await gateway.ended()
            assert (outcome["aborted"], outcome["error_type"]) == (True, "gateway_stopped")
            writer.close()

    asyncio.run(scenario())


def test_a_changed_configuration_is_taken_and_a_wrong_one_is_not(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with process(tmp_path, config(up=1)) as gateway:
            text = gateway.path.read_text()
            await gateway.until("/v1/models", b'"id":"m"')
            gateway.path.write_text(text.replace("[routes.m]", "[routes.renamed]"))
            await gateway.until("/v1/models", b'"id":"renamed"')
            gateway.path.write_text(text + "nonsense")
            gateway.popen.send_signal(signal.SIGHUP)
            await gateway.until("/metrics", b'tokenledger_gateway_config_reloads_total{outcome="refused"}')
            await gateway.until("/v1/models", b'"id":"renamed"')
            os.kill(gateway.popen.pid, signal.SIGTERM)
            assert await gateway.ended() == []
        assert b"old one stays" in (tmp_path / "log").read_bytes()

    asyncio.run(scenario())


def test_a_wrong_configuration_ends_the_process_with_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text("limits.body_bytes = -1")
    command = [sys.executable, "-m", "serving.gateway", "--config", str(path)]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr == f"{path}: Expected `int` >= 1, found -1 - at `limits.body_bytes`\n"


def test_thousands_of_idle_connections_leave_room_for_calls(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with process(tmp_path, config(up=1)) as gateway:
            idle = [await asyncio.open_connection("127.0.0.1", gateway.port) for _ in range(2_000)]
            assert (await gateway.get("/healthz"))[0] == 200
            for _, writer in idle:
                writer.transport.abort()

    asyncio.run(scenario())
