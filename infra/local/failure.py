"""Why a Flink job does not run: what its JobManager says went wrong last, without the forty lines around it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from infra.local.readiness import flink

if TYPE_CHECKING:
    from infra.local.layout import Layout

_LINES_MOST = 12
_CHARACTERS_MOST = 300


class Failure(NamedTuple):
    """The newest failure of a job."""

    at_ms: int
    """When, ms UTC."""
    state: str
    """The job's state now."""
    task: str
    """The task that failed; empty if it was the job as a whole."""
    root: tuple[str, ...]
    """The innermost cause: its message, then the lines of Python it passed."""

    def __str__(self) -> str:
        return "\n".join(f"  {line}" for line in self.root)


def last(layout: Layout, job: str) -> Failure | None:
    """Of the newest job of that name; None where it never failed or no JobManager answers."""
    jobs = [one for one in flink(layout, "/jobs/overview").get("jobs", []) if one["name"] == job]
    if not jobs:
        return None
    newest = max(jobs, key=lambda one: int(one["start-time"]))
    return newest_of(str(newest["state"]), flink(layout, f"/jobs/{newest['jid']}/exceptions?maxExceptions=1"))


def newest_of(state: str, answer: dict[str, Any]) -> Failure | None:
    """The newest entry of what `/jobs/ID/exceptions` answers."""
    entries = answer.get("exceptionHistory", {}).get("entries", [])
    if not entries:
        return None
    entry = max(entries, key=lambda one: int(one["timestamp"]))
    return Failure(int(entry["timestamp"]), state, entry.get("taskName") or "", root(entry["stacktrace"]))


def root(stacktrace: str) -> tuple[str, ...]:
    """The last `Caused by`, or the whole if there is none; of Java's frames nothing, of Python's all."""
    lines = stacktrace.splitlines()
    causes = [number for number, line in enumerate(lines) if line.startswith("Caused by: ")]
    innermost = lines[causes[-1] :] if causes else lines
    told = [line.strip().removeprefix("Caused by: ") for line in innermost if _tells(line)]
    return tuple(line[:_CHARACTERS_MOST] for line in told[:_LINES_MOST])


def _tells(line: str) -> bool:
    stripped = line.strip()
    java = stripped.startswith(("at ", "... ")) and ".py" not in stripped
    return bool(stripped) and not java
