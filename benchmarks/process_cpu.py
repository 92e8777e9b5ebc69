"""CPU per event of `process`, beside a bare msgspec decode + encode and genai-prices' extract + calc_price.

Run: `uv run python -m benchmarks.process_cpu`. Prints one line per wire shape; every ratio is measured in this run.
"""

import gc
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
from genai_prices import calc_price, extract_usage

from tokenledger.process import default_context, process
from tokenledger.records import PricedCall, RawEvent

_AT_US = 1_760_000_000_000_000
_AT = datetime.fromtimestamp(_AT_US / 1e6, UTC)
_ROUNDS, _EVENTS = 400, 50

_OPENAI: dict[str, Any] = {
    "id": "chatcmpl-CNpXw2mVfQe1R0sT9uYb3dKz7LhA4", "object": "chat.completion", "created": 1760000000,
    "model": "gpt-4o-mini-2024-07-18",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": None, "refusal": None, "annotations": []},
                 "logprobs": None, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 2006, "completion_tokens": 300, "total_tokens": 2306,
              "prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": 0},
              "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0, "accepted_prediction_tokens": 0,
                                            "rejected_prediction_tokens": 0}},
    "service_tier": "default", "system_fingerprint": "fp_560af6e559",
}  # fmt: skip
_ANTHROPIC: dict[str, Any] = {
    "id": "msg_01XFDUDYJgAACzvnptvVoYEL", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5-20250929",
    "content": [], "stop_reason": "end_turn", "stop_sequence": None,
    "usage": {"input_tokens": 86, "cache_creation_input_tokens": 1200, "cache_read_input_tokens": 1920,
              "cache_creation": {"ephemeral_5m_input_tokens": 1000, "ephemeral_1h_input_tokens": 200},
              "output_tokens": 300, "service_tier": "standard"},
}  # fmt: skip
_GEMINI: dict[str, Any] = {
    "candidates": [{"content": {"parts": [], "role": "model"}, "finishReason": "STOP", "index": 0}],
    "usageMetadata": {"promptTokenCount": 2006, "candidatesTokenCount": 300, "totalTokenCount": 2806,
                      "cachedContentTokenCount": 1920, "thoughtsTokenCount": 500,
                      "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 2006}]},
    "modelVersion": "gemini-2.5-flash", "responseId": "sCzpaNyFMuLlnvgP3MqN0AQ",
}  # fmt: skip


def _chunk(**fields: Any) -> str:
    head = {"id": _OPENAI["id"], "object": "chat.completion.chunk", "created": 1760000000, "model": _OPENAI["model"]}
    return "data: " + json.dumps(head | fields) + "\n\n"


_SSE = (
    _chunk(choices=[{"index": 0, "delta": {"role": "assistant"}, "finish_reason": None}])
    + _chunk(choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}])
    + _chunk(choices=[], usage=_OPENAI["usage"])
    + "data: [DONE]\n\n"
)


def _raw(**data: Any) -> RawEvent:
    timed = {"started_at_us": _AT_US, "ended_at_us": _AT_US + 1_000_000, "feature": "search", "project": "web"}
    headers = {"ce_id": b"e-1", "ce_source": b"bench", "ce_type": b"llm.call.v1", "ce_tenantid": b"acme"}
    value = json.dumps(data | timed, separators=(",", ":")).encode()
    return RawEvent(value=value, headers=headers, topic="llm.raw.v1", append_at_us=_AT_US + 2_000_000)


def _cpu_us(work: Callable[[], object]) -> float:
    """Least CPU µs of one call over many short rounds: on shared cores what is above it is other people's work."""
    figures = []
    gc.freeze()
    gc.disable()
    for _ in range(_ROUNDS):
        start = time.process_time()
        for _ in range(_EVENTS):
            work()
        figures.append((time.process_time() - start) / _EVENTS * 1e6)
        gc.collect()
    gc.enable()
    return min(figures)


def _peer(body: dict[str, Any], provider_id: str, flavor: str = "default") -> Callable[[], object]:
    def price() -> object:
        found = extract_usage(body, provider_id=provider_id, api_flavor=flavor)
        model = found.model.id if found.model else ""
        return calc_price(found.usage, model, provider_id=provider_id, genai_request_timestamp=_AT)

    return price


def main() -> None:
    """Print the table."""
    context = default_context()
    decode, encode = msgspec.json.decode, msgspec.json.encode
    shapes: list[tuple[str, RawEvent, Callable[[], object] | None]] = [
        ("OpenAI chat, 700 bytes", _raw(provider="openai", response=_OPENAI), _peer(_OPENAI, "openai", "chat")),
        ("Anthropic with cache", _raw(provider="anthropic", response=_ANTHROPIC), _peer(_ANTHROPIC, "anthropic")),
        ("Gemini with thoughts", _raw(provider="gcp.gemini", response=_GEMINI), _peer(_GEMINI, "google")),
        ("OpenAI SSE, raw text", _raw(provider="openai", stream_text=_SSE), None),
    ]
    print("| shape | bytes | process, CPU µs | ÷ msgspec decode + encode | genai-prices ÷ process |")
    print("|---|---|---|---|---|")
    for name, raw, peer in shapes:
        assert isinstance(process(raw, context), PricedCall), process(raw, context)
        value = raw.value or b""
        ours_us = _cpu_us(lambda raw=raw: process(raw, context))  # type: ignore[misc]
        bare_us = _cpu_us(lambda value=value: encode(decode(value)))  # type: ignore[misc]
        peer_text = f"{_cpu_us(peer) / ours_us:.1f}×" if peer else "–"
        print(f"| {name} | {len(value)} | {ours_us:.1f} | {ours_us / bare_us:.1f}× | {peer_text} |")


if __name__ == "__main__":
    main()
