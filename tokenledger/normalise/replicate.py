"""Replicate: a prediction is polled until it ends, under one id.

Models on public hardware bill the seconds they ran (`metrics.predict_time`), language models may state tokens as well
(`input_token_count`, `output_token_count`); what is left out was not stated.
"""

from typing import Any, Final

from tokenledger.normalise.assemble import parse_time
from tokenledger.normalise.audio import milliseconds
from tokenledger.normalise.engine_timings import to_us
from tokenledger.normalise.leaves import carve_input, carve_output
from tokenledger.normalise.reading import BadRecordError, Body, Dialect, Event, Exchange, Reading, count, part, text
from tokenledger.records.call import Timings
from tokenledger.records.reasons import Anomaly, Reason

_PENDING: Final = frozenset({"starting", "processing"})
_DESCRIPTIONS: Final = ("latest_version", "openapi_schema", "results", "current_release", "hardware")
_COUNTED: Final = ("predict_time", "input_token_count", "output_token_count")


def fits(body: Body, _exchange: Exchange) -> bool:
    """A prediction names its version and where to poll it."""
    return "version" in body and "urls" in body and "status" in body


def read(body: Body, _exchange: Exchange) -> Reading:
    """A prediction → its Reading; it has usage only when it came to its end."""
    reading = Reading(
        usage_reading="replicate",
        provider="replicate",
        api="predictions",
        response_id=text(body, "id"),
        response_model=text(body, "model"),
        created_at_us=parse_time(text(body, "created_at")),
    )
    _read_status(reading, body)
    _read_metrics(reading, part(body, "metrics", "response"))
    return reading


def _read_status(reading: Reading, body: Body) -> None:
    status = reading.finish_reason = text(body, "status")
    if status in _PENDING:
        reading.status = "in_progress"
        reading.note(Anomaly.IN_PROGRESS)
    elif status == "failed":
        reading.status, reading.error_type = "error", "failed"
    elif status in {"canceled", "aborted"}:
        reading.status = "aborted"
        reading.note(Anomaly.ABORTED)


def _read_metrics(reading: Reading, metrics: Body) -> None:
    stated = {name: metrics[name] for name in _COUNTED if metrics.get(name) is not None}
    if not stated:
        return
    reading.raw_usage = stated
    prompt, answer = (count(metrics, name, "metrics") for name in _COUNTED[1:])
    if prompt is not None:
        carve_input(reading, prompt)
    if answer is not None:
        carve_output(reading, answer)
    if "predict_time" in stated:
        reading.usage = {**reading.usage, "gpu_ms": milliseconds(stated["predict_time"], "metrics.predict_time")}
        reading.explicit_leaves += 1
        reading.timings = Timings(total_us=to_us(metrics.get("total_time"), 1_000_000))


def fold(events: list[Event]) -> tuple[Body, bool]:
    """Each poll repeats the whole prediction, so the last one counts."""
    body: dict[str, Any] = events[-1].data if events and events[-1].data.__class__ is dict else {}
    return body, text(body, "status") not in _PENDING


PREDICTION: Final = Dialect("replicate", fits, read, fold)


def _is_no_call(body: Body, exchange: Exchange) -> bool:
    """What describes a model, and the stream of an answer: it names no prediction, whose own record is the call."""
    return "/v1/streams/" in exchange.url or any(name in body for name in _DESCRIPTIONS)


def _refuse(_body: Body, _exchange: Exchange) -> Reading:
    detail = "a description of models or the text of an answer; a prediction would be right"
    raise BadRecordError(Reason.NOT_A_CALL, "response", detail)


NO_CALL: Final = Dialect("replicate.no_call", _is_no_call, _refuse, fold)
