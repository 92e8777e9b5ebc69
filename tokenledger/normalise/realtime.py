"""OpenAI, Azure and xAI realtime: one `response.done` event is one call.

Text, audio and image tokens are counted inside the input and output, cached tokens per modality inside those, and
reasoning inside the text. A session's log holds many calls: it is split where it enters, one record a response.
"""

from typing import Any, Final

from tokenledger.normalise.audio import milliseconds
from tokenledger.normalise.openai_chat import azure_deployment
from tokenledger.normalise.openai_usage import Names, read_tokens
from tokenledger.normalise.reading import BadRecordError, Body, Dialect, Event, Exchange, Reading, part, text
from tokenledger.records.reasons import Anomaly, Reason

_NAMES: Final = Names(
    "input_tokens",
    "output_tokens",
    ("input_token_details", "input_tokens_details"),
    ("output_token_details", "output_tokens_details"),
)


def fits(body: Body, _exchange: Exchange) -> bool:
    """A realtime response, alone or in its event."""
    if body.get("object") == "realtime.response" or body.get("type") == "response.done":
        return True
    response = body.get("response")
    return response.__class__ is dict and response.get("object") == "realtime.response"


def read(body: Body, exchange: Exchange) -> Reading:
    """A realtime response → its Reading. The model is the session's, so often only the request names it."""
    inner = body.get("response")
    response: Body = inner if inner.__class__ is dict else body
    status, why = text(response, "status"), part(response, "status_details", "response")
    reading = Reading(
        usage_reading="openai.realtime",
        api="realtime",
        response_id=text(response, "id"),
        response_model=text(response, "model") or text(body, "model"),
        finish_reason=text(why, "reason") or status,
        deployment_id=azure_deployment(exchange.url) if exchange.url else None,
    )
    if status == "failed":
        reading.status, reading.error_type = "error", text(part(why, "error", ""), "type") or "failed"
    elif status == "in_progress":
        reading.status = "in_progress"
        reading.note(Anomaly.IN_PROGRESS)
    usage = response.get("usage") or body.get("usage")
    if usage and usage.__class__ is dict:
        _read_usage(reading, usage)
    return reading


def fold(events: list[Event]) -> tuple[Body, bool]:
    """The one `response.done`, with the session's model. Raises BadRecordError where there are several."""
    data = [event.data for event in events if event.data.__class__ is dict]
    done = [row for row in data if row.get("type") == "response.done"]
    if len({text(part(row, "response", ""), "id") for row in done}) > 1:
        detail = f"{len(done)} realtime responses in one record; one record for each response.done would be right"
        raise BadRecordError(Reason.INVALID_ENVELOPE, "events", detail)
    model = next((found for row in data if (found := text(part(row, "session", ""), "model"))), None)
    if done:
        return {"model": model} | done[-1], True
    created = next((row for row in data if fits(row, Exchange(provider=""))), {})
    response: dict[str, Any] = dict(part(created, "response", "")) | {"status": None}
    return {"model": model, "response": response}, False


def _read_usage(reading: Reading, usage: dict[str, Any]) -> None:
    if usage.get("billable_audio_seconds") is not None:  # xAI sells time; its token counts are information
        reading.raw_usage = usage
        reading.usage = {"audio_ms": milliseconds(usage["billable_audio_seconds"], "usage.billable_audio_seconds")}
        reading.explicit_leaves = 1
        return
    read_tokens(reading, usage, _NAMES)


REALTIME = Dialect("openai.realtime", fits, read, fold)
