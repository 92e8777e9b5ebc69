"""Where lineage events go: a file of JSON Lines, or an OpenLineage endpoint. An edge: files, HTTP, the clock.

A dataset is not lost because its lineage could not be told: what cannot be sent is said, and the build goes on.
"""

import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from dags.core import lineage
from dags.core.lineage import Run
from dags.core.manifest import Manifest

_TIMEOUT_S: Final = 10.0
_ENDPOINT: Final = "/api/v1/lineage"


class Outcome(msgspec.Struct):
    """What a run came to, told by whoever ran it."""

    manifest: Manifest | None = None
    """The version."""


@contextmanager
def told(job: str, dataset: str, *, lake: Path, datasets: Path, to: str | None) -> Iterator[Outcome]:
    """START before, COMPLETE or FAIL after. `to` is a file or an http(s) address; None tells nobody."""
    run, outcome = Run(job=job, dataset=dataset, at_us=_now_us()), Outcome()
    _emit(to, lineage.started(run))
    ended = False
    try:
        yield outcome
        ended = True
    finally:
        if not ended:
            _emit(to, lineage.failed(run, _now_us(), why=_why(sys.exc_info()[1])))
    places = {"lake": str(lake.absolute()), "datasets": str(datasets.absolute())}
    _emit(to, lineage.completed(run, _now_us(), **places, manifest=outcome.manifest))


def _why(error: BaseException | None) -> str:
    return "stopped" if error is None else f"{type(error).__name__}: {error}"


def _now_us() -> int:
    return time.time_ns() // 1_000


def _emit(to: str | None, event: dict[str, Any]) -> None:
    if not to:
        return
    try:
        if to.startswith(("http://", "https://")):
            _post(to, event)
        else:
            _append(Path(to), event)
    except (OSError, urllib.error.URLError) as error:
        print(f"lineage: {event['eventType']} was not told to {to}: {error}", file=sys.stderr)  # noqa: T201


def _post(address: str, event: dict[str, Any]) -> None:
    url = address if _ENDPOINT in address else address.rstrip("/") + _ENDPOINT
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(  # noqa: S310  (the scheme was looked at)
        url, data=msgspec.json.encode(event), headers=headers, method="POST"
    )
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:  # noqa: S310
        response.read()


def _append(path: Path, event: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(msgspec.json.encode(event) + b"\n")
