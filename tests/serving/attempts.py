"""Intents and outcomes for tests: an attempt at a model whose price anybody can look up."""

from typing import Any

import msgspec

from serving.gateway.records import Intent, Outcome

STARTED_AT_US = 1_784_000_000_000_000
"""2026-07-14 03:33:20 UTC."""


def intent(event_id: str = "e1", **fields: Any) -> Intent:
    """An attempt at gpt-4o-mini: 1,000 tokens in at the most, 100 out."""
    usual: dict[str, Any] = {
        "event_id": event_id,
        "operation_id": f"op-{event_id}",
        "attempt_no": 1,
        "attempt_role": "primary",
        "tenant_id": "acme",
        "api_key_id": "key_1",
        "feature": "search",
        "route": "small",
        "provider": "openai",
        "api": "chat",
        "request_model": "gpt-4o-mini",
        "deployment_id": "openai-main",
        "replica_id": "127.0.0.1:9",
        "stream": False,
        "started_at_us": STARTED_AT_US,
        "input_tokens_estimate": 1000,
        "output_tokens_limit": 100,
        "reserved_usd_pico": 0,
    }
    return Intent(**usual | fields)


def reply(event_id: str = "e1", *, input_tokens: int = 1000, output_tokens: int = 100) -> msgspec.Raw:
    """The upstream's reply without its texts."""
    body = {
        "id": f"chatcmpl-{event_id}",
        "object": "chat.completion",
        "created": STARTED_AT_US // 1_000_000,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{"index": 0, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": input_tokens,
            "completion_tokens": output_tokens,
            "total_tokens": input_tokens + output_tokens,
        },
    }
    return msgspec.Raw(msgspec.json.encode(body))


def outcome(event_id: str = "e1", **fields: Any) -> Outcome:
    """It answered with all the tokens it might."""
    usual: dict[str, Any] = {
        "event_id": event_id,
        "http_status": 200,
        "reply": reply(event_id),
        "ended_at_us": STARTED_AT_US + 500_000,
    }
    return Outcome(**usual | fields)


COST_USD_PICO = 1000 * 150_000 + 100 * 600_000
"""Of `outcome`, by OpenAI's price page: 0.15 USD a million tokens in, 0.60 USD out."""
