"""The one kind of task: a command of the product, run by the stack's Python as a process of its own.

Airflow's environment holds libraries back that the commands need newer, and a worker must stay small: nothing of the
product is imported here. A command's output is the task's log; its last line is the task's XCom if it is one id.
"""

import os
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.exceptions import AirflowException
from airflow.sdk import BaseOperator

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

_KEPT = ("HOME", "LANG", "LC_ALL", "TZ", "TMPDIR")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/+=-]{0,199}")
_TERMINATES_WITHIN_S = 10.0


class Command(BaseOperator):  # type: ignore[misc]  # the type checker cannot see Airflow, which lives elsewhere
    """`words` is the command after `python -m`; of `options` those that render to nothing are left out."""

    template_fields: Sequence[str] = ("words", "options")
    ui_color = "#e8f0fe"

    def __init__(self, *, words: Sequence[str], options: Mapping[str, str] | None = None, **airflow: Any) -> None:
        super().__init__(**airflow)
        self.words = list(words)
        self.options = dict(options or {})
        self._hook: Any = None

    def execute(self, context: Any) -> str | None:
        """Run it to its end; the id it printed last, if any."""
        from airflow.providers.standard.hooks.subprocess import SubprocessHook

        del context
        self._hook = SubprocessHook()
        ended = self._hook.run_command(
            command=argv(self.words, self.options, os.environ), env=environment(os.environ), cwd=str(REPO)
        )
        if ended.exit_code != 0:
            message = f"{' '.join(self.words)} ended with status {ended.exit_code}; its output is above"
            raise AirflowException(message)
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


def tokenledger(*words: str, **airflow: Any) -> Command:
    """A task that runs `tokenledger WORDS…`."""
    return Command(words=("tokenledger.cli", *words), **airflow)


def argv(words: Sequence[str], options: Mapping[str, str], env: Mapping[str, str]) -> list[str]:
    """The process's arguments. A value stands behind its option's `=`, so that none can become an option."""
    python = env.get("TOKENLEDGER_STACK_PYTHON", str(REPO / ".local" / "venv" / "bin" / "python"))
    given = [f"{name}={value}" for name, value in options.items() if value]
    # Killed with the worker: a retry must not find it still writing.
    return ["setpriv", "--pdeathsig", "TERM", "--", python, "-m", *words, *given]


def environment(env: Mapping[str, str]) -> dict[str, str]:
    """Where the stack is, and nothing of Airflow: its secrets are not the command's business."""
    kept = {name: value for name, value in env.items() if name in _KEPT or name.startswith("TOKENLEDGER_")}
    return kept | {"PATH": "/usr/local/bin:/usr/bin:/bin", "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"}


def printed_id(line: str) -> str | None:
    """The line if it is one id; anything longer is for people and stays in the log."""
    return line if _ID.fullmatch(line) else None
