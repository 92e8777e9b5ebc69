"""The service as a process, with a real Redis: it reads features, tells its metrics, and ends well when told to."""

import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from infra.local.place import REPO
from serving.router import versions
from serving.router.service import messages
from tests.integration.feature_rows import FULL, row, write
from tests.integration.redis_server import RedisServer
from tests.serving.router.made import POLICY_TEXT, trained
from tests.serving.running import free_port
from tokenledger.records.choosing import METHOD, PACKAGE, SERVICE, DecideRequest, DecideResponse
from tokenledger.records.decision import RouteDecision

_READY_WITHIN_S = 20.0


@contextmanager
def running(folder: Path, redis: RedisServer) -> Iterator[tuple[subprocess.Popen[bytes], Any, int]]:
    """The process, a channel to it that is ready, and the port of its metrics."""
    (folder / "router.toml").write_text(POLICY_TEXT + "explore = 0.0\n", encoding="utf-8")
    versions.promote(folder / "models", versions.save(folder / "models", trained(), {}).name)
    port, metrics_port = free_port(), free_port()
    command = [
        *(sys.executable, "-m", "serving.router.service", "--policy", str(folder / "router.toml")),
        *("--models", str(folder / "models"), "--listen", f"127.0.0.1:{port}"),
    ]
    environment = os.environ | redis.layout.client_environment() | {"TOKENLEDGER_METRICS_PORT": str(metrics_port)}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stderr=log)
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            grpc.channel_ready_future(channel).result(timeout=_READY_WITHIN_S)
            yield process, channel, metrics_port
    finally:
        process.kill()
        process.wait(10)


def ask(channel: Any, number: int) -> DecideResponse:
    """One decision."""
    call = channel.unary_unary(
        f"/{PACKAGE}.{SERVICE}/{METHOD}",
        request_serializer=messages.encode,
        response_deserializer=messages.decode_response,
    )
    asked = DecideRequest(route="chat", operation_id=f"op-{number}", text="Tell me the capital about river, case 7?")
    answer: DecideResponse = call(asked, timeout=5.0)
    return answer


def test_features_come_from_redis_and_their_lack_is_said(tmp_path: Path, redis_server: RedisServer) -> None:
    with redis_server.admin() as admin:
        admin.flushall()
    well = msgspec.structs.replace(FULL, calls=500, error_ratio=0.0, output_tokens_per_call=10.0)
    with running(tmp_path, redis_server) as (_, channel, metrics_port):
        assert ask(channel, 1).reason == "features_missing"
        models = (("vllm", "small-8b"), ("openai", "gpt-4o"))
        assert write(redis_server.settings("pusher"), *(row("model_traffic_5m", one, well) for one in models)) == 0

        # On a machine with more to do than cores the read may be late: such an answer is static, and says so.
        answers = [ask(channel, number) for number in range(2, 40)]
        told = urllib.request.urlopen(f"http://127.0.0.1:{metrics_port}/metrics", timeout=5).read().decode()

    judged = next(one for one in answers if one.reason not in {"deadline", "features_missing"})
    logged = msgspec.json.decode(judged.decision, type=RouteDecision)
    assert logged.features["small.calls"] == 500
    assert logged.features_age_us is not None
    assert 900_000 < logged.features_age_us < 60_000_000
    assert 'tokenledger_decide_requests_total{reason="features_missing",route="chat"}' in told


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_with_status_0_and_says_so_first(tmp_path: Path, redis_server: RedisServer, number: int) -> None:
    with running(tmp_path, redis_server) as (process, channel, _):
        stub: Any = health_pb2_grpc.HealthStub(channel)
        watching = stub.Watch(health_pb2.HealthCheckRequest(service=f"{PACKAGE}.{SERVICE}"))
        assert next(watching).status == health_pb2.HealthCheckResponse.SERVING
        process.send_signal(number)
        assert next(watching).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watching.cancel()
        assert process.wait(10) == 0


def test_a_policy_that_is_none_ends_it_at_once_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "router.toml").write_text("[routes.chat]\ntiers = []\n", encoding="utf-8")
    command = [sys.executable, "-m", "serving.router.service", "--policy", "router.toml", "--models", "models"]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(REPO)}, capture_output=True, check=False
    )
    assert (done.returncode, b"router policy" in done.stderr) == (2, True)
