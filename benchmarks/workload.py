"""The one workload of every published figure, the same for the same seed.

50 tenants by Zipf, 20 features, 10 models of 3 dialects, about 3.5 cost lines a call, event times over 6 hours, 5 % of
records sent twice, 2 % late by up to 2 hours.
"""

import json
import random
from collections.abc import Iterator
from typing import Any, NamedTuple

TENANTS, FEATURES, LATE_SHARE, DUPLICATE_SHARE = 50, 20, 0.02, 0.05
SPREAD_US, LATE_US = 6 * 3600 * 1_000_000, 2 * 3600 * 1_000_000

MODELS = (
    ("openai", "gpt-4o-mini-2024-07-18"), ("openai", "gpt-4.1-2025-04-14"), ("openai", "gpt-5-2025-08-07"),
    ("openai", "o4-mini-2025-04-16"), ("anthropic", "claude-sonnet-4-5-20250929"),
    ("anthropic", "claude-haiku-4-5-20251001"), ("anthropic", "claude-opus-4-1-20250805"),
    ("gcp.gemini", "gemini-2.5-flash"), ("gcp.gemini", "gemini-2.5-pro"), ("gcp.gemini", "gemini-2.5-flash-lite"),
)  # fmt: skip


class Message(NamedTuple):
    """One record as a producer sends it."""

    key: bytes
    """`tenant/event id`."""
    value: bytes
    """The call envelope."""
    headers: dict[str, bytes]
    """CloudEvents headers."""


def messages(count: int, *, seed: int = 1, end_us: int) -> Iterator[Message]:
    """`count` records, repeats included, whose event times end at `end_us`."""
    chance = random.Random(seed)
    weights = [1 / rank for rank in range(1, TENANTS + 1)]
    tenants = chance.choices(range(TENANTS), weights, k=count)
    previous: Message | None = None
    for number in range(count):
        if previous is not None and chance.random() < DUPLICATE_SHARE:
            yield previous
            continue
        previous = _message(
            chance, tenants[number], f"b{seed}-{number}", end_us - SPREAD_US * (count - number) // count
        )
        yield previous


def _message(chance: random.Random, tenant: int, event_id: str, at_us: int) -> Message:
    if chance.random() < LATE_SHARE:
        at_us -= chance.randrange(LATE_US)
    provider, model = chance.choice(MODELS)
    fresh, cached = int(chance.lognormvariate(6.5, 1.0)) + 1, chance.choice((0, 1024, 2048, 4096))
    output, thought = int(chance.lognormvariate(5.3, 0.9)) + 1, chance.choice((0, 128, 700))
    reply = _REPLIES[provider](event_id, model, (fresh, cached, output, thought))
    ttft_us = int(chance.lognormvariate(13.0, 0.5))
    data = {
        "provider": provider,
        "request_model": model,
        "request": {"stream": False},
        "response": reply,
        "started_at_us": at_us,
        "first_token_at_us": at_us + ttft_us,
        "ended_at_us": at_us + ttft_us + output * 12_000,
        "feature": f"feature-{chance.randrange(FEATURES)}",
        "environment": "production",
    }
    tenant_id = f"tenant-{tenant:02d}"
    headers = {
        "ce_id": event_id.encode(),
        "ce_source": b"benchmark",
        "ce_type": b"llm.call.v1",
        "ce_tenantid": tenant_id.encode(),
    }
    return Message(f"{tenant_id}/{event_id}".encode(), json.dumps(data, separators=(",", ":")).encode(), headers)


_Counts = tuple[int, int, int, int]


def _openai(event_id: str, model: str, counts: _Counts) -> dict[str, Any]:
    fresh, cached, output, thought = counts
    return {
        "id": f"chatcmpl-{event_id}", "object": "chat.completion", "created": 1760000000, "model": model,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": None}, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": fresh + cached, "completion_tokens": output + thought,
            "total_tokens": fresh + cached + output + thought,
            "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": thought, "audio_tokens": 0},
        },
        "service_tier": "default",
    }  # fmt: skip


def _anthropic(event_id: str, model: str, counts: _Counts) -> dict[str, Any]:
    fresh, cached, output, thought = counts
    return {
        "id": f"msg_{event_id}", "type": "message", "role": "assistant", "model": model, "content": [],
        "stop_reason": "end_turn",
        "usage": {
            "input_tokens": fresh, "cache_creation_input_tokens": thought, "cache_read_input_tokens": cached,
            "cache_creation": {"ephemeral_5m_input_tokens": thought, "ephemeral_1h_input_tokens": 0},
            "output_tokens": output, "service_tier": "standard",
        },
    }  # fmt: skip


def _gemini(event_id: str, model: str, counts: _Counts) -> dict[str, Any]:
    fresh, cached, output, thought = counts
    return {
        "candidates": [{"content": {"role": "model"}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {
            "promptTokenCount": fresh + cached, "cachedContentTokenCount": cached, "candidatesTokenCount": output,
            "thoughtsTokenCount": thought, "totalTokenCount": fresh + cached + output + thought,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": fresh + cached}],
        },
        "modelVersion": model, "responseId": event_id,
    }  # fmt: skip


_REPLIES = {"openai": _openai, "anthropic": _anthropic, "gcp.gemini": _gemini}
