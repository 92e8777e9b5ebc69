"""Golden bodies of the OpenAI family against genai-prices, which extracts token counts by a table of its own."""

import json
from pathlib import Path
from typing import Any

import pytest
from genai_prices.data import providers

from tokenledger.normalise import normalise
from tokenledger.records import Call, RawEvent

GOLDEN = Path(__file__).parent.parent / "golden" / "calls"
ORACLES = {provider.id: provider for provider in providers}
NAMES = {
    "azure": "azure",
    "cerebras": "cerebras",
    "deepseek": "deepseek",
    "groq": "groq",
    "moonshot": "moonshotai",
    "openai": "openai",
    "openrouter": "openrouter",
    "perplexity": "perplexity",
    "xai": "x-ai",
    "z.ai": "zai",
}
FLAVOURS = {"chat": "chat", "responses": "responses", "embeddings": "embeddings", "images": "images"}

WHERE_OURS_IS_RIGHT = {
    "deepseek_without_details": "the oracle reads prompt_tokens_details only; prompt_cache_hit_tokens says the same",
    "folded_by_a_proxy": "the oracle adds reasoning by provider name; the total says that it is inside already",
    "image_generation_tool": "the oracle leaves the image tool's tokens out",
    "run_completed": "the oracle does not know the singular prompt_token_details of the Assistants API",
}


def whole_bodies() -> list[Path]:
    """Golden cases with a whole JSON reply and usage that the oracle has a table for, and that are not refused."""
    found = []
    for path in sorted(GOLDEN.glob("*/*.json")):
        case = json.loads(path.read_text())
        body = case["envelope"].get("response")
        usage = body.get("usage") if isinstance(body, dict) else None
        known = case["envelope"].get("provider") in NAMES and "rejected" not in case["expected"]
        if path.parent.name != "openai_audio" and usage and known and {"prompt_tokens", "input_tokens"} & usage.keys():
            found.append(path)
    return found


def oracle(envelope: dict[str, Any], call: Call) -> tuple[int, int, int, int]:
    """Input, output, cache-read and reasoning tokens as genai-prices extracts them."""
    provider = ORACLES[NAMES[envelope["provider"]]]
    if call.provider == "x_ai":
        provider = ORACLES["x-ai"]
    flavours = [extractor.api_flavor for extractor in provider.extractors or ()]
    flavour = FLAVOURS.get(call.api or "", "chat")
    body = {"model": "any", **envelope["response"]}
    _, usage = provider.extract_usage(body, api_flavor=flavour if flavour in flavours else flavours[0])
    names = ("input_tokens", "output_tokens", "cache_read_tokens", "output_reasoning_tokens")
    return tuple(getattr(usage, name, None) or 0 for name in names)  # type: ignore[return-value]


@pytest.mark.parametrize("path", whole_bodies(), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_golden_body_is_counted_as_the_oracle_counts_it(path: Path) -> None:
    case = json.loads(path.read_text())
    headers = {"ce_id": b"1", "ce_tenantid": b"acme"}
    call = normalise(RawEvent(value=json.dumps(case["envelope"]).encode(), headers=headers))
    assert isinstance(call, Call)

    cached = sum(tokens for meter, tokens in call.usage.items() if meter.endswith(".cache_read"))
    ours = (call.input_tokens or 0, call.output_tokens or 0, cached, call.usage.get("output.reasoning", 0))

    if path.stem in WHERE_OURS_IS_RIGHT:
        assert ours != oracle(case["envelope"], call)
    else:
        assert ours == oracle(case["envelope"], call)
