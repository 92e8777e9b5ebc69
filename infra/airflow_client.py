"""Airflow's REST interface as a person of one of the three roles uses it."""

import json
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from infra.local.layout import Layout

_ANSWER_WITHIN_S = 120.0
_LOOK_EVERY_S = 0.5
ENDED = frozenset({"success", "failed"})
"""States in which a run stays."""


class Refused(Exception):  # noqa: N818 - it reads as what it says
    """Airflow answered, and not with what was asked for."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(f"HTTP {status}: {said}")
        self.status = status


class Airflow:
    """One person, signed in."""

    def __init__(self, url: str, *, token: str = "") -> None:
        self._url = url
        self._token = token

    @classmethod
    def as_user(cls, layout: Layout, user: str) -> Self:
        """Signed in with the password that the stack keeps. Raises Refused."""
        passwords: dict[str, str] = json.loads(Path(layout.airflow_passwords).read_text(encoding="utf-8"))
        return cls.signed_in(layout.airflow_url, user, password=passwords[user])

    @classmethod
    def signed_in(cls, url: str, user: str, *, password: str) -> Self:
        """Signed in. Raises Refused."""
        answer = cls(url).ask("POST", "/auth/token", body={"username": user, "password": password})
        return cls(url, token=answer["access_token"])

    def ask(self, method: str, path: str, *, body: object = None) -> Any:
        """The answer as JSON. Raises Refused, and OSError when nobody answers."""
        headers = {"content-type": "application/json", "accept": "application/json"}
        if self._token:
            headers["authorization"] = f"Bearer {self._token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, headers, method=method)  # noqa: S310 - always http
        try:
            with urllib.request.urlopen(request, timeout=_ANSWER_WITHIN_S) as reply:  # noqa: S310 - always http
                return json.loads(reply.read() or b"null")
        except urllib.error.HTTPError as refused:
            raise Refused(refused.code, refused.read().decode("utf-8", "replace")[:2000]) from None

    def unpause(self, dag_id: str, *, paused: bool = False) -> None:
        """Let its runs start, or not."""
        self.ask("PATCH", f"/api/v2/dags/{dag_id}", body={"is_paused": paused})

    def trigger(self, dag_id: str, **conf: object) -> str:
        """Start a run; its id."""
        run = self.ask("POST", f"/api/v2/dags/{dag_id}/dagRuns", body={"logical_date": None, "conf": conf})
        return str(run["dag_run_id"])

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """A run as it is now."""
        found: dict[str, Any] = self.ask("GET", _run(dag_id, run_id))
        return found

    def wait(self, dag_id: str, run_id: str, *, within_s: float = 300.0) -> dict[str, Any]:
        """The run when it has ended. Raises TimeoutError."""
        deadline = time.monotonic() + within_s
        while (run := self.run(dag_id, run_id))["state"] not in ENDED:
            if time.monotonic() > deadline:
                tasks = {one["task_id"]: one["state"] for one in self.tasks(dag_id, run_id)}
                raise TimeoutError(
                    f"{dag_id}: run {run_id} is {run['state']} after {within_s:.0f} s; its tasks: {tasks}"
                )
            time.sleep(_LOOK_EVERY_S)
        return run

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """The tasks of a run."""
        found: list[dict[str, Any]] = self.ask("GET", f"{_run(dag_id, run_id)}/taskInstances")["task_instances"]
        return found

    def result(self, dag_id: str, run_id: str, *, task_id: str) -> str:
        """The id that a task gave."""
        where = f"{_run(dag_id, run_id)}/taskInstances/{task_id}/xcomEntries/return_value"
        return str(self.ask("GET", where)["value"])

    def log(self, dag_id: str, run_id: str, *, task_id: str, attempt: int) -> list[str]:
        """What an attempt of a task printed."""
        answer = self.ask("GET", f"{_run(dag_id, run_id)}/taskInstances/{task_id}/logs/{attempt}?full_content=true")
        return [str(line["event"]) for line in answer["content"]]


def _run(dag_id: str, run_id: str) -> str:
    return f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}"
