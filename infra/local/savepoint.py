"""A job's state on disk: taken on demand, and the newest that a new submission can go on from."""

from __future__ import annotations

import json
import shutil
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.local.readiness import flink

if TYPE_CHECKING:
    from infra.local.layout import Layout

_TAKEN_WITHIN_S = 60.0
_ANSWER_WITHIN_S = 10.0


class NotTaken(Exception):  # noqa: N818 - it reads as what it says
    """The job could not be stopped with a savepoint; the message says why."""


def newest(folder: Path) -> Path | None:
    """The newest complete checkpoint or savepoint below a job's folder; `_metadata` is written last."""
    complete = [*folder.glob("*/chk-*/_metadata"), *folder.glob("savepoint-*/_metadata")]
    found = max(complete, key=lambda path: path.stat().st_mtime_ns, default=None)
    return None if found is None else found.parent


def tidy(folder: Path, kept: Path | None) -> None:
    """Remove what submissions that are over have left, except savepoints and what is kept. No job may be running."""
    for left in folder.glob("*"):
        if left.is_dir() and not left.name.startswith("savepoint-") and (kept is None or left not in kept.parents):
            shutil.rmtree(left)


def stop(layout: Layout, job: str) -> Path:
    """Stop the job with a savepoint, which is then the newest of its states."""
    running = [one["jid"] for one in flink(layout, "/jobs/overview").get("jobs", []) if _runs(one, job)]
    if not running:
        message = f"{job}: not running, so there is nothing to save"
        raise NotTaken(message)
    wanted = {"targetDirectory": f"file://{layout.checkpoints(job)}", "drain": False}
    trigger = _post(layout, f"/jobs/{running[0]}/stop", wanted)["request-id"]
    deadline = time.monotonic() + _TAKEN_WITHIN_S
    while time.monotonic() < deadline:
        answer = flink(layout, f"/jobs/{running[0]}/savepoints/{trigger}")
        if answer.get("status", {}).get("id") == "COMPLETED":
            return _location(job, answer["operation"])
        time.sleep(0.1)
    message = f"{job}: no savepoint after {_TAKEN_WITHIN_S:.0f} s; the job goes on"
    raise NotTaken(message)


def _runs(one: dict[str, Any], job: str) -> bool:
    return bool(one["name"] == job and one["state"] == "RUNNING")


def _location(job: str, operation: dict[str, Any]) -> Path:
    if "location" not in operation:
        message = f"{job}: the savepoint failed: {operation.get('failure-cause', {}).get('class', operation)}"
        raise NotTaken(message)
    return Path(str(operation["location"]).removeprefix("file:"))


def _post(layout: Layout, path: str, body: dict[str, object]) -> dict[str, Any]:
    request = urllib.request.Request(  # noqa: S310 - always http
        layout.flink_rest + path,
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=_ANSWER_WITHIN_S) as reply:  # noqa: S310 - always http
        answer: dict[str, Any] = json.load(reply)
    return answer
