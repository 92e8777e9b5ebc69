"""Amazon Bedrock InvokeModel and InvokeModelWithResponseStream: each model family answers in its own shape.

Bedrock counts tokens itself too: in `x-amzn-bedrock-*` headers, and in `amazon-bedrock-invocationMetrics` on the last
chunk of a stream. Where the body counts as well, the body is read and a difference is flagged.
"""

import base64
import binascii
from typing import Any, Final

from tokenledger.normalise import anthropic, bedrock, openai_chat
from tokenledger.normalise.engine_timings import to_us
from tokenledger.normalise.envelope import decode_json
from tokenledger.normalise.exclusive import add_input
from tokenledger.normalise.leaves import carve_input, carve_output
from tokenledger.normalise.reading import BadRecordError, Body, Dialect, Event, Exchange, Reading, count, text
from tokenledger.records.call import Timings
from tokenledger.records.reasons import Anomaly, Reason

_METRICS: Final = "amazon-bedrock-invocationMetrics"
_HEADERS: Final = {
    "x-amzn-bedrock-input-token-count": "inputTokenCount",
    "x-amzn-bedrock-output-token-count": "outputTokenCount",
    "x-amzn-bedrock-cache-read-input-token-count": "cacheReadInputTokenCount",
    "x-amzn-bedrock-cache-write-input-token-count": "cacheWriteInputTokenCount",
    "x-amzn-bedrock-invocation-latency": "invocationLatency",
}
_TITAN: Final = frozenset({"inputTextTokenCount", "totalOutputTextTokenCount"})
_LLAMA: Final = frozenset({"prompt_token_count", "generation_token_count"})
_SHAPES: Final = frozenset(
    {"results", "outputs", "generations", "generation", "completions", "completion", "embedding", "embeddings"}
    | {"generation_id", "images", "artifacts", "embeddingsByType", "delta", "outputText", "text", "bytes", "chunk"}
    | {"prompt", "stop_reason"}
)
_NOT_CALLS: Final = frozenset(
    {"modelSummaries", "modelDetails", "inferenceProfileSummaries", "guardrails", "jobArn", "asyncInvokeSummaries"}
)


def fits(body: Body, exchange: Exchange) -> bool:
    """Anything that Bedrock counted, or that one of its model families answers with."""
    if _METRICS in body or "x-amzn-bedrock-input-token-count" in exchange.headers:
        return True
    return not (_SHAPES | _TITAN | _LLAMA).isdisjoint(body) or _spoken(body, exchange) is not None


def _spoken(body: Body, exchange: Exchange) -> Dialect | None:
    """The dialect of another page that the body speaks, if any."""
    for dialect in (bedrock.SHAPE, anthropic.MESSAGES, openai_chat.CHAT):
        if dialect.fits(body, exchange):
            return dialect
    return None


def read(body: Body, exchange: Exchange) -> Reading:
    """A reply of any model family → its Reading."""
    dialect = _spoken(body, exchange)
    reading = dialect.read(body, exchange) if dialect else _read_own(body)
    reading.api = "embeddings" if _is_embedding(body) else "invoke"
    bedrock.put_place(reading, exchange)
    counts = _counts(body, exchange)
    if counts:
        _add_counts(reading, counts)
    return reading


def _is_embedding(body: Body) -> bool:
    return "embedding" in body or "embeddings" in body or "embeddingsByType" in body


def _read_own(body: Body) -> Reading:
    """Titan and Llama count in the body; Cohere, Mistral, AI21 and Claude's old completions leave it to Bedrock."""
    reading = Reading(usage_reading="bedrock.invoke", response_id=_id(body), finish_reason=_finish_reason(body))
    if not _TITAN.isdisjoint(body):
        _read_titan(reading, body)
    elif not _LLAMA.isdisjoint(body):
        reading.usage_reading = "bedrock.invoke.llama"
        reading.raw_usage = {name: body[name] for name in sorted(_LLAMA) if body.get(name) is not None}
        _carve(reading, count(body, "prompt_token_count", ""), count(body, "generation_token_count", ""))
    elif (pictures := body.get("images") or body.get("artifacts")).__class__ is list and pictures:
        reading.usage_reading, reading.usage_source = "bedrock.invoke.images", "counted"
        reading.usage = {"image": len(pictures)}
        reading.raw_usage = {"images": len(pictures)}
    return reading


def _id(body: Body) -> str | None:
    """Cohere's ids; AI21 Jurassic's is a constant number and Titan has none."""
    return text(body, "generation_id") or text(body, "id") or text(body, "response_id")


def _read_titan(reading: Reading, body: Body) -> None:
    reading.usage_reading = "bedrock.invoke.titan"
    results = body.get("results")
    rows = [row for row in results if isinstance(row, dict)] if isinstance(results, list) else []
    output = count(body, "totalOutputTextTokenCount", "")
    if rows:
        output = sum(count(row, "tokenCount", "results") or 0 for row in rows)
    reading.raw_usage = {
        "inputTextTokenCount": body.get("inputTextTokenCount"),
        "totalOutputTextTokenCount": output,
    }
    _carve(reading, count(body, "inputTextTokenCount", ""), output)


def _carve(reading: Reading, fresh: int | None, output: int | None) -> None:
    if fresh is not None:
        carve_input(reading, fresh)
    if output is not None:
        carve_output(reading, output)


def _finish_reason(body: Body) -> str | None:
    stated = text(body, "stop_reason") or text(body, "finish_reason") or text(body, "completionReason")
    for name in ("results", "outputs", "generations", "completions"):
        rows = body.get(name)
        if stated is None and isinstance(rows, list) and rows and isinstance(rows[0], dict):
            row = rows[0]
            stated = text(row, "completionReason") or text(row, "stop_reason") or text(row, "finish_reason")
    return stated


def _counts(body: Body, exchange: Exchange) -> dict[str, Any]:
    """What Bedrock counted, from the last chunk or the headers, by the chunk's names."""
    metrics = body.get(_METRICS)
    if isinstance(metrics, dict):
        return metrics
    found: dict[str, Any] = {}
    for header, name in _HEADERS.items():
        value = exchange.headers.get(header)
        if value is not None:
            found[name] = int(value) if value.isdecimal() and len(value) < 19 else value  # noqa: PLR2004 - an int64
    return found


def _add_counts(reading: Reading, counts: dict[str, Any]) -> None:
    """Bedrock's counts fill in what the body leaves out, and are compared with what it says."""
    fresh, output = count(counts, "inputTokenCount", _METRICS), count(counts, "outputTokenCount", _METRICS)
    cached = count(counts, "cacheReadInputTokenCount", _METRICS) or 0
    written = count(counts, "cacheWriteInputTokenCount", _METRICS) or 0
    if counts.get("invocationLatency") is not None and reading.timings is None:
        reading.timings = Timings(total_us=to_us(counts["invocationLatency"], 1000))
    if reading.raw_usage is None and (fresh is not None or output is not None):
        reading.raw_usage, reading.usage_reading = counts, "bedrock.invoke.counted"
    if reading.input_tokens is None and fresh is not None:
        kept = reading.usage
        add_input(reading, fresh, cached, writes={"cache_write": written} if written else None)
        reading.usage |= kept
    elif fresh is not None and reading.input_tokens not in {fresh, fresh + cached + written}:
        reading.note(Anomaly.TOTAL_MISMATCH)
    if reading.output_tokens is None and output is not None and reading.api != "embeddings":
        carve_output(reading, output)
    elif output and reading.output_tokens != output:
        reading.note(Anomaly.TOTAL_MISMATCH)


def fold(events: list[Event]) -> tuple[Body, bool]:
    """The chunks' own dialect folds them; Bedrock's counts of the last chunk stay beside."""
    inner = [Event(None, data) for event in events if isinstance(data := _opened(event.data), dict)]
    metrics = next((event.data[_METRICS] for event in reversed(inner) if _METRICS in event.data), None)
    failure = next((event.name for event in events if (event.name or "").endswith("Exception")), None)
    for dialect in (anthropic.MESSAGES, bedrock.SHAPE, openai_chat.CHAT):
        if any(dialect.fits(event.data, Exchange(provider="aws.bedrock")) for event in inner):
            body, complete = dialect.fold(inner)
            break
    else:
        body, complete = _merged(inner)
    whole = dict(body)
    if metrics is not None:
        whole[_METRICS] = metrics
    if failure is not None:
        whole["streamException"] = failure
    return whole, complete or metrics is not None


def _opened(data: Any) -> Any:
    """A chunk's content: as it is, or in base64 under `bytes`."""
    if isinstance(data, dict) and isinstance(data.get("chunk"), dict):
        data = data["chunk"]
    if not isinstance(data, dict) or not isinstance(data.get("bytes"), str):
        return data
    try:
        return decode_json(base64.b64decode(data["bytes"], validate=True))
    except (binascii.Error, ValueError):
        detail = f"found {data['bytes']!r:.40}; base64 would be right"
        raise BadRecordError(Reason.INVALID_STREAM, "events.bytes", detail) from None


def _merged(inner: list[Event]) -> tuple[Body, bool]:
    """The last word on each field: Llama and Titan count cumulatively."""
    body: dict[str, Any] = {}
    for event in inner:
        body |= {name: value for name, value in event.data.items() if value is not None}
    return body, _finish_reason(body) is not None or "totalOutputTextTokenCount" in body


INVOKE: Final = Dialect("bedrock.invoke", fits, read, fold)


def _is_no_call(body: Body, _exchange: Exchange) -> bool:
    """CountTokens, a guardrail's verdict, a list of models."""
    usage = body.get("usage")
    guardrail = isinstance(usage, dict) and any(name.endswith("PolicyUnits") for name in usage)
    return body.keys() == {"inputTokens"} or guardrail or not _NOT_CALLS.isdisjoint(body)


def _refuse(body: Body, _exchange: Exchange) -> Reading:
    detail = f"an answer with the fields {sorted(body)[:6]}, no model call; a model's answer would be right"
    raise BadRecordError(Reason.NOT_A_CALL, "response", detail)


NO_CALL: Final = Dialect("bedrock.no_call", _is_no_call, _refuse, fold)
