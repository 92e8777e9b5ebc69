"""Wiring of the local stack: up, down, status, restart. Up resumes what is there; nothing starts over."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from infra.local import airflow_preparation, failure, preparation, readiness, savepoint, topics
from infra.local.airflow import NAMES as AIRFLOW
from infra.local.airflow import airflow_programs
from infra.local.connect import ROLE as CAPTURE
from infra.local.layout import DATABASE, SUPERUSER, Layout
from infra.local.machine import inspect
from infra.local.programs import JOBS, TASKMANAGERS, Program, programs
from infra.local.supervision import Supervision

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_POLL_EVERY_S = 0.1
_LOG_LINES_SHOWN = 25


class NotReady(Exception):  # noqa: N818 - it reads as what it says
    """A program did not become ready; the message ends with its last log lines and where they are."""


@dataclass(frozen=True, slots=True)
class Stack:
    """One stack, and where its progress is told."""

    layout: Layout
    say: Callable[[str], None]

    @property
    def supervision(self) -> Supervision:
        """This stack's supervisor."""
        return Supervision(self.layout)

    def up(self, only: tuple[str, ...] = ()) -> None:
        """Everything runs and is ready, or `NotReady`; `only` limits it to the named programs."""
        started_at = time.monotonic()
        everything = self._prepare(only)
        supervision = self.supervision
        wanted = supervision.start() | set(only or (program.name for program in everything if not program.on_request))
        chosen = [program for program in everything if program.name in wanted]
        for program in chosen:
            if program.independent:
                supervision.start_program(program.name)
        for program in chosen:
            if program.name in JOBS:
                # A submission is mostly the start of a client's JVM: all of them at once.
                for job in wanted.intersection(JOBS):
                    supervision.start_program(job)
            if program.awaited or only:
                self._start(supervision, program)
            else:
                supervision.start_program(program.name)
                self.say(f"{program.name:<13} starting")
        self._tell_clients()
        self.say(f"up            in {time.monotonic() - started_at:.1f} s")

    def airflow(self) -> None:
        """Airflow's processes run beside the rest and are ready, or `NotReady`."""
        started_at = time.monotonic()
        if passwords := airflow_preparation.secrets(self.layout):
            self._tell_passwords(passwords)
        if airflow_preparation.database(self.layout):
            self.say(f"airflow       database at its version in {time.monotonic() - started_at:.1f} s")
        self.up(AIRFLOW)
        self.say(f"airflow       {self.layout.airflow_url}")

    def down(self) -> None:
        """Nothing of this stack runs; each program had its time to end well."""
        supervision = self.supervision
        if not supervision.alive():
            self.say("down          nothing runs")
            return
        by_start = sorted(supervision.processes(), key=lambda process: -_START_ORDER.get(process.name, 0))
        for process in by_start:
            started_at = time.monotonic()
            supervision.stop_program(process.name)
            self.say(f"{process.name:<13} stopped in {time.monotonic() - started_at:.1f} s")
        supervision.end()
        self.say("supervisor    stopped")

    def stop(self, names: tuple[str, ...]) -> None:
        """Stop these programs, in that order; the others run on."""
        self._refuse_unknown(names)
        for name in names:
            started_at = time.monotonic()
            self.supervision.stop_program(name)
            self.say(f"{name:<13} stopped in {time.monotonic() - started_at:.1f} s")

    def _refuse_unknown(self, names: tuple[str, ...]) -> None:
        known = [program.name for program in self.programs()]
        if unknown := sorted(set(names) - set(known)):
            message = f"stack: no program {unknown[0]!r}; there are {', '.join(known)}"
            raise ValueError(message)

    def restart(self, name: str) -> None:
        """Stop one program and start it again; returns when it is ready."""
        self._refuse_unknown((name,))
        supervision = self.supervision
        supervision.stop_program(name)
        [program] = [program for program in self.programs() if program.name == name]
        self._start(supervision, program)

    def upgrade(self, job: str) -> None:
        """New code, the same state: stop the job with a savepoint, renew its workers, go on from there."""
        if job != "windows_job":
            message = f"stack: {job!r} has no state to keep; restart {' and '.join(TASKMANAGERS)} instead"
            raise ValueError(message)
        self.supervision.stop_program(job)
        try:
            self.say(f"{job:<13} savepoint {savepoint.stop(self.layout, job)}")
            # The embedded interpreter reads changed code only when it starts.
            for name in TASKMANAGERS:
                self.restart(name)
        finally:
            self.supervision.start_program(job)
        [program] = [program for program in self.programs() if program.name == job]
        self._start(self.supervision, program)

    def programs(self) -> tuple[Program, ...]:
        """The programs of this stack, in start order."""
        return (*programs(self.layout, inspect(self.layout)), *airflow_programs(self.layout))

    def ready(self, name: str) -> bool:
        """It runs and does its work."""
        process = self.supervision.process(name)
        return process.state == "RUNNING" and readiness.ready(self.layout, process)

    def wait_ready(self, program: Program, *, since: float | None = None) -> float:
        """Seconds until it is ready; `NotReady` when that takes longer than it may."""
        started_at = time.monotonic() if since is None else since
        while not self.ready(program.name):
            if time.monotonic() - started_at > program.ready_within_s:
                raise NotReady(self._why(program))
            time.sleep(_POLL_EVERY_S)
        return time.monotonic() - started_at

    def _prepare(self, only: tuple[str, ...]) -> tuple[Program, ...]:
        preparation.folders(self.layout)
        machine = inspect(self.layout)
        everything = self.programs()
        self._refuse_unknown(only)
        preparation.files(self.layout, machine, everything)
        preparation.secrets(self.layout)
        if preparation.gateway_config(self.layout):
            self.say(f"gateway       configuration made: {self.layout.gateway_config}")
        preparation.router_policy(self.layout)
        if preparation.consent(self.layout):
            self.say("archive       nobody's texts are kept until they allow it: tokenledger tenants set --help")
        preparation.flink_libraries(self.layout, machine)
        if preparation.kafka_storage(self.layout, machine):
            self.say("kafka         storage formatted")
        if preparation.postgres_cluster(self.layout, machine):
            self.say("postgres      cluster initialised")
        return everything

    def _start(self, supervision: Supervision, program: Program) -> None:
        running = self.ready(program.name)
        started_at = time.monotonic()
        supervision.start_program(program.name)
        self.wait_ready(program, since=started_at)
        took = "ready" if running else f"ready in {time.monotonic() - started_at:.1f} s"
        self.say(f"{program.name:<13} {took}")
        if program.name == "kafka":
            self._topics()
        if program.name == "postgres":
            # Before anything that logs in: the price job follows the ledger's prices, and it starts before the writer.
            self._database()
            self._migrate()
            self._password(CAPTURE)

    def _tell_clients(self) -> None:
        """Where `tokenledger send`, `costs` and `verify` find this stack."""
        settings = self.layout.client_environment()
        text = "".join(f"{name}={value}\n" for name, value in settings.items())
        (self.layout.root / "client.env").write_text(text, encoding="utf-8")

    def _tell_passwords(self, passwords: dict[str, str]) -> None:
        for user, password in passwords.items():
            self.say(f"airflow       user {user:<9} password {password}")
        self.say(f"airflow       shown this once; kept in {self.layout.airflow_passwords}")

    def _topics(self) -> None:
        made, differences = topics.ensure(self.layout.kafka_bootstrap)
        if made:
            self.say(f"topics        created {', '.join(made)}")
        for difference in differences:
            self.say(f"topics        DIFFERS {difference}")

    def _database(self) -> None:
        with psycopg.connect(self.layout.dsn(SUPERUSER, "postgres"), autocommit=True) as connection:
            found = connection.execute("select 1 from pg_database where datname = %s", [DATABASE]).fetchone()
            if found is None:
                connection.execute(sql.SQL("create database {}").format(sql.Identifier(DATABASE)))
                self.say(f"postgres      database {DATABASE} created")

    def _password(self, role: str) -> None:
        """Of a role that comes over TCP; set again each time, for the file is what counts."""
        password = (self.layout.secrets / f"postgres-{role}").read_text(encoding="utf-8")
        with psycopg.connect(self.layout.dsn(SUPERUSER), autocommit=True) as connection:
            statement = sql.SQL("alter role {} password {}").format(sql.Identifier(role), sql.Literal(password))
            connection.execute(statement)

    def _migrate(self) -> None:
        started_at = time.monotonic()
        done = subprocess.run(
            [str(self.layout.python), "-m", "ledger.migrate"],
            cwd=self.layout.repo,
            env=os.environ | self.layout.admin_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            message = f"ledger.migrate ended with status {done.returncode}:\n{done.stdout}{done.stderr}"
            raise NotReady(message)
        self.say(f"migrations    applied in {time.monotonic() - started_at:.1f} s")

    def _why(self, program: Program) -> str:
        process = self.supervision.process(program.name)
        log = self.layout.logs / f"{program.name}.log"
        return (
            f"{program.name}: not ready after {program.ready_within_s:.0f} s"
            f" (state {process.state}, pid {process.pid}). {self.failure(program.name)}"
            f"The last lines of {log}:\n{last_lines(log)}"
        )

    def failure(self, name: str) -> str:
        """Why the job failed last, as lines to print; empty for what is no job, and for one that never failed."""
        found = failure.last(self.layout, name) if name in JOBS else None
        if found is None:
            return ""
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(found.at_ms / 1000))
        where = f" in {found.task}" if found.task else ""
        return f"The job is {found.state}; it failed last at {at}{where}:\n{found}\n"


_START_ORDER = {
    name: order
    for order, name in enumerate(
        (
            "postgres",
            "kafka",
            "redis",
            "jobmanager",
            *TASKMANAGERS,
            *JOBS,
            "writer",
            "compact",
            "watch",
            "archive",
            "pusher",
            "shipper",
            "gateway",
            "connect",
            "decide",
            *AIRFLOW,
        ),
        start=1,
    )
}


def last_lines(log: Path, count: int = _LOG_LINES_SHOWN) -> str:
    """The end of a log, indented; says so when there is none."""
    if not log.exists():
        return "  (no log yet)"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-count:]
    return "\n".join(f"  {line}" for line in lines)
