"""Upstreams behind TLS and a key: whom the gateway trusts, and what it says to them."""

import asyncio
import ssl
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import uvloop

from tests.serving.running import CHAT, Running, Upstream, completion, config, reply, running

Scenario = Callable[[Running, Upstream], Awaitable[None]]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that only its own file vouches for, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    made, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-keyout", str(key), "-out", str(made), "-subj", "/CN=upstream", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    return made, key


def before_tls(scenario: Scenario, certificate: tuple[Path, Path], *, settings: str) -> None:
    """Run a scenario with a gateway before an upstream that speaks TLS."""

    async def all_of_it() -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*certificate)
        up = Upstream([reply(completion())])
        server = await asyncio.start_server(up.answer, "127.0.0.1", 0, ssl=context)
        text = config(up=server.sockets[0].getsockname()[1]).replace("http://", "https://")
        async with running(text.replace("[upstreams.up]\n", f"[upstreams.up]\n{settings}")) as gateway:
            await scenario(gateway, up)
            assert gateway.memory.settled_once()
            await gateway.pools_empty()
        server.close()

    uvloop.run(all_of_it())


@pytest.mark.parametrize(("header", "line"), [("authorization", b"Bearer upstream-key"), ("api-key", b"upstream-key")])
def test_an_upstream_that_is_trusted_gets_the_gateways_key_and_not_the_callers(
    certificate: tuple[Path, Path], tmp_path: Path, *, header: str, line: bytes
) -> None:
    key = tmp_path / "key"
    key.write_text("upstream-key\n")

    async def scenario(gateway: Running, up: Upstream) -> None:
        for _ in range(2):
            assert (await gateway.post(CHAT)).status == 200
        assert up.connections == 1
        assert up.received[0].headers[header.encode()] == line
        assert b"good" not in up.received[0].head

    settings = f'ca_file = "{certificate[0]}"\nkey_file = "{key}"\nkey_header = "{header}"\n'
    before_tls(scenario, certificate, settings=settings)


def test_an_upstream_nobody_vouches_for_gets_nothing(certificate: tuple[Path, Path]) -> None:
    async def scenario(gateway: Running, up: Upstream) -> None:
        answer = await gateway.post(CHAT)
        assert (answer.status, answer.error["code"]) == (502, "upstream_tls_failed")
        assert up.received == []

    before_tls(scenario, certificate, settings="")
