"""`make demo-cascade`: the same questions twice, all to the frontier model and through the cascade; what each cost.

A router is trained and promoted on questions of its own first. Right and wrong are known, as the questions are made;
what it cost is the ledger's word. Nothing outside this machine is called.
"""

import asyncio
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import Final

import psycopg

from infra.demo_asking import Ask, Heard, asked, questions_of, workload
from infra.demo_bill import bills, compared, escalated, explained
from infra.demo_telling import heading
from infra.demo_workshop import Workshop
from infra.local.layout import Layout
from infra.local.place import REPO, layout_of
from infra.local.stack import NotReady, Stack

_FLEET: Final = REPO / "serving" / "simulator" / "cascade.toml"
_POLICY: Final = _FLEET.with_name("cascade_router.toml")
_TIERS: Final = {"small": "small-a", "medium": "medium-a", "frontier": "frontier-a"}
_PAIRS, _PAIRS_SEED = 1_200, 31
_QUESTIONS, _QUESTIONS_SEED = 400, 77
_KEYS_KNOWN_AFTER_S: Final = 2.5

_GATEWAY = """
allowed_hosts = ["127.0.0.1"]
listen = {{ port = {port} }}

[router]
policy_file = "{policy}"
models_dir = "{models}"

[upstreams.small-a]
provider = "openai"
model = "gpt-4.1-nano"
tier = "small"
replicas = [{{ url = "http://127.0.0.1:{small_a}/v1" }}]
[upstreams.small-b]
provider = "mistral_ai"
model = "ministral-8b"
tier = "small"
replicas = [{{ url = "http://127.0.0.1:{small_b}/v1" }}]
[upstreams.medium-a]
provider = "openai"
model = "gpt-4.1-mini"
tier = "medium"
replicas = [{{ url = "http://127.0.0.1:{medium_a}/v1" }}]
[upstreams.frontier-a]
provider = "openai"
model = "gpt-4.1"
tier = "frontier"
replicas = [{{ url = "http://127.0.0.1:{frontier_a}/v1" }}]

[routes.frontier]
upstreams = ["frontier-a"]

[routes.chat]
upstreams = ["small-a", "small-b", "medium-a", "frontier-a"]
[routes.chat.cascade]
policy = "chat"
mode = "verify-first"
second_opinion = "small-b"
agreement = "normalised"
[routes.chat.cache]
exact = true
semantic = true

[cache]
folder = "{cache}"
"""


def main() -> int:
    """Exit status: 0 when the cascade was cheaper and the ledger's sums agree; 1 when not."""
    started_at = time.monotonic()
    layout = layout_of(os.environ.get("TOKENLEDGER_STACK_ROOT"))
    try:
        with ExitStack() as held:
            held_good = CascadeDemo(layout, held).run()
    except (NotReady, subprocess.CalledProcessError, TimeoutError, RuntimeError) as failure:
        print(f"demo: {failure}", file=sys.stderr)
        return 1
    print(f"\nDone in {time.monotonic() - started_at:.0f} s.")
    return 0 if held_good else 1


class CascadeDemo:
    """One run against one stack."""

    def __init__(self, layout: Layout, held: ExitStack) -> None:
        self._shop = Workshop(layout, held, name="demo-cascade")
        self._layout = layout
        self._asks: list[Ask] = []

    def run(self) -> bool:
        """Every step with its heading; whether the cascade was cheaper and the sums agree."""
        heading("1 of 6", "The stack: Kafka, Flink, Postgres, Redis, ledger, features")
        Stack(self._layout, lambda line: print(f"  {line}", flush=True)).up()
        heading("2 of 6", f"A router, trained on {_PAIRS} questions whose answers are known, and promoted")
        self._train()
        heading("3 of 6", "Four simulated models of two houses, a gateway, two tenants")
        url, keys = self._start()
        heading("4 of 6", f"{_QUESTIONS} requests twice: all to the frontier model, then through the cascade")
        runs = asyncio.run(self._asked(url, keys))
        self._shop.wait_until_accounted(sum(len(run.texts) for run in runs))
        heading("5 of 6", "What they cost, by the ledger; how right they were, by the questions' labels")
        with psycopg.connect(self._layout.dsn("analyst")) as connection:
            found = bills(connection, runs, run=self._shop.run)
            compared(found)
            heading("6 of 6", "One escalated request: the decision, what it was made from, every attempt, the bill")
            explained(connection, escalated(connection, keys["cascade"][0]))
        print()
        agreed = self._shop.verify()
        _say_next()
        return agreed and found[1].cost_usd_pico < found[0].cost_usd_pico

    # The router

    def _train(self) -> None:
        pairs = self._shop.folder / "pairs.csv"
        graded = [word for tier, name in _TIERS.items() for word in ("--graded", f"{tier}={name}")]
        pairs.write_bytes(self._simulator("--config", str(_FLEET), *_counted(_PAIRS, _PAIRS_SEED), *graded))
        columns = [word for tier in _TIERS for word in ("--tier", f"{tier}={tier}")]
        done = self._shop.command(
            *("router", "train", str(pairs), *columns, "--models", str(self._shop.folder / "models"), "--promote"),
            *("--group", "group", "--cost-ratio", "0.05", "--folds", "3", "--draws", "50"),
        )
        if done.returncode:
            raise RuntimeError(done.stderr.decode())
        told = done.stdout.decode().splitlines()
        print("\n".join(f"  {line.rstrip()}" for line in (*told[:3], told[-1])))

    def _simulator(self, *arguments: str) -> bytes:
        """What the simulator prints instead of serving."""
        command = [str(self._layout.python), "-m", "serving.simulator", *arguments]
        return subprocess.run(command, cwd=self._layout.repo, stdout=subprocess.PIPE, check=True).stdout

    # The gateway

    def _start(self) -> tuple[str, dict[str, tuple[str, str]]]:
        """The gateway's URL, and per run its tenant and key."""
        folder = self._shop.folder
        labels = self._simulator(*_counted(_QUESTIONS, _QUESTIONS_SEED))
        (folder / "labelled.jsonl").write_bytes(labels)
        self._asks = workload(questions_of(labels), seed=_QUESTIONS_SEED)
        (folder / "tiers.toml").write_text(f'labels = "labelled.jsonl"\n{_FLEET.read_text("utf-8")}', encoding="utf-8")
        ports = self._shop.simulator(folder / "tiers.toml")["tiers"]
        (folder / "router.toml").write_bytes(_POLICY.read_bytes())
        url = self._shop.gateway(
            _GATEWAY,
            policy=folder / "router.toml",
            models=folder / "models",
            cache=folder / f"cache-{self._shop.run}",
            **{name.replace("-", "_"): port for name, port in ports.items()},
        )
        with psycopg.connect(self._layout.dsn("keeper")) as connection:
            tenants = {name: f"{name}-{self._shop.run}" for name in ("frontier", "cascade")}
            return url, {
                name: (tenant, self._shop.new_key(connection, tenant=tenant, feature="clerk"))
                for name, tenant in tenants.items()
            }

    async def _asked(self, url: str, keys: dict[str, tuple[str, str]]) -> list[Heard]:
        await asyncio.sleep(_KEYS_KNOWN_AFTER_S)  # the gateway looks for new keys every two seconds
        runs = []
        for name, model in (("frontier", "frontier"), ("cascade", "chat")):
            began_s = time.monotonic()
            heard = Heard(name, self._asks)
            await asked(url, keys[name][1], heard=heard, model=model, run=self._shop.run)
            failed = ", ".join(f"{count} {kind}" for kind, count in heard.failures.items()) or "none"
            print(f"  {name:<9} {len(heard.texts)} answers in {time.monotonic() - began_s:.0f} s, failed: {failed}")
            runs.append(heard)
        return runs


def _counted(count: int, seed: int) -> tuple[str, ...]:
    return "--questions", str(count), "--seed", str(seed)


def _say_next() -> None:
    print(
        "\nThree things to try next:\n"
        "  uv run tokenledger router judge --policy my_router.toml      what another policy would have been worth\n"
        "  uv run python -m benchmarks.cascade      the same economics over 3,000 questions, with intervals\n"
        "  docs/routing.md      how to read a decision"
    )


if __name__ == "__main__":
    sys.exit(main())
