"""What the gateway costs a request, in one run with the least a proxy can do, aiohttp, and LiteLLM's proxy.

One worker each, pinned to one core; load, a canned upstream, Postgres and Redis on the other. The gateway has all of it
on: keys, a budget, features from Redis, intents on disk before each send, and behind it something that ships its outbox
and posts its calls (`benchmarks.gateway_ledger`), so that what it holds stays what it holds in production. CPU is what
the kernel charged the proxy's own processes; that of what stands behind it is printed beside.
Run it: `uv run python -m benchmarks.gateway [--without-litellm]`. Needs `wrk` (Debian: `apt-get install wrk`).
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from benchmarks.disk import disk
from benchmarks.stack import cpu_s, stack_of
from infra.local.layout import Layout
from infra.local.place import REPO
from infra.local.stack import Stack
from ledger import api_keys
from ledger.api_keys import ApiKey, Budget

_LITELLM = "litellm[proxy]==1.106.2"
_PROXY_CORE, _LOAD_CORE = "0", "1"
_CONNECTIONS = 32
_PLAIN_S, _STREAM_S, _STEADY_S, _WARM_UP_S = 6, 6, 6, 2
_MASTER_KEY = "sk-benchmark-0123456789abcdef"  # of a proxy that lives for a minute and knows no other secret
_COST_USD_PICO = 64 * 150_000 + 32 * 600_000
"""Of the canned answer, by OpenAI's price page."""
_MESSAGES = [
    {
        "role": "system",
        "content": "You answer shortly, in the language of the question, and say so when you do not know.",
    },
    {"role": "user", "content": "Which of the three harbours is open in winter, and until when? One sentence, please."},
]


@dataclass(frozen=True, slots=True)
class Proxy:
    """One proxy that runs."""

    name: str
    port: int
    key: str
    process: subprocess.Popen[bytes]
    behind: tuple[int, ...] = ()
    """Processes behind it, whose CPU is not its own."""
    settles_s: int = 0
    """How long it works for itself after its first answers."""
    longer: int = 1
    """How many times longer it is measured: all connections' requests end together, and slow ones must end at all."""


Start = Callable[[], AbstractContextManager[Proxy]]


@dataclass(frozen=True, slots=True)
class Figures:
    """What one proxy was measured to take."""

    name: str
    plain_us: float
    per_second: float
    stream_us: float
    added_p50_us: float
    added_p90_us: float
    added_p99_us: float
    resident_mib: float
    behind_us: float
    """CPU a plain request of what stands behind it."""


def request(key: str, *, stream: bool) -> bytes:
    """A request of about 0.4 kB, as the SDKs send it."""
    body = _body(stream=stream)
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer "
        f"{key}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return (head + body).encode()


def _body(*, stream: bool) -> str:
    return json.dumps({"model": "gpt-4o-mini", "messages": _MESSAGES, "max_tokens": 64, "stream": stream})


def wrk(proxy: Proxy, *, stream: bool, seconds: int) -> int:
    """Requests answered under full load."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(
            'wrk.method = "POST"\nwrk.path = "/v1/chat/completions"\n'
            'wrk.headers["content-type"] = "application/json"\n'
            f'wrk.headers["authorization"] = "Bearer {proxy.key}"\nwrk.body = [==[{_body(stream=stream)}]==]\n'
        )
        script.flush()
        command = ["wrk", "-t1", f"-c{_CONNECTIONS}", f"-d{seconds}s", "--timeout", "20s", "-s", script.name]
        said = _load(*command, f"http://127.0.0.1:{proxy.port}").stdout.decode()
    found = re.search(r"(\d+) requests in", said)
    assert found, said
    if bad := re.search(r"Non-2xx or 3xx responses: (\d+)|Socket errors: .*", said):
        print(f"  {proxy.name}: {bad.group()} of {found.group(1)}")
    return int(found.group(1))


def steady(port: int, key: str, *, rate: float) -> dict[str, float]:
    """Latencies at a fixed rate of plain requests."""
    arguments = (str(port), "--rate", f"{rate:.1f}", "--seconds", str(_STEADY_S))
    done = _load(sys.executable, "-m", "benchmarks.steady", *arguments, given=request(key, stream=False))
    answer: dict[str, float] = json.loads(done.stdout)
    return answer


def measure(proxy: Proxy, canned_port: int) -> Figures:
    """Everything of one proxy."""
    _first_answers(proxy)
    time.sleep(proxy.settles_s)
    wrk(proxy, stream=False, seconds=_WARM_UP_S)
    wrk(proxy, stream=True, seconds=_WARM_UP_S)
    plain_s, stream_s = proxy.longer * _PLAIN_S, proxy.longer * _STREAM_S
    behind_s = _behind_s(proxy)
    plain_us, per_second = _cost(proxy, lambda: wrk(proxy, stream=False, seconds=plain_s), seconds=plain_s)
    behind_us = 1e6 * (_behind_s(proxy) - behind_s) / (per_second * plain_s)
    stream_us, _ = _cost(proxy, lambda: wrk(proxy, stream=True, seconds=stream_s), seconds=stream_s)
    # wrk's rate is that of a busy core; what the CPU figure allows is the rate of the core itself.
    rate = max(0.7 * min(per_second, 1e6 / plain_us), 1.0)
    direct, through = steady(canned_port, proxy.key, rate=rate), steady(proxy.port, proxy.key, rate=rate)
    p50_us, p90_us, p99_us = (through[name] - direct[name] for name in ("p50_us", "p90_us", "p99_us"))
    figures = Figures(
        proxy.name, plain_us, per_second, stream_us, p50_us, p90_us, p99_us, _resident_mib(proxy.process.pid), behind_us
    )
    print(f"  {_row(figures)}  at {rate:,.0f}/s, {through['failed']:.0f} failed", flush=True)
    return figures


def _behind_s(proxy: Proxy) -> float:
    return sum(cpu_s(pid) for pid in proxy.behind)


def _first_answers(proxy: Proxy) -> None:
    """What a proxy does but once, done: LiteLLM takes seconds for its first answer."""
    for stream in (False, True):
        command = [
            "curl",
            "-sf",
            "-o",
            "/dev/null",
            "-m",
            "60",
            "--retry",
            "30",
            "--retry-delay",
            "1",
            "-H",
            f"authorization: Bearer {proxy.key}",
        ]
        command += ["-H", "content-type: application/json", "-d", _body(stream=stream)]
        _load(*command, f"http://127.0.0.1:{proxy.port}/v1/chat/completions")


def _cost(proxy: Proxy, load: Callable[[], int], *, seconds: int) -> tuple[float, float]:
    """CPU µs a request, and requests a second."""
    before_s = cpu_s(proxy.process.pid)
    requests = load()
    return 1e6 * (cpu_s(proxy.process.pid) - before_s) / max(requests, 1), requests / seconds


def _load(*command: str, given: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    """A load generator on its core, to its end."""
    pinned = ["taskset", "-c", _LOAD_CORE, *command]
    return subprocess.run(pinned, input=given, capture_output=True, check=True, timeout=120)


@contextmanager
def process(core: str, *command: str, port: int, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A server on its core, listening."""
    with tempfile.TemporaryFile() as log:
        pinned = ["taskset", "-c", core, *command]
        running = subprocess.Popen(pinned, env=os.environ | environment, stdout=log, stderr=log, cwd=REPO)
        try:
            _wait_for(port, running)
            yield running
        except TimeoutError:
            log.seek(0)
            print(log.read().decode(errors="replace")[-3000:])
            raise
        finally:
            running.terminate()
            try:
                running.wait(20)
            except subprocess.TimeoutExpired:
                running.kill()
                running.wait(5)


def _wait_for(port: int, running: subprocess.Popen[bytes]) -> None:
    """Until a request is answered, by whatever status. LiteLLM's imports alone take half a minute of CPU."""
    deadline = time.monotonic() + 300
    command = ["curl", "-sf", "-o", "/dev/null", "-m", "2", f"http://127.0.0.1:{port}{_HEALTH.get(port, '/readyz')}"]
    while subprocess.run(command, check=False, capture_output=True).returncode not in {0, 22, 52}:
        if time.monotonic() > deadline or running.poll() is not None:
            raise TimeoutError(f"nothing answers on port {port}")
        time.sleep(0.2)


_HEALTH: dict[int, str] = {}
_CANNED, _GATEWAY, _BARE, _AIOHTTP, _OTHER = 28701, 28702, 28703, 28704, 28705


ROUTE = """
[routes.gpt-4o-mini]
upstreams = ["canned"]
"""


@contextmanager
def gateway(stack: Stack, folder: Path, *, name: str = "tokenledger gateway", route: str = ROUTE) -> Iterator[Proxy]:
    """The gateway, everything on; its upstream is called `canned`."""
    layout = stack.layout
    key = _prepared(layout)
    config = folder / "gateway.toml"
    (folder / "upstream.key").write_text("unused", encoding="utf-8")
    config.write_text(
        f"""
allowed_hosts = ["127.0.0.1"]
listen = {{ port = {_GATEWAY} }}
[upstreams.canned]
provider = "openai"
key_file = "{folder / "upstream.key"}"
replicas = [{{ url = "http://127.0.0.1:{_CANNED}/v1" }}]
tier = "small"
{route}""",
        encoding="utf-8",
    )
    environment = layout.client_environment() | {"TOKENLEDGER_OUTBOX_CAPACITY_BYTES": str(4 << 30)}
    command = (sys.executable, "-m", "serving.gateway", "--config", str(config))
    with process(_PROXY_CORE, *command, port=_GATEWAY, environment=environment) as running, _ledger(layout) as ledger:
        time.sleep(3)  # keys are read every two seconds
        behind = (ledger.pid, *_pids(stack))
        for pid in _pids(stack):
            subprocess.run(["taskset", "-acp", _LOAD_CORE, str(pid)], check=True, capture_output=True)
        yield Proxy(name, _GATEWAY, key, running, behind)


def _pids(stack: Stack) -> list[int]:
    return [process.pid for process in stack.supervision.processes() if process.pid]


@contextmanager
def _ledger(layout: Layout) -> Iterator[subprocess.Popen[bytes]]:
    """Whoever ships and posts what the gateway writes."""
    outbox, dsn = str(layout.root / "data" / "outbox"), layout.dsn("writer")
    command = (sys.executable, "-m", "benchmarks.gateway_ledger", outbox, dsn, str(_COST_USD_PICO))
    running = subprocess.Popen(["taskset", "-c", _LOAD_CORE, *command], cwd=REPO)
    try:
        yield running
    finally:
        running.terminate()
        running.wait(20)


def _prepared(layout: Layout) -> str:
    """Tables, a key with limits, and a budget that a month of this would not spend."""
    subprocess.run(
        [str(layout.python), "-m", "ledger.migrate"],
        cwd=layout.repo, env=os.environ | layout.admin_environment(), check=True, capture_output=True,
    )  # fmt: skip
    now_us = time.time_ns() // 1000
    key_id, key = api_keys.new_key()
    secret = api_keys.read_secret(layout.secrets / "api-keys")
    stored = ApiKey(
        key_id=key_id, hmac=api_keys.digest(secret, key.encode()), tenant_id="acme", feature="search",
        requests_per_min=100_000_000, tokens_per_min=1_000_000_000_000, created_at_us=now_us,
    )  # fmt: skip
    with psycopg.connect(layout.dsn("keeper")) as connection:
        api_keys.add(connection, stored)
        for feature in (None, "search"):
            budget = Budget(tenant_id="acme", feature=feature, period="month", limit_usd_pico=10**18)
            api_keys.set_budget(connection, budget, now_us=now_us)
    return key


@contextmanager
def plain(kind: str, name: str, port: int) -> Iterator[Proxy]:
    """A proxy of benchmarks.proxies."""
    command = (sys.executable, "-m", "benchmarks.proxies", kind, str(port), str(_CANNED))
    with process(_PROXY_CORE, *command, port=port, environment={}) as running:
        yield Proxy(name, port, "none", running)


@contextmanager
def litellm(folder: Path) -> Iterator[Proxy]:
    """LiteLLM's proxy, one worker, nothing but a master key; installed on demand."""
    venv = REPO / ".local" / "venv-litellm"
    if not (venv / "bin" / "litellm").exists():
        print(f"  installing {_LITELLM} into {venv.relative_to(REPO)}", flush=True)
        uv = os.environ.get("UV") or shutil.which("uv") or "uv"
        subprocess.run([uv, "venv", "-q", "--clear", "--python", sys.executable, str(venv)], check=True)
        python = str(venv / "bin" / "python")
        subprocess.run([uv, "pip", "install", "-q", "--python", python, _LITELLM], check=True)
    config = folder / "litellm.yaml"
    config.write_text(
        f"""
model_list:
  - model_name: gpt-4o-mini
    litellm_params: {{ model: openai/gpt-4o-mini, api_base: "http://127.0.0.1:{_CANNED}/v1", api_key: unused }}
general_settings: {{ master_key: {_MASTER_KEY} }}
litellm_settings: {{ telemetry: false }}
""",
        encoding="utf-8",
    )
    command = (str(venv / "bin" / "litellm"), "--config", str(config), "--port", str(_OTHER), "--num_workers", "1")
    # Its price list comes from the network unless told to take the packaged one.
    environment = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "PATH": f"{venv}/bin:/usr/bin:/bin"}
    _HEALTH[_OTHER] = "/health/liveliness"
    with process(_PROXY_CORE, *command, "--host", "127.0.0.1", port=_OTHER, environment=environment) as running:
        yield Proxy("LiteLLM proxy 1.106.2", _OTHER, _MASTER_KEY, running, settles_s=20, longer=5)


def _resident_mib(pid: int) -> float:
    return _kib(f"/proc/{pid}/status") / 1024


def _kib(path: str) -> int:
    return int(Path(path).read_text(encoding="utf-8").partition("VmRSS:")[2].split()[0])


def _row(figures: Figures) -> str:
    return (
        f"{figures.name:22} {figures.plain_us:8.0f} µs/request {figures.per_second:8,.0f} req/s"
        f" {figures.stream_us:8.0f} µs/stream  added p50 {figures.added_p50_us / 1000:7.2f} ms"
        f"  p90 {figures.added_p90_us / 1000:7.2f}  p99 {figures.added_p99_us / 1000:7.2f}"
        f"  RSS {figures.resident_mib:4.0f} MiB  behind {figures.behind_us:4.0f} µs/request"
    )


@contextmanager
def surroundings() -> Iterator[tuple[Stack, Path]]:
    """What every proxy needs: Postgres and Redis, a canned upstream, and a folder for its files."""
    with ExitStack() as held:
        stack = held.enter_context(stack_of(("postgres", "redis")))
        folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="tlb-gateway-")))
        canned = (sys.executable, "-m", "serving.simulator", "--canned", str(_CANNED))
        held.enter_context(process(_LOAD_CORE, *canned, port=_CANNED, environment={}))
        yield stack, folder


def measured(start: Start) -> Figures:
    """The figures of a proxy that runs for them alone."""
    with start() as proxy:
        return measure(proxy, _CANNED)


def _proxies(stack: Stack, folder: Path, *, with_litellm: bool) -> Iterator[Start]:
    """What is measured, in this order."""
    yield lambda: plain("asgi", "bare ASGI pass-through", _BARE)
    yield lambda: plain("aiohttp", "aiohttp proxy", _AIOHTTP)
    yield lambda: gateway(stack, folder)
    if with_litellm:
        yield lambda: litellm(folder)


def main() -> int:
    """Exit status 0 once all were measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--without-litellm", action="store_true", help="which is slow to install")
    asked = parser.parse_args()
    if shutil.which("wrk") is None:
        print("wrk is not installed; Debian: apt-get install wrk", file=sys.stderr)
        return 2
    with surroundings() as (stack, folder):
        found = [measured(start) for start in _proxies(stack, folder, with_litellm=not asked.without_litellm)]
        disk(folder)
    print()
    ours = next(one for one in found if one.name.startswith("tokenledger"))
    for one in found:
        ratios = f"{one.plain_us / ours.plain_us:6.2f} plain, {one.stream_us / ours.stream_us:6.2f} stream"
        print(f"{_row(one)}  ÷ gateway {ratios}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
