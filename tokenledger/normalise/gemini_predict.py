"""Gemini and Vertex AI embeddings and `:predict`, and their answers that are no model calls."""

from typing import Final

from tokenledger.normalise.gemini import place
from tokenledger.normalise.leaves import carve_input
from tokenledger.normalise.proto_json import whole
from tokenledger.normalise.reading import BadRecordError, Body, Dialect, Exchange, Reading, last_of, part, text
from tokenledger.records.reasons import Reason

_NOT_CALLS: Final = ("models", "cachedContents", "files", "file", "operations", "tunedModels", "publisherModels")


def _is_embedding(body: Body, exchange: Exchange) -> bool:
    if "candidates" in body:
        return False
    if "embedding" in body or "embeddings" in body:
        return True
    named = exchange.api == "embeddings" or "mbedContent" in exchange.url
    usage = body.get("usageMetadata", body.get("usage_metadata"))
    return isinstance(usage, dict) and (named or "promptTokenDetails" in usage)


def _read_embedding(body: Body, exchange: Exchange) -> Reading:
    """embedContent, batchEmbedContents and their older forms, which report no usage."""
    reading = Reading(usage_reading="gemini.embeddings", api="embeddings")
    place(reading, exchange)
    usage = part(body, "usageMetadata", "") or part(body, "usage_metadata", "")
    for name in ("promptTokenCount", "prompt_token_count", "totalTokenCount"):
        tokens = whole(usage, name, "usageMetadata")
        if tokens is not None:
            reading.raw_usage = dict(usage)
            carve_input(reading, tokens, path="usageMetadata")
            return reading
    _count_characters(reading, body)
    return reading


def _count_characters(reading: Reading, body: Body) -> None:
    """Characters are what an older embedding is billed by; they count where no tokens are stated."""
    metadata = part(body, "metadata", "")
    characters = whole(metadata, "billableCharacterCount", "metadata")
    if characters is not None:
        reading.raw_usage = dict(metadata)
        reading.usage = {"character": characters}
        reading.explicit_leaves = 1


def _is_prediction(body: Body, _exchange: Exchange) -> bool:
    predictions = body.get("predictions")
    return isinstance(predictions, list) and all(isinstance(row, dict) for row in predictions)


def _read_prediction(body: Body, exchange: Exchange) -> Reading:
    """Vertex `:predict`: embeddings count their tokens one by one; pictures are counted."""
    found = body.get("predictions")
    rows = [row for row in found if row.__class__ is dict] if found.__class__ is list else []
    reading = Reading(usage_reading="vertex.predict", api="embeddings", response_model=text(body, "modelDisplayName"))
    place(reading, exchange)
    pictures = sum(str(row.get("mimeType", "")).startswith("image/") for row in rows)
    if pictures:
        reading.api, reading.usage_source = "images", "counted"
        reading.usage, reading.raw_usage = {"image": pictures}, {"images": pictures}
        return reading
    statistics = [part(part(row, "embeddings", "predictions"), "statistics", "predictions") for row in rows]
    stated = [whole(row, "token_count", "predictions.statistics") for row in statistics]
    tokens = [counted for counted in stated if counted is not None]
    if tokens:
        reading.raw_usage = {"token_count": tokens, "metadata": part(body, "metadata", "")}
        carve_input(reading, sum(tokens), path="predictions.statistics")
    else:
        _count_characters(reading, body)
    return reading


def _is_no_call(body: Body, _exchange: Exchange) -> bool:
    """countTokens, a list of models or files, a cache that was made."""
    if "candidates" in body or "predictions" in body:
        return False
    if "totalTokens" in body or "total_tokens" in body or "tokensInfo" in body:
        return True
    return str(body.get("name", "")).startswith(_NOT_CALLS) or any(name in body for name in _NOT_CALLS)


def _refuse(body: Body, _exchange: Exchange) -> Reading:
    detail = f"an answer with the fields {sorted(body)[:6]}, no model call; generated content would be right"
    raise BadRecordError(Reason.NOT_A_CALL, "response", detail)


EMBED: Final = Dialect("gemini.embeddings", _is_embedding, _read_embedding, last_of(_is_embedding))
PREDICT: Final = Dialect("vertex.predict", _is_prediction, _read_prediction, last_of(_is_prediction))
NO_CALL: Final = Dialect("gemini.no_call", _is_no_call, _refuse, last_of(_is_no_call))
