"""The one kind of task: a command of the product, run by the stack's Python as a process of its own.

Airflow's environment holds libraries back that the commands need newer, and a worker must stay small: nothing of the
product is imported here. A command's output is the task's log; its last line is the task's XCom if it is one id.
"""

import os
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from string import Template
from typing import Any

from airflow.sdk import DAG, BaseOperator, Param
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

REPO = Path(__file__).resolve().parents[1]
DEFAULTS: dict[str, Any] = {
    "owner": "platform",
    "retries": 2,
    "retry_delay": timedelta(seconds=20),
    "retry_exponential_backoff": 2.0,
    "max_retry_delay": timedelta(minutes=10),
    "execution_timeout": timedelta(hours=1),
}
"""What every task has unless it says otherwise."""

# A run by hand has no logical date: it is for today.
_RUN_DAY = "(dag_run.logical_date or dag_run.run_after).strftime('%Y-%m-%d')"

_KEPT = ("HOME", "LANG", "LC_ALL", "TZ", "TMPDIR")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/+=-]{0,199}")
_TERMINATES_WITHIN_S = 10.0


class Command(BaseOperator):  # type: ignore[misc]  # the type checker cannot see Airflow, which lives elsewhere
    """`words` is the command after `python -m`; of them and of `options`, what renders to nothing is left out.

    `$TOKENLEDGER_…` in either is the worker's setting. A command that ends with `nothing_status` had nothing to do:
    its task is skipped, and so is what needs its result; one that ends with `final_status` gave a verdict that another
    try would only repeat. A command whose result `unless` is there is not run; one that `needs` a file is skipped
    while it is not there.
    """

    template_fields: Sequence[str] = ("words", "options", "needs")
    ui_color = "#e8f0fe"

    def __init__(
        self,
        *,
        words: Sequence[str],
        options: Mapping[str, str] | None = None,
        nothing_status: int | None = None,
        final_status: int | None = None,
        unless: str = "",
        needs: str = "",
        **airflow: Any,
    ) -> None:
        super().__init__(**airflow)
        self.words = list(words)
        self.options = dict(options or {})
        self.nothing_status = nothing_status
        self.final_status = final_status
        self.unless = unless
        self.needs = needs
        self._hook: Any = None

    def execute(self, context: Any) -> str | None:
        """Run it to its end; the id it printed last, if any."""
        from airflow.providers.standard.hooks.subprocess import SubprocessHook

        del context
        if self.unless and Path(settled(self.unless, os.environ)).exists():
            self.log.info("%s is there already; nothing is run", self.unless)
            return None
        if self.needs and not Path(settled(self.needs, os.environ)).exists():
            raise AirflowSkipException(f"{settled(self.needs, os.environ)} is not there; nothing is run until it is")
        self._hook = SubprocessHook()
        ended = self._hook.run_command(
            command=argv(self.words, self.options, env=os.environ), env=environment(os.environ), cwd=str(REPO)
        )
        if ended.exit_code == self.nothing_status:
            raise AirflowSkipException("there was nothing to do; the command's output says why")
        if ended.exit_code:
            message = f"{' '.join(self.words)} ended with status {ended.exit_code}; its output is above"
            raise (AirflowFailException if ended.exit_code == self.final_status else AirflowException)(message)
        return printed_id(ended.output)

    def on_kill(self) -> None:
        """End the command and what it started, first by asking."""
        child = self._hook.sub_process if self._hook else None
        if child is None or child.poll() is not None:
            return
        os.killpg(child.pid, signal.SIGTERM)
        try:
            child.wait(_TERMINATES_WITHIN_S)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)


def described(dag_id: str, doc: str | None, *, schedule: Any, **airflow: Any) -> DAG:
    """A DAG with what all of ours have; `doc` is its file's docstring."""
    settings: dict[str, Any] = {
        "start_date": datetime(2026, 1, 1, tzinfo=UTC),
        "catchup": False,
        "max_active_runs": 1,
        "is_paused_upon_creation": True,
        "dagrun_timeout": timedelta(hours=3),
        "default_args": DEFAULTS,
    }
    first_line = (doc or "").partition("\n")[0]
    return DAG(dag_id, schedule=schedule, description=first_line, doc_md=doc, **settings | airflow)


def given_or_day(parameter: str, *, days_before: int) -> str:
    """The instant a parameter says, else midnight UTC so many days before the run's day."""
    return f"{{{{ params.{parameter} or macros.ds_add({_RUN_DAY}, -{days_before}) }}}}"


def moment(title: str) -> Param:
    """A parameter that is a day or an instant, or empty."""
    return Param("", type="string", title=title, pattern=r"^(\d{4}-\d{2}-\d{2}(T[0-9:.+Z-]+)?)?$")


def name(default: str, title: str) -> Param:
    """A parameter that is a file's or a version's name, which can neither leave its folder nor become an option."""
    return Param(default, type="string", title=title, pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,99}$")


def tokenledger(*words: str, **airflow: Any) -> Command:
    """A task that runs `tokenledger WORDS…`."""
    return Command(words=("tokenledger.cli", *words), **airflow)


def argv(words: Sequence[str], options: Mapping[str, str], *, env: Mapping[str, str]) -> list[str]:
    """The process's arguments. A value stands behind its option's `=`, so that none can become an option."""
    python = env.get("TOKENLEDGER_STACK_PYTHON", str(REPO / ".local" / "venv" / "bin" / "python"))
    given = [f"{name}={value}" for name, value in options.items() if value]
    # Killed with the worker: a retry must not find it still writing.
    return [
        "setpriv",
        "--pdeathsig",
        "TERM",
        "--",
        python,
        "-m",
        *(settled(word, env) for word in (*words, *given) if word),
    ]


def settled(word: str, env: Mapping[str, str]) -> str:
    """The word with `$TOKENLEDGER_…` replaced by the worker's settings; nothing else of its environment gets in."""
    return Template(word).safe_substitute(
        {name: value for name, value in env.items() if name.startswith("TOKENLEDGER_")}
    )


def environment(env: Mapping[str, str]) -> dict[str, str]:
    """Where the stack is, and nothing of Airflow: its secrets are not the command's business."""
    kept = {name: value for name, value in env.items() if name in _KEPT or name.startswith("TOKENLEDGER_")}
    return kept | {"PATH": "/usr/local/bin:/usr/bin:/bin", "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"}


def printed_id(line: str) -> str | None:
    """The line if it is one id; anything longer is for people and stays in the log."""
    return line if _ID.fullmatch(line) else None
