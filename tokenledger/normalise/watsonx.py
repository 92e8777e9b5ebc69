"""IBM watsonx.ai text generation and embeddings. Its chat is OpenAI-shaped.

A stream states the prompt's tokens once and the generated ones cumulatively.
"""

from typing import Any, Final

from tokenledger.normalise.assemble import parse_time
from tokenledger.normalise.leaves import carve_input, carve_output
from tokenledger.normalise.reading import BadRecordError, Body, Dialect, Event, Exchange, Reading, count, text
from tokenledger.records.reasons import Reason

_UNFINISHED: Final = frozenset({"not_finished", "NOT_FINISHED"})


def fits(body: Body, _exchange: Exchange) -> bool:
    """A model id with results and no choices."""
    return "model_id" in body and body.get("results").__class__ is list


def read(body: Body, _exchange: Exchange) -> Reading:
    """A generation, or vectors or scores with their token count → its Reading."""
    results = body.get("results")
    rows = [row for row in results if row.__class__ is dict] if results.__class__ is list else []
    reading = Reading(
        usage_reading="watsonx",
        api="generate",
        response_id=text(body, "id"),
        response_model=text(body, "model_id"),
        created_at_us=parse_time(text(body, "created_at")),
        finish_reason=text(rows[0], "stop_reason") if rows else None,
    )
    if "input_token_count" in body:
        reading.api = "rerank" if rows and "score" in rows[0] else "embeddings"
        reading.raw_usage = {"input_token_count": body["input_token_count"]}
        carve_input(reading, count(body, "input_token_count", "") or 0)
        return reading
    inputs = [count(row, "input_token_count", "results") for row in rows]
    outputs = [count(row, "generated_token_count", "results") for row in rows]
    if any(tokens is not None for tokens in (*inputs, *outputs)):
        total_input, total_output = _sum(inputs), _sum(outputs)
        reading.raw_usage = {"input_token_count": total_input, "generated_token_count": total_output}
        if total_input is not None:
            carve_input(reading, total_input)
        if total_output is not None:
            carve_output(reading, total_output)
    return reading


def _sum(counts: list[int | None]) -> int | None:
    """None where none is stated."""
    stated = [tokens for tokens in counts if tokens is not None]
    return sum(stated) if stated else None


def fold(events: list[Event]) -> tuple[Body, bool]:
    """The last word on generated tokens, and the one time that prompt tokens were stated."""
    body: dict[str, Any] = {"results": []}
    result: dict[str, Any] = {}
    for event in events:
        if event.data.__class__ is not dict:
            continue
        rows = event.data.get("results")
        row = rows[0] if rows.__class__ is list and rows else None
        if row.__class__ is dict:
            prompt = row.get("input_token_count") or result.get("input_token_count")
            result |= {name: value for name, value in row.items() if value is not None} | {"input_token_count": prompt}
        body |= {name: value for name, value in event.data.items() if name != "results"}
    body["results"] = [result] if result else []
    reason = text(result, "stop_reason")
    return body, reason is not None and reason not in _UNFINISHED


WATSONX = Dialect("watsonx", fits, read, fold)


def _is_no_call(body: Body, _exchange: Exchange) -> bool:
    """IBM Cloud wraps what it stores in `entity` and `metadata`, and lists in `resources`."""
    return ("entity" in body and "metadata" in body) or "resources" in body


def _refuse(_body: Body, _exchange: Exchange) -> Reading:
    detail = "a stored resource or a list of them; the reply of a model call would be right"
    raise BadRecordError(Reason.NOT_A_CALL, "response", detail)


NO_CALL = Dialect("watsonx.no_call", _is_no_call, _refuse, fold)
