"""`make demo-gateway`: a gateway under load through OpenAI's own SDK, one upstream degrading, every cent accounted for.

Each run has tenants of its own, so that its journal is all they ever did. It uses the stack's outbox and ledger, but a
gateway of its own, on its own port: the configuration of the stack's belongs to its owner.
"""

import asyncio
import json
import os
import subprocess
import sys
import textwrap
import time
import urllib.request
from contextlib import ExitStack
from typing import Any

import psycopg

from feature_repo.online import Features, OnlineReader, Status
from feature_repo.settings import RedisSettings
from infra.demo_callers import Caller, Crowd, Journal
from infra.demo_telling import explain_stream, heading, say_next, vectors
from infra.demo_workshop import Workshop, now_us
from infra.local.layout import HOST, Layout
from infra.local.place import layout_of
from infra.local.stack import NotReady, Stack
from ledger import api_keys
from ledger.api_keys import Budget
from ledger.reconcile import compare
from tokenledger.records.features import MINUTE_US, TrafficFeatures

_VIEW, _MODEL = "model_traffic_1m", ("openai", "gpt-4o-mini")
_ENOUGH_BEFORE_S = 12.0
_TOLD_EVERY_S = 10.0
_WINDOW_TOLD_WITHIN_S = 30.0
_BUDGET_USD_PICO = 1_200_000_000  # 0.0012 USD
_DEGRADED = {"slowdown": 5.0, "faults": {"server_error": 0.2, "rate_limited": 0.15}}

_TIERS = """
seed = 7
[[tiers]]
name = "small"
models = ["gpt-4o-mini", "text-embedding-3-small"]
slots = 16
ttft_us_p50 = 90_000
tpot_us_p50 = 3_000
output_tokens_p50 = 40
[[tiers]]
name = "large"
models = ["gpt-4o"]
slots = 16
ttft_us_p50 = 220_000
tpot_us_p50 = 5_000
output_tokens_p50 = 40
[[tiers]]
name = "own"
models = ["Qwen/Qwen2.5-7B-Instruct"]
ttft_us_p50 = 70_000
tpot_us_p50 = 4_000
output_tokens_p50 = 40
"""

_GATEWAY = """
allowed_hosts = ["127.0.0.1"]
listen = {{ port = {port} }}
breaker = {{ failures = 50, ratio = 0.9, window = 40 }}

[upstreams.small]
provider = "openai"
tier = "small"
replicas = [{{ url = "http://127.0.0.1:{small}/v1" }}]
[upstreams.large]
provider = "openai"
tier = "large"
model = "gpt-4o"
replicas = [{{ url = "http://127.0.0.1:{large}/v1" }}]
[upstreams.own]
provider = "vllm"
engine = "vllm"
tier = "own"
replicas = [{{ url = "http://127.0.0.1:{own}/v1" }}]

[routes.gpt-4o-mini]
upstreams = ["small"]
[routes.gpt-4o]
upstreams = ["large"]
[routes.text-embedding-3-small]
upstreams = ["small"]
apis = ["embeddings"]
[routes."Qwen/Qwen2.5-7B-Instruct"]
upstreams = ["own"]
"""


def main() -> int:
    """Exit status: 0 when the ledger agrees with the callers' journal; 1 when it does not."""
    started_at = time.monotonic()
    layout = layout_of(os.environ.get("TOKENLEDGER_STACK_ROOT"))
    try:
        with ExitStack() as held:
            agreed = GatewayDemo(layout, held).run()
    except (NotReady, subprocess.CalledProcessError, TimeoutError) as failure:
        print(f"demo: {failure}", file=sys.stderr)
        return 1
    print(f"\nDone in {time.monotonic() - started_at:.0f} s.")
    return 0 if agreed else 1


class GatewayDemo:
    """One run against one stack."""

    def __init__(self, layout: Layout, held: ExitStack) -> None:
        self._shop = Workshop(layout, held, name="demo-gateway")
        self._layout = layout
        self._folder = self._shop.folder
        self._run = self._shop.run
        self._journal = Journal(self._folder / f"journal-{self._run}.jsonl")
        self._ports: dict[str, Any] = {}
        self._url = ""

    def run(self) -> bool:
        """Every step with its heading; whether all totals agree to the pico-dollar."""
        heading("1 of 6", "The stack: Kafka, Flink, Postgres, Redis, ledger, features")
        Stack(self._layout, lambda line: print(f"  {line}", flush=True)).up()
        heading("2 of 6", "Three simulated upstreams, a gateway before them, two tenants with keys and a budget")
        self._start()
        callers = self._callers()
        heading("3 of 6", "Seven applications call through OpenAI's SDK; one upstream degrades on the minute")
        before, after = asyncio.run(self._load(callers))
        heading("4 of 6", f"What the stream knows of {' '.join(_MODEL)}, read from Redis as the gateway reads it")
        vectors(before, after)
        self._shop.wait_until_accounted(self._journal.answered)
        heading("5 of 6", "One streamed request, from the ledger")
        with psycopg.connect(self._layout.dsn("analyst")) as connection:
            explain_stream(connection, self._journal.last_stream)
        heading("6 of 6", "The law: what callers were told, what budgets allowed, what the ledger says")
        agreed = self._agrees()
        agreed &= self._shop.verify()
        say_next(os.path.relpath(self._journal.path))
        return agreed

    # The upstreams and the gateway

    def _start(self) -> None:
        (self._folder / "tiers.toml").write_text(_TIERS, encoding="utf-8")
        self._ports = self._shop.simulator(self._folder / "tiers.toml")
        self._url = self._shop.gateway(_GATEWAY, **self._ports["tiers"])

    def _callers(self) -> list[Caller]:
        """The applications, each with a key of its tenant; the second tenant's budget is small."""
        acme, globex = f"acme-{self._run}", f"globex-{self._run}"
        with psycopg.connect(self._layout.dsn("keeper")) as connection:
            keys = {
                (tenant, feature): self._shop.new_key(connection, tenant=tenant, feature=feature)
                for tenant, feature in ((acme, "search"), (acme, "agent"), (acme, "index"), (globex, "chat"))
            }
            budget = Budget(tenant_id=globex, period="day", limit_usd_pico=_BUDGET_USD_PICO)
            api_keys.set_budget(connection, budget, now_us=now_us())
        print(f"  {acme}: no budget    {globex}: {_BUDGET_USD_PICO / 1e12:.4f} USD a day")
        own = "Qwen/Qwen2.5-7B-Instruct"
        work = [
            ("search", acme, "stream", "gpt-4o-mini", 0.2), ("search, in one piece", acme, "whole", "gpt-4o-mini", 0.2),
            ("more search", acme, "stream", "gpt-4o-mini", 0.3), ("agent", acme, "tool", "gpt-4o", 0.6),
            ("index", acme, "embedding", "text-embedding-3-small", 0.4), ("drafts", acme, "whole", own, 0.5),
            ("chat", globex, "stream", "gpt-4o-mini", 0.3),
        ]  # fmt: skip
        features = {"agent": "agent", "index": "index", "chat": "chat"}
        return [
            Caller(
                name=name, tenant_id=tenant, key=keys[tenant, features.get(name, "search")], kind=kind, model=model,
                pause_s=pause_s,
            )
            for name, tenant, kind, model, pause_s in work
        ]  # fmt: skip

    # The load

    async def _load(self, callers: list[Caller]) -> tuple[Features[TrafficFeatures], Features[TrafficFeatures]]:
        """The features of the last healthy minute and of the first degraded one."""
        over = asyncio.Event()
        await asyncio.sleep(2.5)  # the gateway looks for new keys every two seconds
        working = asyncio.create_task(Crowd(self._url, self._journal, run=self._run).work(callers, over))
        reader = OnlineReader(RedisSettings.from_environment(self._shop.environment, user="gateway"))
        await reader.start()
        try:
            healthy_until_us = _next_minute_us(now_us() + round(_ENOUGH_BEFORE_S * 1e6))
            await self._tell_until(healthy_until_us, "healthy")
            await asyncio.to_thread(self._degrade)
            print("  small is now five times slower and fails a third of its calls", flush=True)
            before = await _window(reader, healthy_until_us)
            await self._tell_until(healthy_until_us + MINUTE_US, "degraded")
            over.set()
            await working
            return before, await _window(reader, healthy_until_us + MINUTE_US)
        finally:
            over.set()
            await reader.close()

    async def _tell_until(self, at_us: int, phase: str) -> None:
        self._journal.seconds.clear()
        while (left_s := (at_us - now_us()) / 1e6) > 0:
            await asyncio.sleep(min(left_s, _TOLD_EVERY_S))
            took = sorted(self._journal.seconds)
            p50 = f"{took[len(took) // 2]:.2f} s" if took else "—"
            print(
                f"  {time.strftime('%H:%M:%S', time.gmtime())} UTC  {phase:<9} {self._journal.answered:>5,} answered,"
                f" {self._journal.streams:>4,} of them streams, {self._journal.failures.total():>3} failed,"
                f" {self._journal.refusals.total():>3} over budget; p50 {p50}",
                flush=True,
            )

    def _degrade(self) -> None:
        url = f"http://{HOST}:{self._ports['control']}/tiers/small"
        with urllib.request.urlopen(url, json.dumps(_DEGRADED).encode(), timeout=5):
            pass

    # The books

    def _agrees(self) -> bool:
        """The journal priced without any server, against the ledger's lines: per tenant, model and meter."""
        journal = self._journal
        with psycopg.connect(self._layout.dsn("analyst")) as connection:
            expected, differing = compare(connection, [str(journal.path)])
            attempts = connection.execute(_ATTEMPTS, [f"{self._run}-"]).fetchall()
        # The ledger also has attempts that failed, which no caller was told of one by one; they have no lines.
        differing = [line for line in differing if ", calls: " not in line]
        _say_told(journal)
        for status, role, error, count, usd_pico in attempts:
            what = f"{role}, {error}" if error else role
            print(f"  ledger        {status:<8}{what:<28}{count:>6,} attempts{usd_pico / 1e12:>18.12f} USD")
        if differing:
            print("\n".join(f"  DIFFERS {difference}" for difference in differing))
            return False
        total = sum(share.amount_usd_pico for share in expected.values())
        print(
            f"  The callers' journal priced with no server: {total / 1e12:.12f} USD.\n"
            "  The ledger has the same per tenant, model and meter, to the pico-dollar."
        )
        return True


_ATTEMPTS = """
    SELECT status, attempt_role, error_type, count(*), sum(known_cost_usd_pico)::bigint
    FROM calls WHERE starts_with(user_id, %s) GROUP BY 1, 2, 3 ORDER BY 4 DESC
"""


def _say_told(journal: Journal) -> None:
    """What the callers were told, and one refusal in the words of the gateway."""
    failed = ", ".join(f"{count} {name}" for name, count in journal.failures.most_common()) or "none"
    print(f"  callers       {journal.answered:,} answers; failed after the SDK's own retry: {failed}")
    for caller, count in journal.refusals.items():
        print(f"  budget        {count} calls of {caller!r} refused before any upstream saw them; the last:")
        print(textwrap.fill(journal.last_refusal, 112, initial_indent=" " * 16, subsequent_indent=" " * 16))


async def _window(reader: OnlineReader, ended_at_us: int) -> Features[TrafficFeatures]:
    """The features of the minute that ended then, once they are told."""
    deadline = time.monotonic() + _WINDOW_TOLD_WITHIN_S
    while time.monotonic() < deadline:
        [found] = (await reader.read({_VIEW: [_MODEL]})).traffic(_VIEW)
        if found.status is Status.PRESENT and (found.event_at_us or 0) >= ended_at_us:
            return found
        await asyncio.sleep(0.1)
    raise TimeoutError(f"no features of the minute before {ended_at_us}; see `make logs`")


def _next_minute_us(at_us: int) -> int:
    return -(-at_us // MINUTE_US) * MINUTE_US


if __name__ == "__main__":
    sys.exit(main())
