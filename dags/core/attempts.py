"""The attempts of one operation, and which of them was served, which was refused."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from tokenledger.records.texts import CapturedText

_BESIDE: Final = frozenset({"verify", "hedge", "shadow"})
"""Roles of answers that were asked for beside the one that was to be served."""
_ESCALATION: Final = "escalation"


class Score(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What `score_responses` found out about one answer."""

    failed: tuple[str, ...] = ()
    """Checks that it failed."""
    checked: tuple[str, ...] = ()
    """Checks that were made."""
    judge: float | None = None
    """Score by the judge; None without one."""


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt: its texts decoded, its score."""

    text: CapturedText
    """As captured."""
    messages: list[dict[str, Any]]
    """The prompt."""
    answer: dict[str, Any] | None
    """The assistant's message."""
    tools: list[dict[str, Any]] | None
    """Tools offered."""
    score: Score | None = None
    """Its score; None where it was not scored."""


class Unreadable(msgspec.Struct, frozen=True, kw_only=True):
    """A captured text whose JSON is not what it promises to be."""

    why: str
    """What is wrong."""


def read(text: CapturedText, score: Score | None = None) -> Attempt | Unreadable:
    """Total: any captured text gives an attempt, or says why it is none."""
    try:
        messages = msgspec.json.decode(text.messages, type=list[dict[str, Any]])
        answer = None if text.answer is None else msgspec.json.decode(text.answer, type=dict[str, Any])
        tools = None if text.tools is None else msgspec.json.decode(text.tools, type=list[dict[str, Any]])
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        return Unreadable(why=str(error))
    if not messages or not all(isinstance(message.get("role"), str) for message in messages):
        return Unreadable(why="messages are empty or one has no role")
    return Attempt(text=text, messages=messages, answer=answer or None, tools=tools or None, score=score)


def _order(attempt: Attempt) -> tuple[int, int, str]:
    return (attempt.text.attempt_no or 0, attempt.text.started_at_us, attempt.text.event_key)


def last(attempts: Sequence[Attempt]) -> Attempt:
    """The last attempt, answered or not, in whatever order they are given."""
    return max(attempts, key=_order)


def served(attempts: Sequence[Attempt]) -> Attempt | None:
    """The attempt whose answer the caller got: an escalation before any other, the last before those it repeats."""
    answered = sorted((one for one in attempts if one.answer is not None), key=_order)
    own = [one for one in answered if one.text.attempt_role not in _BESIDE]
    escalated = [one for one in own if one.text.attempt_role == _ESCALATION]
    chosen = escalated or own or answered
    return chosen[-1] if chosen else None


def refused(attempts: Sequence[Attempt]) -> Attempt | None:
    """The cheap answer an escalation replaced: the last one before it, of another tier or model. None without."""
    strong = served(attempts)
    if strong is None or strong.text.attempt_role != _ESCALATION:
        return None
    before = [
        one
        for one in sorted(attempts, key=_order)
        if one.answer is not None
        and one.text.attempt_role not in {*_BESIDE, _ESCALATION}
        and (one.text.route_tier, one.text.model) != (strong.text.route_tier, strong.text.model)
    ]
    return before[-1] if before else None
