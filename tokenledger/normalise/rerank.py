"""Rerank replies that bill tokens: Voyage, Jina, Together and what is shaped like them."""

from typing import Final

from tokenledger.normalise.leaves import carve_input
from tokenledger.normalise.reading import Body, Dialect, Exchange, Reading, count, last_of, text


def fits(body: Body, exchange: Exchange) -> bool:
    """Scored rows, or a reply of a model or URL that says rerank."""
    if "choices" in body or "meta" in body:
        return False
    if exchange.api == "rerank" or body.get("object") == "rerank" or "/rerank" in exchange.url:
        return True
    rows = body.get("results") or body.get("data")
    first = rows[0] if isinstance(rows, list) and rows else None
    if isinstance(first, dict) and ("relevance_score" in first or "relevanceScore" in first):
        return True
    return "usage" in body and "rerank" in str(body.get("model", ""))


def read(body: Body, _exchange: Exchange) -> Reading:
    """A rerank reply → its Reading; queries and documents are input, there is no output."""
    reading = Reading(
        usage_reading="rerank.tokens", api="rerank", response_id=text(body, "id"), response_model=text(body, "model")
    )
    usage = body.get("usage")
    if isinstance(usage, dict):
        tokens = count(usage, "total_tokens", "usage")
        tokens = count(usage, "prompt_tokens", "usage") if tokens is None else tokens
        if tokens is not None:
            reading.raw_usage = usage
            carve_input(reading, tokens)
    return reading


REPLY: Final = Dialect("rerank", fits, read, last_of(fits))
