"""What genai-prices makes of a recorded exchange: its own extraction and its own price, told only URL and bytes.

Nothing here asks our normaliser: the provider and API flavour are known by the URL, a stream is folded by the few lines
below, and counts are what the library's own table of paths finds.
"""

import base64
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple
from urllib.parse import unquote

import genai_prices
from genai_prices.data import providers
from genai_prices.types import Usage

PROVIDERS = {provider.id: provider for provider in providers}


class Route(NamedTuple):
    """Where to look for one API's usage."""

    url: str
    """Pattern of its URLs."""
    provider: str
    """Provider id whose prices apply; one that it does not know has none."""
    flavour: str
    """API flavour of the table."""
    table: str = ""
    """Provider id of the table, where the provider has none and answers in another one's words."""


ROUTES = (
    Route(r"//api\.openai\.com/.*/(chat/completions|completions|runs)\b", "openai", "chat"),
    Route(r"//api\.openai\.com/.*/responses\b", "openai", "responses"),
    Route(r"//api\.openai\.com/.*/embeddings\b", "openai", "embeddings"),
    Route(r"//api\.openai\.com/.*/images/", "openai", "images"),
    Route(r"\.openai\.azure\.com/.*/completions\b", "azure", "chat"),
    Route(r"\.openai\.azure\.com/.*/embeddings\b", "azure", "embeddings"),
    Route(r"//api\.anthropic\.com/", "anthropic", "default"),
    Route(r"//bedrock-runtime\..*/model/[^/]*anthropic[^/]*/invoke", "aws", "anthropic"),
    Route(r"//bedrock-runtime\..*/model/[^/]*endpoint[^/]*/invoke", "aws", "chat", "openai"),
    Route(r"//bedrock-runtime\.", "aws", "default"),
    Route(r"//generativelanguage\.googleapis\.com/", "google", "default"),
    Route(r"//api\.cohere\.(ai|com)/.*/embed\b", "cohere", "embeddings"),
    Route(r"//api\.cohere\.(ai|com)/", "cohere", "default"),
    Route(r"//api\.mistral\.ai/", "mistral", "default"),
    Route(r"//api\.groq\.com/", "groq", "default"),
    Route(r"//api\.deepseek\.com/", "deepseek", "chat"),
    Route(r"//api\.together\.xyz/", "together", "chat", "openai"),
    Route(r"//api\.writer\.com(:443)?/", "writer", "chat", "openai"),
    Route(r"//localhost:\d+/v1/.*completions\b", "unknown", "chat", "openai"),
    Route(r"//localhost:\d+/v1/embeddings\b", "unknown", "embeddings", "openai"),
)
"""The first that fits. genai-prices has no table for the native replies of the other providers of the recordings."""

COMPARED = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "output_reasoning_tokens")
_MODEL_IN_URL = re.compile(r"/model/([^/]+)/|/models/([^/:]+):")
_HOLDERS = ("message", "response", "delta", "x_groq", "metadata")
_PICO = Decimal(10) ** 12


class Opinion(NamedTuple):
    """What genai-prices finds in one exchange."""

    provider: str
    """Its provider id."""
    counts: dict[str, int]
    """`COMPARED` → tokens."""
    usage: Usage
    """The same in its own words, to be priced."""
    model: str | None
    """The model of the reply, else of the request."""

    def price_usd_pico(self, at_us: int) -> Decimal | None:
        """Its price at that time without any context; None where it has none."""
        if self.model is None:
            return None
        moment = datetime.fromtimestamp(at_us // 1_000_000, UTC)
        try:
            priced = genai_prices.calc_price(
                self.usage, self.model, provider_id=self.provider, genai_request_timestamp=moment
            )
        except LookupError:
            return None
        return priced.total_price * _PICO


def opinion_of(envelope: dict[str, Any]) -> Opinion | None:
    """Its reading of a reply; None where it has no table for the API, or the table finds no usage."""
    route = next((route for route in ROUTES if re.search(route.url, envelope["url"])), None)
    body = reply_of(envelope)
    if route is None or body is None:
        return None
    if "meta" in body and route.flavour == "default":  # Cohere's v1 keeps under `meta` what its v2 keeps under `usage`
        body = body | {"usage": body["meta"]}
    try:
        table = PROVIDERS[route.table or route.provider]
        _, usage = table.extract_usage({"model": "unnamed", **body}, api_flavor=route.flavour)
    except ValueError:
        return None
    counts = {name: int(getattr(usage, name, None) or 0) for name in COMPARED}
    return Opinion(route.provider, counts, usage, _model(envelope, body))


def _model(envelope: dict[str, Any], body: dict[str, Any]) -> str | None:
    in_url = _MODEL_IN_URL.search(envelope["url"])
    asked = unquote(in_url[1] or in_url[2]) if in_url else (envelope.get("request") or {}).get("model")
    named = body.get("model") or body.get("modelVersion")
    return asked if in_url and "bedrock" in envelope["url"] else named or asked


def reply_of(envelope: dict[str, Any]) -> dict[str, Any] | None:
    """The JSON body, or what the events of a stream say last."""
    body = envelope.get("response")
    if body is not None:
        return body if isinstance(body, dict) else None
    if "events" in envelope or "stream_text" in envelope:
        return _fold(_events(envelope))
    return None


def _events(envelope: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for event in envelope.get("events") or ():
        data = event["data"]
        yield json.loads(base64.b64decode(data["bytes"])) if "bytes" in data else data
    for line in (envelope.get("stream_text") or "").splitlines():
        text = line.removeprefix("data:").strip()
        if text.startswith("{"):
            yield json.loads(text)


def _fold(events: Iterator[dict[str, Any]]) -> dict[str, Any]:
    """The last word on each count, as the providers' streaming documents have it: never a sum."""
    body: dict[str, Any] = {}
    for event in events:
        holders = [event, *(event[name] for name in _HOLDERS if event.get(name))]
        for holder in holders:
            if not isinstance(holder, dict):
                continue
            for name in ("usage", "usageMetadata", "meta"):
                stated = {key: value for key, value in (holder.get(name) or {}).items() if value is not None}
                if stated:
                    body[name] = body.get(name, {}) | stated
            if holder.get("model"):
                body["model"] = holder["model"]
    return body
