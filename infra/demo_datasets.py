"""`make demo-datasets`: recorded provider traffic, captured with consent, becomes datasets and a drift report.

Everything is started over Airflow's REST interface, as an operator would by hand. Run again it sends nothing new, and
every hash is the same.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from infra.airflow_client import Airflow, Refused
from infra.local.layout import Layout
from infra.local.place import layout_of
from infra.local.stack import NotReady, Stack
from ledger.lake.consent import ConsentFile
from ledger.lake.progress import read_progress
from tokenledger.records.topics import PRICED, RAW

_TENANT, _FEATURES, _SEED, _SPREAD_S = "consenting", 3, 11, 6 * 3600
_CAUGHT_UP_WITHIN_S = 240
_RUN_WITHIN_S = 600
_KNOWN_WITHIN_S = 120
_HASH_SHOWN = 16
_FOLLOWED_WITHIN_S = 60.0
RECIPES = {
    "eval": f"""\
name = "demo-eval"
kind = "eval"
purpose = "Recorded provider traffic: what a change of model is tried on."

[consent]
tenants = ["{_TENANT}"]

[strata]
rows = 40
""",
    "finetune": f"""\
name = "demo-finetune"
kind = "finetune"
purpose = "Recorded provider traffic: chats that ended well, none of them in demo-eval."

[consent]
tenants = ["{_TENANT}"]

[leakage]
against = ["demo-eval"]
""",
}


def main() -> int:
    """Exit status: 0 when every run succeeded; 1 when one did not."""
    started_at = time.monotonic()
    layout = layout_of(os.environ.get("TOKENLEDGER_STACK_ROOT"))
    try:
        Demo(layout).run()
    except (NotReady, Refused, OSError, RuntimeError, subprocess.CalledProcessError) as failure:
        print(f"demo-datasets: {failure}", file=sys.stderr)
        return 1
    print(f"\nDone in {time.monotonic() - started_at:.0f} s.")
    return 0


class Demo:
    """One run of the demo against one stack."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._folder = layout.root / "demo"
        self._environment = os.environ | layout.client_environment()
        self._links: list[str] = []

    def run(self) -> None:
        """Every step with its heading."""
        self._folder.mkdir(parents=True, exist_ok=True)
        _heading("1 of 6", "The stack, and Airflow beside it")
        stack = Stack(self._layout, lambda line: print(f"  {line}", flush=True))
        stack.up()
        stack.airflow()
        _heading("2 of 6", "Recorded prompts and answers of real providers, from the package registry")
        self._command("samples")
        _heading("3 of 6", f"Sending them with their texts, which tenant {_TENANT!r} allows")
        self._write_what_people_would()
        self._send()
        self._wait_until_archived()
        _heading("4 of 6", "Airflow: the lake's days, scores, two datasets, drift")
        self._airflow = Airflow.as_user(self._layout, "operator")
        self._run_all()
        _heading("5 of 6", "The datasets")
        for name in ("demo-eval", "demo-finetune"):
            self._show(name)
        _heading("6 of 6", "Where to look")
        print("\n".join(f"  {link}" for link in self._links))
        print(f"  sign in as operator; the password is in {self._layout.airflow_passwords}")

    def _write_what_people_would(self) -> None:
        """Consent and recipes; what is there already is left alone."""
        self._command("tenants", "set", _TENANT, "--capture-consent", "yes", "--reason", "the demo's own tenant")
        deadline = time.monotonic() + _FOLLOWED_WITHIN_S
        while not ConsentFile(self._layout.consent).now().allows(_TENANT):
            if time.monotonic() > deadline:
                message = f"{self._layout.consent} does not follow the ledger; see the log of `archive`"
                raise TimeoutError(message)
            time.sleep(0.1)
        folder = self._layout.offline["recipes"]
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in RECIPES.items():
            if not (folder / f"{name}.toml").exists():
                (folder / f"{name}.toml").write_text(text, encoding="utf-8")

    def _command(self, *words: str) -> str:
        command = [str(self._layout.python), "-m", "tokenledger.cli", *words]
        done = subprocess.run(
            command, env=self._environment, cwd=self._layout.repo, check=True, stdout=subprocess.PIPE, text=True
        )
        return done.stdout

    def _ends_at_us(self) -> int:
        """The first run fixes the times of the events, so that a second run sends the same events."""
        stamp = self._folder / "datasets_end_at_us"
        if not stamp.exists():
            stamp.write_text(str(time.time_ns() // 1000))
        return int(stamp.read_text())

    def _send(self) -> None:
        said = self._command(
            "send", str(self._layout.repo / ".local" / "samples"), "--capture", "--tenant", _TENANT, "--quiet",
            "--features", str(_FEATURES), "--seed", str(_SEED),
            "--now", str(self._ends_at_us()), "--spread", str(_SPREAD_S),
            "--journal", str(self._folder / "datasets.jsonl"),
        )  # fmt: skip
        print(said, end="")

    def _wait_until_archived(self) -> None:
        """Until the lake holds what the log holds of raw and priced records."""
        wanted = _ends(self._layout)
        deadline = time.monotonic() + _CAUGHT_UP_WITHIN_S
        while time.monotonic() < deadline:
            held = {place: one.next_offset for place, one in read_progress(self._layout.lake).items()}
            if all(held.get(place, 0) >= end for place, end in wanted.items()):
                return
            time.sleep(0.5)
            wanted |= _ends(self._layout)
        raise RuntimeError(f"the lake holds {held} of {wanted} after {_CAUGHT_UP_WITHIN_S} s; see `make logs`")

    def _run_all(self) -> None:
        end_us = self._ends_at_us()
        since_us = end_us - _SPREAD_S * 1_000_000
        half_us = (since_us + end_us) // 2
        window = {"since": _instant(half_us), "until": _instant(end_us + 1)}
        reference = {"reference_since": _instant(since_us), "reference_until": _instant(half_us)}
        for day in sorted({_instant(since_us)[:10], _instant(end_us)[:10]}):
            self._run("compact_lake", day=day)
        self._run("score_responses")
        self._run("eval_dataset")
        self._run("finetune_dataset")
        self._run("drift_report", **window, **reference)

    def _run(self, dag_id: str, **conf: object) -> None:
        """Start a run by hand and wait for its end; what it started elsewhere runs on its own."""
        started_at = time.monotonic()
        self._wait_until_known(dag_id)
        self._airflow.unpause(dag_id)
        run_id = self._airflow.trigger(dag_id, **conf)
        run = self._airflow.wait(dag_id, run_id, within_s=_RUN_WITHIN_S)
        link = f"{self._layout.airflow_url}/dags/{dag_id}/runs/{run_id}"
        states = ", ".join(f"{one['task_id']} {one['state']}" for one in self._airflow.tasks(dag_id, run_id))
        print(f"  {dag_id:<17} {run['state']} in {time.monotonic() - started_at:.1f} s: {states}", flush=True)
        if run["state"] != "success":
            raise RuntimeError(f"{dag_id}: {'; '.join(self._last_words(dag_id, run_id))}; see {link}")
        self._links.append(link)
        if dag_id == "drift_report":
            found = self._airflow.result(dag_id, run_id, task_id="report")
            self._links.append(str(self._layout.offline["drift"] / "reports" / found / "index.html"))

    def _wait_until_known(self, dag_id: str) -> None:
        """A DAG processor that has just started reads the files one after the other."""
        deadline = time.monotonic() + _KNOWN_WITHIN_S
        while True:
            try:
                self._airflow.ask("GET", f"/api/v2/dags/{dag_id}")
            except Refused:
                if time.monotonic() > deadline:
                    raise
                time.sleep(1)
            else:
                return

    def _last_words(self, dag_id: str, run_id: str) -> Iterator[str]:
        for one in self._airflow.tasks(dag_id, run_id):
            if one["state"] == "failed":
                log = self._airflow.log(dag_id, run_id, task_id=one["task_id"], attempt=one["try_number"])
                yield f"{one['task_id']}: {' / '.join(log[-8:])}"

    def _show(self, name: str) -> None:
        said = self._command(
            "datasets", "show", name, "--datasets", str(self._layout.offline["datasets"]), "--json"
        ).rstrip()
        card, _, last = said.rpartition("\n")
        manifest: dict[str, Any] = json.loads(last)
        print("\n".join(f"  {line}" for line in card.splitlines()))
        print(f"\n  {manifest['name']}@{manifest['version']}  {self._compared(name, manifest)}")
        for file in manifest["files"]:
            print(f"  sha256 {file['sha256'][:_HASH_SHOWN]}…  {file['path']}")
        print()

    def _compared(self, name: str, manifest: dict[str, Any]) -> str:
        """What the version is to that of the run before."""
        now = json.dumps({file["path"]: file["sha256"] for file in manifest["files"]}, sort_keys=True)
        kept = self._folder / f"{name}.json"
        before = kept.read_text(encoding="utf-8") if kept.exists() else None
        kept.write_text(now, encoding="utf-8")
        if before is None:
            return ""
        return "the same bytes as in the run before" if before == now else "OTHER bytes than in the run before"


def _ends(layout: Layout) -> dict[tuple[str, int], int]:
    """Where the topics end."""
    consumer = Consumer({"bootstrap.servers": layout.kafka_bootstrap, "group.id": "demo-datasets"})
    try:
        places = [(topic.name, number) for topic in (RAW, PRICED) for number in range(topic.partitions)]
        found = {place: consumer.get_watermark_offsets(TopicPartition(*place), timeout=10) for place in places}
    finally:
        consumer.close()
    return {place: int(high) for place, (_, high) in found.items()}


def _instant(at_us: int) -> str:
    return datetime.fromtimestamp(at_us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _heading(step: str, text: str) -> None:
    print(f"\n[{step}] {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
