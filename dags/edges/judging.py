"""A judge behind any OpenAI-compatible endpoint. An edge: it makes HTTP calls.

One that cannot be had is not a low grade: the answer stays without one, and the next run asks again.
"""

import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, Final

import msgspec

from dags.core.attempts import Attempt
from dags.core.rubric import Rubric, asking, verdict

_AT_ONCE: Final = 4
_BATCH: Final = 64


class Judge(msgspec.Struct, frozen=True, kw_only=True):
    """Where and whom to ask."""

    url: str
    """Base address, such as `http://127.0.0.1:4000/v1`."""
    model: str
    """Model to ask."""
    rubric: Rubric
    """What to ask it."""
    key: str | None = None
    """Bearer credential."""
    timeout_s: float = 60.0
    """How long a reply may take."""


class Grade(msgspec.Struct, frozen=True, kw_only=True):
    """What came of asking about one answer."""

    attempt: Attempt
    """The answer."""
    grade: float | None
    """Its grade; None where none came."""
    why: str = ""
    """Why none came."""


def grades(judge: Judge, attempts: Iterable[Attempt], *, give_up_after: int) -> Iterator[Grade]:
    """A grade for each, some at a time, in their order. After so many without one in a row nobody is asked any more."""
    if not judge.url.startswith(("http://", "https://")):
        raise ValueError(f"--judge is {judge.url!r}; write http://HOST:PORT/v1 or https://…")
    left, source = give_up_after, iter(attempts)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        while left > 0 and (batch := list(islice(source, min(_BATCH, left)))):
            for found in pool.map(lambda attempt: _grade(judge, attempt), batch):
                left = give_up_after if found.grade is not None else left - 1
                yield found


def _grade(judge: Judge, attempt: Attempt) -> Grade:
    try:
        reply = _ask(judge, attempt)
    except (OSError, msgspec.MsgspecError, urllib.error.URLError) as error:
        return Grade(attempt=attempt, grade=None, why=str(error))
    grade = verdict(reply, judge.rubric)
    return Grade(attempt=attempt, grade=grade, why="" if grade is not None else f"no verdict in {reply[:80]!r}")


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message


class _Reply(msgspec.Struct):
    choices: list[_Choice]


def _ask(judge: Judge, attempt: Attempt) -> str:
    body: dict[str, Any] = {
        "model": judge.model,
        "messages": asking(attempt, judge.rubric),
        "temperature": 0,
        "max_tokens": 64,
        "response_format": {"type": "json_object"},
    }
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {judge.key}"} if judge.key else {})
    request = urllib.request.Request(  # noqa: S310  (the scheme was looked at)
        f"{judge.url.rstrip('/')}/chat/completions", data=msgspec.json.encode(body), headers=headers, method="POST"
    )
    with urllib.request.urlopen(request, timeout=judge.timeout_s) as response:  # noqa: S310
        choices = msgspec.json.decode(response.read(), type=_Reply).choices
    return (choices[0].message.content or "") if choices else ""
