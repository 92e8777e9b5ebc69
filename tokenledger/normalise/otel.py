"""OpenTelemetry GenAI spans (`ce_type` `otel.span.v1`), in every generation of attribute names that is about.

OTel up to 1.36, from 1.37 and from 1.40, OpenLLMetry's two spellings, OpenInference, Langfuse, vLLM. Whether input
contains the cache is a property of the instrumentation, never of the provider: the numbers decide where they can, then
the instrumentation's own rule, then the convention (inclusive, written down since 1.40).

A parent span may repeat its children's usage: spans of agents, chains and tools are no model calls and are refused, so
that tokens and cost come from the same set of spans.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from tokenledger.normalise.engine_timings import to_us
from tokenledger.normalise.envelope import Envelope, bound_text, decode_json
from tokenledger.normalise.leaves import carve_input, carve_output, check_total
from tokenledger.normalise.otel_span import Span, is_model_span, split_otlp, view
from tokenledger.normalise.reading import BadRecordError, Reading, count
from tokenledger.records.call import Timings
from tokenledger.records.reasons import Reason

__all__ = ["SPAN_TYPE", "is_model_span", "read_span", "split_otlp"]

SPAN_TYPE: Final = "otel.span.v1"

_INPUT: Final = (
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.prompt_tokens",
    "llm.token_count.prompt",
    "llm.usage.prompt_tokens",
    "ai.usage.promptTokens",
)
_OUTPUT: Final = (
    "gen_ai.usage.output_tokens",
    "gen_ai.usage.completion_tokens",
    "llm.token_count.completion",
    "llm.usage.completion_tokens",
    "ai.usage.completionTokens",
)
_TOTAL: Final = ("gen_ai.usage.total_tokens", "llm.usage.total_tokens", "llm.token_count.total")
_READ: Final = (
    "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.usage.cache_read_input_tokens",
    "gen_ai.usage.input_tokens.cached",
    "gen_ai.usage.details.cache_read_tokens",
    "llm.usage.cache_read_input_tokens",
    "llm.token_count.prompt_details.cache_read",
    "llm.token_count.prompt_details.cache_input",
)
_WRITE: Final = (
    "gen_ai.usage.cache_write.input_tokens",
    "gen_ai.usage.cache_creation.input_tokens",
    "gen_ai.usage.cache_creation_input_tokens",
    "gen_ai.usage.input_tokens.cache_write",
    "gen_ai.usage.details.cache_write_tokens",
    "llm.usage.cache_creation_input_tokens",
    "llm.token_count.prompt_details.cache_write",
)
_REASONING: Final = (
    "gen_ai.usage.reasoning.output_tokens",
    "gen_ai.usage.reasoning_tokens",
    "gen_ai.usage.output_tokens.reasoning",
    "gen_ai.usage.details.reasoning_tokens",
    "llm.usage.reasoning_tokens",
    "llm.token_count.completion_details.reasoning",
)
_MODALITIES: Final = ("audio", "image", "video")
_COST: Final = ("llm.cost.total", "gen_ai.usage.cost", "operation.cost")
_PROVIDER: Final = ("gen_ai.provider.name", "gen_ai.system", "llm.provider", "llm.system")
_REQUEST_MODEL: Final = ("gen_ai.request.model", "llm.request.model_name", "llm.model_name", "embedding.model_name")
_FINISH: Final = (
    "gen_ai.response.finish_reasons",
    "gen_ai.response.finish_reason",
    "llm.response.finish_reason",
    "llm.response.stop_reason",
    "llm.finish_reason",
)
_KINDS: Final = ("openinference.span.kind", "traceloop.span.kind", "langfuse.observation.type")
_CALL_KINDS: Final = frozenset({"llm", "embedding", "reranker", "generation"})
_CALL_OPERATIONS: Final = {
    "chat": "chat",
    "generate_content": "generate_content",
    "text_completion": "completions",
    "embeddings": "embeddings",
    "completion": "completions",
    "rerank": "rerank",
}
# What these instrumentations copy from Bedrock or Anthropic as it is, the cache beside the input.
_EXCLUSIVE_SCOPES: Final = (
    "opentelemetry.instrumentation.bedrock",
    "opentelemetry.instrumentation.botocore",
)
_LATENCY: Final = {
    "queue_us": "gen_ai.latency.time_in_queue",
    "prefill_us": "gen_ai.latency.time_in_model_prefill",
    "decode_us": "gen_ai.latency.time_in_model_decode",
    "total_us": "gen_ai.latency.e2e",
}


def read_span(value: bytes) -> tuple[Envelope, Reading, list[str]]:
    """One span → what its envelope would have been, and its Reading. Raises BadRecordError."""
    decoded = decode_json(value)
    if not isinstance(decoded, dict):
        detail = f"found {type(decoded).__name__}; a span as a JSON object would be right"
        raise BadRecordError(Reason.INVALID_ENVELOPE, "", detail)
    span = view(decoded)
    _check_kind(span)
    return _envelope(span), _reading(span), []


def _check_kind(span: Span) -> None:
    attributes = span.attributes
    operation = attributes.get("gen_ai.operation.name")
    kind = str(_first(attributes, _KINDS) or "").lower()
    if isinstance(operation, str) and operation in _CALL_OPERATIONS:
        return
    refused = operation or (kind if kind and kind not in _CALL_KINDS else None)
    if refused is None and _first(attributes, (*_INPUT, *_OUTPUT, *_REQUEST_MODEL)) is None:
        refused = "nothing about a model"
    if refused is not None:
        detail = f"a span of {refused!s:.60}; a span of one model call would be right, agents and tools repeat theirs"
        raise BadRecordError(Reason.NOT_A_CALL, "attributes", detail)


def _reading(span: Span) -> Reading:
    attributes = span.attributes
    finish = _first(attributes, _FINISH)
    if isinstance(finish, list):
        finish = finish[0] if finish else None
    reading = Reading(
        usage_reading="otel",
        api=_CALL_OPERATIONS.get(str(attributes.get("gen_ai.operation.name"))),
        response_id=_text(attributes, "gen_ai.response.id", "llm.response.id"),
        response_model=_text(attributes, "gen_ai.response.model", "llm.response.model"),
        service_tier=_text(attributes, "openai.response.service_tier", "gen_ai.openai.response.service_tier"),
        finish_reason=finish if isinstance(finish, str) else None,
        timings=_timings(attributes),
    )
    if span.failed or attributes.get("error.type"):
        reading.status = "error"
        reading.error_type = _text(attributes, "error.type") or "error"
    _read_usage(reading, span)
    return reading


def _read_usage(reading: Reading, span: Span) -> None:
    attributes = span.attributes
    used = (*_INPUT, *_OUTPUT, *_TOTAL, *_READ, *_WRITE, *_REASONING)
    reading.raw_usage = {
        name: value
        for name, value in attributes.items()
        if name in used or name.startswith(("gen_ai.usage.", "llm.token_count."))
    } or None
    total, output = _count(attributes, _INPUT), _count(attributes, _OUTPUT)
    if total is None and output is None:
        reading.raw_usage = None
        return
    if total is not None:
        cached = {"cache_read": _count(attributes, _READ) or 0, "cache_write": _count(attributes, _WRITE) or 0}
        cached = {action: tokens for action, tokens in cached.items() if tokens}
        rule = _input_rule(span, total, output or 0, sum(cached.values())) if cached else "inclusive"
        reading.usage_reading = f"otel.{rule}"
        carve_input(
            reading,
            total + sum(cached.values()) if rule == "exclusive" else total,
            cached=cached,
            modalities=_modalities(attributes, "input"),
            path="attributes",
        )
    reported = _count(attributes, _TOTAL)
    if output is not None:
        _read_output(reading, attributes, output, reported)
    if reading.usage_reading != "otel.exclusive":  # there the total may or may not contain the cache
        check_total(reading, reported)


def _input_rule(span: Span, total: int, output: int, cached: int) -> str:
    """Whether the input count contains the cache: `inclusive` or `exclusive`."""
    if cached > total or _count(span.attributes, _TOTAL) == total + cached + output:
        return "exclusive"
    return "exclusive" if span.scope.startswith(_EXCLUSIVE_SCOPES) else "inclusive"


def _read_output(reading: Reading, attributes: Mapping[str, Any], output: int, reported: int | None) -> None:
    parts = _modalities(attributes, "output")
    reasoning = _count(attributes, _REASONING)
    if reasoning:
        parts["reasoning"] = reasoning
        beside = reported == (reading.input_tokens or 0) + output + reasoning
        if beside or reasoning > output:
            output += reasoning
    carve_output(reading, output, parts=parts, path="attributes")


def _modalities(attributes: Mapping[str, Any], direction: str) -> dict[str, int]:
    side = "prompt" if direction == "input" else "completion"
    return {
        name: tokens
        for name in _MODALITIES
        if (
            tokens := _count(
                attributes, (f"gen_ai.usage.{name}.{direction}_tokens", f"llm.token_count.{side}_details.{name}")
            )
        )
    }


def _first(attributes: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((attributes[name] for name in names if attributes.get(name) is not None), None)


def _count(attributes: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    """The count under the first name that has one; the same count under two names is one count."""
    for name in names:
        if attributes.get(name) is not None:
            return count(attributes, name, "attributes")
    return None


def _text(attributes: Mapping[str, Any], *names: str) -> str | None:
    value = _first(attributes, names)
    return bound_text(value) if isinstance(value, str) and value else None


def _timings(attributes: Mapping[str, Any]) -> Timings | None:
    """Durations that vLLM's own spans state, in seconds."""
    measured = {
        field: to_us(attributes[name], 1_000_000)
        for field, name in _LATENCY.items()
        if attributes.get(name) is not None
    }
    return Timings(**measured) if measured else None


def _envelope(span: Span) -> Envelope:
    attributes, resource = span.attributes, span.resource
    vllm = any(name.startswith("gen_ai.latency.") for name in attributes)
    first_us = to_us(
        _first(attributes, ("gen_ai.response.time_to_first_chunk", "gen_ai.latency.time_to_first_token")), 1_000_000
    )
    cost = _first(attributes, _COST)
    return Envelope(
        provider=_text(attributes, *_PROVIDER) or ("vllm" if vllm else None),
        request_model=_text(attributes, *_REQUEST_MODEL),
        request={"stream": _streamed(attributes), "service_tier": _tier(attributes)},
        started_at_us=span.started_at_us,
        first_token_at_us=span.started_at_us + first_us if span.started_at_us and first_us else None,
        ended_at_us=span.ended_at_us,
        environment=_text(resource, "deployment.environment.name", "deployment.environment"),
        project=_text(resource, "service.name"),
        feature=_text(attributes, "traceloop.association.properties.feature", "metadata.feature"),
        user_id=_text(attributes, "user.id", "enduser.id", "traceloop.association.properties.user_id"),
        session_id=_text(
            attributes, "session.id", "gen_ai.conversation.id", "traceloop.association.properties.session_id"
        ),
        trace_id=span.trace_id,
        span_id=span.span_id,
        claimed_usd=cost if isinstance(cost, int | Decimal) else None,
    )


def _streamed(attributes: Mapping[str, Any]) -> bool | None:
    stated = _first(attributes, ("gen_ai.request.stream", "llm.is_streaming", "gen_ai.is_streaming"))
    return stated if isinstance(stated, bool) else None


def _tier(attributes: Mapping[str, Any]) -> str | None:
    return _text(attributes, "openai.request.service_tier", "gen_ai.openai.request.service_tier")
