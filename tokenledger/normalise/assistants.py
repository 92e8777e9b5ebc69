"""Assistants API: a run is the call. Its steps' usage is inside the run's, and threads, messages and files cost nothing
by themselves.
"""

from typing import Any, Final

from tokenledger.normalise import openai_chat
from tokenledger.normalise.openai_usage import CHAT as NAMES
from tokenledger.normalise.openai_usage import read_tokens
from tokenledger.normalise.reading import (
    BadRecordError,
    Body,
    Dialect,
    Event,
    Exchange,
    Reading,
    part,
    seconds_to_us,
    text,
)
from tokenledger.records.reasons import Anomaly, Reason

_PENDING: Final = frozenset({"queued", "in_progress", "requires_action", "cancelling"})
_RUN: Final = "thread.run"


def fits(body: Body, _exchange: Exchange) -> bool:
    """A run, or an object of a run's stream."""
    kind = body.get("object")
    return kind.__class__ is str and (kind == _RUN or kind.startswith("thread.run.") or kind == "thread.message.delta")


def read(body: Body, exchange: Exchange) -> Reading:
    """A run → its Reading. Raises BadRecordError for a part of a run kept alone."""
    if body.get("object") != _RUN:
        detail = f"a {body.get('object')!r:.40} is part of a run, whose usage holds its own; the run would be right"
        raise BadRecordError(Reason.NOT_A_CALL, "response.object", detail)
    reading = Reading(
        usage_reading="openai.assistants",
        api="assistants",
        response_id=text(body, "id"),
        response_model=text(body, "model"),
        created_at_us=seconds_to_us(body.get("created_at")),
        deployment_id=openai_chat.azure_deployment(exchange.url) if exchange.url else None,
    )
    _read_status(reading, body)
    usage = body.get("usage")
    if usage and usage.__class__ is dict:
        read_tokens(reading, usage, NAMES)
    return reading


def fold(events: list[Event]) -> tuple[Body, bool]:
    """The last run object; complete where the run came to an end or waits for the caller's tools."""
    body: dict[str, Any] = {"object": _RUN, "status": None}
    for event in events:
        if event.data.__class__ is dict and event.data.get("object") == _RUN:
            body = event.data
    complete = text(body, "status") not in {None, "queued", "in_progress", "cancelling"}
    return (body if complete else body | {"status": None}), complete


def _read_status(reading: Reading, body: Body) -> None:
    status = text(body, "status")
    reading.finish_reason = text(part(body, "incomplete_details", ""), "reason") or status
    if status in _PENDING:
        reading.status = "in_progress"
        reading.note(Anomaly.IN_PROGRESS)
    elif status == "failed":
        reading.status = "error"
        reading.error_type = text(part(body, "last_error", ""), "code") or "failed"
    elif status in {"cancelled", "expired"}:
        reading.status = "aborted"
        reading.note(Anomaly.ABORTED)


RUNS = Dialect("openai.assistants", fits, read, fold)
