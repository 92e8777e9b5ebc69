"""One run: the traffic's process, the reader beside it, the commands of operators, and the checker at the end."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, LiteralString, NamedTuple

import psycopg

from infra.local.layout import DATABASE, SUPERUSER, Layout
from tests.faults.lag import Meter
from tests.faults.log import ends
from tests.faults.rates import edit_file, final_file, price_file
from tests.faults.workload import Run

_COMMAND_WITHIN_S, _REBUILT_WITHIN_S = 240.0, 900.0


class Said(NamedTuple):
    """How a command ended."""

    status: int
    text: str


class Drive:
    """The processes of one run, in one folder."""

    def __init__(self, layout: Layout, folder: Path, run: Run, *, bootstrap: str = "", is_alone: bool = True) -> None:
        self.layout, self.folder, self.run = layout, folder, run
        self.is_alone = is_alone
        """Whether nobody else works with this stack."""
        self.bootstrap = bootstrap or layout.kafka_bootstrap
        self.journal = folder / "journal.jsonl"
        self.dsn = layout.dsn("analyst")
        self.begin = ends(layout.kafka_bootstrap)
        self.meter = Meter(self.journal, self.dsn)
        self.starts = 0
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._keeper = threading.Thread(target=self._keep_sending, daemon=True)
        self._generator: subprocess.Popen[bytes] | None = None
        self._watcher: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """Of every command."""
        return os.environ | self.layout.client_environment()

    def prepare(self) -> None:
        """The ledger knows the generator's rates before the first record."""
        self._file("prices.yaml", price_file(contract_tenant=self.run.contract_tenant))
        edited_at = datetime.fromtimestamp(self.run.start_us // 1_000_000, UTC).isoformat().replace("+00:00", "Z")
        self._file("edit.yaml", edit_file(edited_at))
        self._file("final.yaml", final_file(edited_at, contract_tenant=self.run.contract_tenant))
        said = self.command(
            "prices", "add", str(self.folder / "prices.yaml"), "--correct", "--reason", "the rates of this run"
        )
        if said.status:
            message = f"the rates could not be added: {said.text}"
            raise RuntimeError(message)

    def _file(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8")

    def command(self, *arguments: str, within_s: float = _COMMAND_WITHIN_S, database: str = DATABASE) -> Said:
        """One `tokenledger …` of an operator."""
        done = subprocess.run(
            [sys.executable, "-m", "tokenledger.cli", *arguments],
            env=self.environment | {"TOKENLEDGER_POSTGRES_DATABASE": database},
            capture_output=True, text=True, check=False, timeout=within_s,
        )  # fmt: skip
        return Said(done.returncode, (done.stdout + done.stderr).strip())

    def start(self) -> None:
        """Traffic, reader, meter."""
        self._watcher = self._python(
            "tests.faults.watch",
            "--dsn",
            self.dsn,
            "--prefix",
            self.run.prefix,
            "--out",
            str(self.folder / "watch.json"),
        )
        self.start_traffic()
        self.meter.start()
        self._keeper.start()

    def _keep_sending(self) -> None:
        while not self._stopped.wait(0.5) and self.sends():
            pass

    def start_traffic(self) -> None:
        """The producer, from where its journal ends."""
        run = self.run
        self.starts += 1
        self._generator = self._python(
            "tests.faults.generate", "--journal", str(self.journal), "--bootstrap", self.bootstrap,
            "--seed", str(run.seed), "--events", str(run.events), "--rate", str(run.rate), "--prefix", run.prefix,
            "--start-us", str(run.start_us),
        )  # fmt: skip

    def _python(self, module: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{module.rpartition('.')[2]}.log").open("ab") as log:
            return subprocess.Popen([sys.executable, "-m", module, *arguments], stdout=log, stderr=log)

    def sends(self) -> bool:
        """Whether there is traffic still to come; a producer that gave up or died is started again."""
        assert self._generator is not None, "nothing was started"
        status = self._generator.poll()
        if status is None:
            return True
        if status == 0:
            return False
        self.start_traffic()
        return True

    def kill_traffic(self) -> int:
        """Kill -9 of the producer in the middle of whatever it does; its pid, 0 where it had ended."""
        assert self._generator is not None, "nothing was started"
        if self._generator.poll() is None:
            self._generator.send_signal(signal.SIGKILL)
            self._generator.wait()
        return self._generator.pid

    def wait_for_traffic(self, within_s: float) -> bool:
        """Whether everything was sent and acknowledged in time."""
        until_s = time.monotonic() + within_s
        while self.sends():
            if time.monotonic() > until_s:
                return False
            time.sleep(0.2)
        return True

    def check(self, *, within_s: float, rebuilt: str = "") -> dict[str, Any]:
        """What the checker, a process of its own, says."""
        out = self.folder / "verdict.json"
        out.unlink(missing_ok=True)
        begin = json.dumps({str(partition): offset for partition, offset in self.begin.items()})
        done = subprocess.run(
            [
                sys.executable, "-m", "tests.faults.check", "--journal", str(self.journal), "--dsn", self.dsn,
                "--bootstrap", self.layout.kafka_bootstrap, "--begin", begin, "--within", str(within_s),
                "--out", str(out), *([] if self.is_alone else ["--shared"]),
                *(["--rebuilt", rebuilt] if rebuilt else []),
            ],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if not out.exists():
            message = f"the checker could not compare:\n{done.stdout}{done.stderr}"
            raise RuntimeError(message)
        verdict: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
        return verdict | {"said": done.stdout}

    def rebuilt(self, name: str) -> str:
        """A ledger made again from the log, charged by today's book like the original; its connection string."""
        admin = self.layout.dsn(SUPERUSER)
        said = self.command("replay", "--into", name, "--admin-dsn", admin, within_s=_REBUILT_WITHIN_S)
        # Status 1: it differs from the original, whose calls were charged anew meanwhile.
        if said.status > 1:
            message = f"the log could not be replayed: {said.text[-600:]}"
            raise RuntimeError(message)
        there = {"TOKENLEDGER_POSTGRES_DATABASE": name}
        with (self.folder / "again.log").open("ab") as log:
            writer = subprocess.Popen(
                [sys.executable, "-m", "ledger.writer"], env=self.environment | there, stdout=log, stderr=log
            )
        try:
            final = str(self.folder / "final.yaml")
            said = self.command(
                *("reprice", "--prices", final, "--reason", "as the original", "--wait", "600"),
                within_s=_REBUILT_WITHIN_S,
                database=name,
            )
        finally:
            self._end(writer)
        if said.status:
            message = f"the rebuilt ledger could not be charged by today's book: {said.text[-600:]}"
            raise RuntimeError(message)
        return self.layout.dsn("analyst", name)

    def watched(self) -> dict[str, Any]:
        """What the reader beside the run saw; it looks no more."""
        self._end(self._watcher)
        out = self.folder / "watch.json"
        told: dict[str, Any] = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {"looks": 0}
        return told

    def stop(self) -> None:
        """Nothing of this run runs any more."""
        self._stopped.set()
        self._end(self._generator)
        self._end(self._watcher)
        self.meter.stop()

    def _end(self, process: subprocess.Popen[bytes] | None) -> None:
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def scalar(self, statement: LiteralString) -> Any:
        """One value of the ledger."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            row = connection.execute(statement).fetchone()
        return row[0] if row else None
