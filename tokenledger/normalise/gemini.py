"""Gemini API and Vertex AI: generateContent, its streams, and embeddings.

`promptTokenCount` includes cached content; `thoughtsTokenCount` stands beside `candidatesTokenCount` and
`toolUsePromptTokenCount` beside the prompt (google/genai/types.py). Proto-JSON is read as its specification allows:
64-bit counts as strings, enums as numbers, snake_case names. Usage in a stream is cumulative.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import convert

from tokenledger.normalise import anthropic
from tokenledger.normalise.assemble import parse_time
from tokenledger.normalise.leaves import carve_checked, carve_input, carve_output, check_total
from tokenledger.normalise.proto_json import camel, enum_name, whole
from tokenledger.normalise.reading import (
    BadRecordError,
    Body,
    Count,
    Dialect,
    Event,
    Exchange,
    Reading,
    Word,
    part,
    text,
)
from tokenledger.records.reasons import Anomaly, Reason

_PATH: Final = "usageMetadata"
_MODALITIES: Final = ("MODALITY_UNSPECIFIED", "TEXT", "IMAGE", "VIDEO", "AUDIO", "DOCUMENT")
_MODALITY: Final = {
    "MODALITY_UNSPECIFIED": "text",
    "TEXT": "text",
    "IMAGE": "image",
    "VIDEO": "video",
    "AUDIO": "audio",
    "DOCUMENT": "document",
}
_TRAFFIC: Final = (
    "TRAFFIC_TYPE_UNSPECIFIED",
    "ON_DEMAND",
    "PROVISIONED_THROUGHPUT",
    "ON_DEMAND_PRIORITY",
    "ON_DEMAND_FLEX",
)
# The two services number the later members of FinishReason differently; these they have in common.
_FINISH: Final = ("FINISH_REASON_UNSPECIFIED", "STOP", "MAX_TOKENS", "SAFETY", "RECITATION", "OTHER")
_SNAKE: Final = frozenset({"usage_metadata", "model_version", "response_id", "prompt_feedback"})
_COUNTS: Final = frozenset({"promptTokenCount", "candidatesTokenCount", "totalTokenCount", "responseTokenCount"})
_GENERATION: Final = re.compile(r"gemini-(\d+)")
_MODEL_IN_URL: Final = re.compile(r"/models/([^/:?]+)")
_PLACE_IN_URL: Final = re.compile(r"/locations/([a-z0-9-]+)")
_FIRST_PER_QUERY_GENERATION: Final = 3
_NO_TOKENS: Final[Mapping[str, int]] = {}


class _TextTokens(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    modality: Literal["TEXT"]
    tokenCount: Count  # noqa: N815 - Google's spelling, here and below


_OnlyText: TypeAlias = Annotated[list[_TextTokens], msgspec.Meta(max_length=1)]


class _Usual(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """What nearly every usage object of a text model is; checked in C, at a third of what looking at each count costs.

    Thoughts stand beside the candidates, as the total must show.
    """

    promptTokenCount: Count  # noqa: N815
    totalTokenCount: Count  # noqa: N815
    candidatesTokenCount: Count = 0  # noqa: N815
    cachedContentTokenCount: Count = 0  # noqa: N815
    thoughtsTokenCount: Count = 0  # noqa: N815
    promptTokensDetails: _OnlyText = []  # noqa: N815
    cacheTokensDetails: _OnlyText = []  # noqa: N815
    candidatesTokensDetails: _OnlyText = []  # noqa: N815
    trafficType: Word | None = None  # noqa: N815
    serviceTier: Word | None = None  # noqa: N815


def fits(body: Body, _exchange: Exchange) -> bool:
    """Candidates, usage metadata of this shape, or the same in snake_case."""
    usage = body.get("usageMetadata")
    if usage.__class__ is dict:
        return not str(body.get("name", "")).startswith("cachedContents/")
    if "candidates" in body or "promptFeedback" in body:
        return True
    usage = body.get("usage_metadata")
    return isinstance(usage, dict) and "input_tokens" not in usage


def read(body: Body, exchange: Exchange) -> Reading:
    """A generated answer → its Reading."""
    if not _SNAKE.isdisjoint(body):
        body = camel(body)
    candidates = body.get("candidates")
    first = candidates[0] if candidates.__class__ is list and candidates else None
    if first.__class__ is not dict:
        first = None
    reading = Reading(
        usage_reading="gemini",
        api="generate_content",
        response_id=text(body, "responseId"),
        response_model=_model(text(body, "modelVersion")),
        created_at_us=parse_time(text(body, "createTime")),
        finish_reason=_finish_reason(body, first),
    )
    if exchange.url:
        place(reading, exchange)
    usage = body.get("usageMetadata")
    if usage.__class__ is dict:
        read_usage(reading, usage)
    if first is not None and "groundingMetadata" in first:
        _add_searches(reading, candidates, exchange)
    return reading


def read_usage(reading: Reading, usage: dict[str, Any]) -> None:
    """Put the counts of `usageMetadata` into leaves; metadata that names only the traffic type reports no usage."""
    traffic = usage.get("trafficType")
    reading.service_tier = enum_name(traffic, _TRAFFIC) if traffic is not None else text(usage, "serviceTier")
    if _COUNTS.isdisjoint(usage):
        return
    reading.raw_usage = usage
    if _read_usual(reading, usage):
        return
    _read_input(reading, usage)
    _read_output(reading, usage)
    check_total(reading, whole(usage, "totalTokenCount", _PATH))


def _read_usual(reading: Reading, usage: dict[str, Any]) -> bool:
    """Whether these were the counts of nearly every reply, and add up.

    Then they are in `reading`, as the long way would have put them there.
    """
    try:
        found = convert(usage, _Usual)
    except msgspec.ValidationError:
        return False
    inputs, cached, thoughts = found.promptTokenCount, found.cachedContentTokenCount, found.thoughtsTokenCount
    outputs, details = found.candidatesTokenCount + thoughts, found.promptTokensDetails
    if found.totalTokenCount != inputs + outputs or cached > inputs or (details and details[0].tokenCount != inputs):
        return False
    reading.textless = usage
    carve_checked(reading, inputs, cached, outputs=outputs, reasoning=thoughts)
    return True


def _read_input(reading: Reading, usage: Body) -> None:
    total = whole(usage, "promptTokenCount", _PATH) or 0
    cached = whole(usage, "cachedContentTokenCount", _PATH)
    details = usage.get("promptTokensDetails") or usage.get("promptTokenDetails")
    if not details or details == [{"modality": "TEXT", "tokenCount": total}]:
        carve_input(reading, total, cached={"cache_read": cached} if cached else _NO_TOKENS, path=_PATH)
    else:
        split = usage.get("cacheTokensDetails") if cached else None
        carve_input(
            reading,
            total,
            cached={"cache_read": cached} if cached else _NO_TOKENS,
            modalities=_modalities(reading, details, "promptTokensDetails"),
            cached_modalities=_modalities(reading, split, "cacheTokensDetails") if split else _NO_TOKENS,
            path=_PATH,
        )
    tool = whole(usage, "toolUsePromptTokenCount", _PATH)
    if tool:
        reading.usage["input.tool"] = tool
        reading.input_tokens = (reading.input_tokens or 0) + tool
        reading.explicit_leaves += 1


def _read_output(reading: Reading, usage: Body) -> None:
    answer = whole(usage, "candidatesTokenCount", _PATH)
    if answer is None:
        answer = whole(usage, "responseTokenCount", _PATH) or 0  # the Live API's word for it
    details = usage.get("candidatesTokensDetails") or usage.get("responseTokensDetails")
    parts = _modalities(reading, details, "candidatesTokensDetails") if details else {}
    parts.pop("text", None)
    if document := parts.pop("document", 0):
        parts["image"] = parts.get("image", 0) + document
    thoughts = whole(usage, "thoughtsTokenCount", _PATH)
    if thoughts:
        parts["reasoning"] = thoughts
        # Some Vertex models count thoughts among the candidates; only the total tells.
        if (reading.input_tokens or 0) + answer != whole(usage, "totalTokenCount", _PATH):
            answer += thoughts
    carve_output(reading, answer, parts=parts, path=_PATH)


def _modalities(reading: Reading, details: Any, name: str) -> dict[str, int]:
    """`[{modality, tokenCount}]` → modality → tokens."""
    found: dict[str, int] = {}
    for row in details if isinstance(details, list) else (details,):
        if not isinstance(row, dict):
            detail = f"found {details!r:.40}; a list of objects would be right"
            raise BadRecordError(Reason.INVALID_COUNT, f"{_PATH}.{name}", detail)
        tokens = whole(row, "tokenCount", f"{_PATH}.{name}")
        if not tokens:
            continue
        stated = row.get("modality") or "TEXT"
        modality = _MODALITY.get(stated) if stated.__class__ is str else None
        modality = modality or _MODALITY.get(enum_name(stated, _MODALITIES) or "")
        if modality is None:
            reading.note(Anomaly.UNKNOWN_METER_SPLIT)
            continue
        found[modality] = found.get(modality, 0) + tokens
    return found


def _finish_reason(body: Body, first: Body | None) -> str | None:
    if first is not None:
        reason = first.get("finishReason")
        return reason if reason.__class__ is str else enum_name(reason, _FINISH)
    feedback = body.get("promptFeedback")
    return text(feedback, "blockReason") if isinstance(feedback, dict) else None


def _model(version: str | None) -> str | None:
    return version.rpartition("/")[2] if version else None


def place(reading: Reading, exchange: Exchange) -> None:
    """Model and location as the URL names them."""
    url = exchange.url
    if reading.request_model is None and (found := _MODEL_IN_URL.search(url)):
        reading.request_model = found[1]
    if found := _PLACE_IN_URL.search(url):
        reading.region = found[1]


def _add_searches(reading: Reading, candidates: Any, exchange: Exchange) -> None:
    """Grounding by web search: billed per unique query since Gemini 3, before that per prompt that searched."""
    queries = set(_queries(candidates))
    if not queries:
        return
    model = reading.response_model or exchange.request_model or reading.request_model or ""
    generation = _GENERATION.search(model)
    per_query = generation is not None and int(generation[1]) >= _FIRST_PER_QUERY_GENERATION
    reading.usage = {**reading.usage, "tool.web_search": len(queries) if per_query else 1}


def _queries(candidates: list[Any]) -> Iterator[str]:
    for candidate in candidates:
        grounding = candidate.get("groundingMetadata") if isinstance(candidate, dict) else None
        queries = grounding.get("webSearchQueries") if isinstance(grounding, dict) else None
        if isinstance(queries, list):
            yield from (query for query in queries if isinstance(query, str) and query.strip())


def fold(events: list[Event]) -> tuple[Body, bool]:
    """The last usage that counts; searches of all chunks; a finish or block reason is the end."""
    body: dict[str, Any] = {}
    usage: dict[str, Any] = {}
    finish, queries = None, list[str]()
    for _, chunk in events:
        if chunk.__class__ is not dict:
            continue
        data = chunk if _SNAKE.isdisjoint(chunk) else camel(chunk)
        body |= {name: value for name, value in data.items() if value is not None and name != "candidates"}
        stated = data.get("usageMetadata")
        if stated.__class__ is dict:
            usage = {**stated, **usage} if _COUNTS.isdisjoint(stated) else stated
        candidates = data.get("candidates")
        for candidate in candidates if candidates.__class__ is list else ():
            if candidate.__class__ is dict:
                finish = candidate.get("finishReason") or finish
                if "groundingMetadata" in candidate:
                    queries += _queries([candidate])
    if usage:
        body["usageMetadata"] = usage
    candidate = {"finishReason": finish}
    if queries:
        candidate["groundingMetadata"] = {"webSearchQueries": queries}
    blocked = finish is None and "promptFeedback" in body
    return body if blocked else body | {"candidates": [candidate]}, finish is not None or blocked


GENERATE: Final = Dialect("gemini.generate", fits, read, fold)


def _read_claude(body: Body, exchange: Exchange) -> Reading:
    reading = anthropic.read(body, exchange)
    place(reading, exchange)
    return reading


CLAUDE_ON_VERTEX: Final = Dialect("anthropic.vertex", anthropic.fits, _read_claude, anthropic.fold)


def _wraps(body: Body, exchange: Exchange) -> bool:
    """A line of a batch's results, or the answer of Code Assist: the reply is under `response`."""
    inner = body.get("response")
    return isinstance(inner, dict) and fits(inner, exchange)


def _read_wrapped(body: Body, exchange: Exchange) -> Reading:
    reading = read(part(body, "response", ""), exchange)
    if "key" in body or "request" in body or "processed_time" in body:
        reading.processing = "batch"
    return reading


def _fold_wrapped(events: list[Event]) -> tuple[Body, bool]:
    body, complete = fold([Event(name, data.get("response")) for name, data in events if isinstance(data, dict)])
    return {"response": body}, complete


WRAPPED: Final = Dialect("gemini.wrapped", _wraps, _read_wrapped, _fold_wrapped)
