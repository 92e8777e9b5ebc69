"""LiteLLM's StandardLoggingPayload (`ce_type` `litellm.standard_logging_payload.v1`).

Its counts are inclusive for every provider: Anthropic's and Bedrock's cache is already added
(litellm/types/utils.py). `metadata.usage_object` says more than the three plain counts and is read in their place; on
pass-through routes it is the provider's own. `response_cost` is a claim. `cache_hit` is the proxy's own cache.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from tokenledger.normalise import anthropic_usage, bedrock, gemini
from tokenledger.normalise.envelope import MAX_TAGS, Envelope, bound_text, decode_json
from tokenledger.normalise.leaves import carve_input, carve_output, check_total
from tokenledger.normalise.openai_usage import RESPONSES, read_tokens
from tokenledger.normalise.reading import BadRecordError, Body, Reading, count, part, seconds_to_us
from tokenledger.records.reasons import Reason

PAYLOAD_TYPE: Final = "litellm.standard_logging_payload.v1"

_APIS: Final = (
    ("embedding", "embeddings"),
    ("image", "images"),
    ("transcription", "audio"),
    ("speech", "audio"),
    ("rerank", "rerank"),
    ("responses", "responses"),
    ("anthropic_messages", "messages"),
    ("text_completion", "completions"),
    ("ocr", "ocr"),
    ("generate_content", "generate_content"),
    ("realtime", "realtime"),
    ("completion", "chat"),
)
_PATH: Final = "metadata.usage_object"
_MODALITIES: Final = ("audio", "image", "video")


def read_payload(value: bytes) -> tuple[Envelope, Reading, list[str]]:
    """One payload → what its envelope would have been, and its Reading. Raises BadRecordError."""
    payload = decode_json(value)
    if not isinstance(payload, dict):
        detail = f"found {type(payload).__name__}; a payload as a JSON object would be right"
        raise BadRecordError(Reason.INVALID_ENVELOPE, "", detail)
    metadata = _object(payload, "metadata")
    return _envelope(payload, metadata), _reading(payload, metadata), []


def _reading(payload: Body, metadata: Body) -> Reading:
    failed = payload.get("status") == "failure"
    hit = payload.get("cache_hit") is True
    reading = Reading(
        usage_reading="litellm",
        api=_api(str(payload.get("call_type") or "")),
        # A cached answer repeats the id of the call that was paid for.
        response_id=None if hit else _text(payload, "id"),
        response_model=_text(payload, "model"),
        status="error" if failed else "ok",
        error_type=_error_type(payload) if failed else None,
    )
    usage = metadata.get("usage_object")
    if not isinstance(usage, dict) or not usage:
        usage = _object(payload, "hidden_params").get("usage_object")
    if isinstance(usage, dict) and usage:
        _read_usage(reading, usage)
    else:
        _read_plain(reading, payload, failed=failed)
    return reading


def _api(call_type: str) -> str | None:
    return next((api for word, api in _APIS if word in call_type), None)


def _error_type(payload: Body) -> str:
    about = _object(payload, "error_information")
    return _text(about, "error_class") or _text(about, "error_code") or "error"


def _read_plain(reading: Reading, payload: Body, *, failed: bool) -> None:
    """The three plain counts; all zero on a failure says that nothing was reported."""
    names = ("prompt_tokens", "completion_tokens", "total_tokens")
    stated = {name: count(payload, name, "") for name in names}
    if all(tokens is None for tokens in stated.values()) or (failed and not any(stated.values())):
        return
    reading.raw_usage = {name: tokens for name, tokens in stated.items() if tokens is not None}
    if stated["prompt_tokens"] is not None:
        carve_input(reading, stated["prompt_tokens"], path="")
    if stated["completion_tokens"] is not None:
        carve_output(reading, stated["completion_tokens"], path="")
    check_total(reading, stated["total_tokens"])


def _read_usage(reading: Reading, usage: dict[str, Any]) -> None:
    """LiteLLM's own usage object, or the provider's on a pass-through route: the names tell."""
    if "prompt_tokens" in usage or "completion_tokens" in usage:
        _read_inclusive(reading, usage)
    elif "promptTokenCount" in usage or "candidatesTokenCount" in usage:
        gemini.read_usage(reading, usage)
    elif "inputTokens" in usage:
        bedrock.read_usage(reading, usage)
    elif "input_tokens_details" in usage or (
        "output_tokens_details" in usage and "cache_read_input_tokens" not in usage
    ):
        read_tokens(reading, usage, RESPONSES)
    else:
        anthropic_usage.read_usage(reading, usage)


def _read_inclusive(reading: Reading, usage: dict[str, Any]) -> None:
    reading.raw_usage = usage
    inside = part(usage, "prompt_tokens_details", _PATH)
    out = part(usage, "completion_tokens_details", _PATH)
    total, cached, modalities = count(usage, "prompt_tokens", _PATH), _cache_actions(usage, inside), _modalities(inside)
    if total is not None or cached or modalities:
        carve_input(reading, total or 0, cached=cached, modalities=modalities, path=_PATH)
    parts = _modalities(out)
    if reasoning := count(out, "reasoning_tokens", f"{_PATH}.completion_tokens_details"):
        parts["reasoning"] = reasoning
    output = count(usage, "completion_tokens", _PATH)
    if output is not None or parts:
        carve_output(reading, output or 0, parts=parts, path=_PATH)
    check_total(reading, count(usage, "total_tokens", _PATH))
    tier, speed, geo = _text(usage, "service_tier"), _text(usage, "speed"), _text(usage, "inference_geo")
    reading.service_tier = tier
    reading.speed = None if speed == "standard" else speed
    reading.region = None if geo == "not_available" else geo
    searches = _object(usage, "server_tool_use") or inside
    if calls := count(searches, "web_search_requests", _PATH):
        reading.usage["tool.web_search"] = calls


def _cache_actions(usage: Body, inside: Body) -> dict[str, int]:
    """The same count may stand twice, in the details and beside them: it is one count."""
    details = f"{_PATH}.prompt_tokens_details"
    cached = count(inside, "cached_tokens", details) or count(usage, "cache_read_input_tokens", _PATH)
    written = (
        count(inside, "cache_creation_tokens", details)
        or count(inside, "cache_write_tokens", details)
        or count(usage, "cache_creation_input_tokens", _PATH)
        or 0
    )
    actions = {"cache_read": cached} if cached else {}
    split = part(inside, "cache_creation_token_details", details)
    for ttl in ("5m", "1h"):
        if tokens := count(split, f"ephemeral_{ttl}_input_tokens", f"{details}.cache_creation_token_details"):
            actions[f"cache_write_{ttl}"] = tokens
            written -= tokens
    if written < 0:
        detail = f"cache writes by lifetime exceed their total by {-written}"
        raise BadRecordError(Reason.CONTRADICTING_USAGE, details, detail)
    if written:
        actions["cache_write"] = written
    return actions


def _modalities(details: Body) -> dict[str, int]:
    """Text is what the others leave over: LiteLLM states it with or without the cache, by provider."""
    return {name: tokens for name in _MODALITIES if (tokens := count(details, f"{name}_tokens", f"{_PATH}.details"))}


def _envelope(payload: Body, metadata: Body) -> Envelope:
    parameters = _object(payload, "model_parameters")
    stream = payload.get("stream")
    started, ended = _instant(payload, "startTime"), _instant(payload, "endTime")
    first = _instant(payload, "completionStartTime")
    cost = payload.get("response_cost")
    tier = parameters.get("service_tier")
    return Envelope(
        provider=_text(payload, "custom_llm_provider"),
        url=str(payload.get("api_base") or "") or None,
        request_model=_text(payload, "model_group") or _text(payload, "model"),
        request={
            "stream": stream if isinstance(stream, bool) else None,
            "service_tier": tier if isinstance(tier, str) else None,
        },
        started_at_us=started,
        # Without a stream LiteLLM repeats the end here.
        first_token_at_us=first if stream is True else None,
        ended_at_us=ended,
        cost_centre=_text(metadata, "user_api_key_team_id"),
        project=_text(metadata, "user_api_key_project_id"),
        user_id=_text(payload, "end_user")
        or _text(metadata, "user_api_key_end_user_id")
        or _text(metadata, "user_api_key_user_id"),
        api_key_id=_text(metadata, "user_api_key_hash"),
        billing_account=_text(metadata, "user_api_key_org_id"),
        deployment_id=_text(payload, "model_id"),
        session_id=_text(payload, "session_id"),
        operation_id=_text(payload, "trace_id"),
        cache_hit=True if payload.get("cache_hit") is True else None,
        tags=_tags(payload.get("request_tags")),
        claimed_usd=cost if isinstance(cost, int | Decimal) and not isinstance(cost, bool) else None,
    )


def _object(holder: Body, name: str) -> Body:
    value = holder.get(name)
    return value if isinstance(value, dict) else {}


def _text(holder: Mapping[str, Any], name: str) -> str | None:
    value = holder.get(name)
    return bound_text(value) if isinstance(value, str) and value and value != "None" else None


def _instant(payload: Body, name: str) -> int | None:
    return seconds_to_us(payload.get(name))


def _tags(stated: Any) -> dict[str, str] | None:
    """`["team:search", "beta"]` → `{"team": "search", "beta": "true"}`, at most 16."""
    if not isinstance(stated, list):
        return None
    tags: dict[str, str] = {}
    for tag in stated:
        if isinstance(tag, str) and tag and len(tags) < MAX_TAGS:
            name, _, label = tag.partition(":")
            tags[bound_text(name)] = bound_text(label.strip() or "true")
    return tags or None
