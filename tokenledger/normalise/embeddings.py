"""Embeddings, which bill input tokens only: OpenAI, Azure, Voyage, Jina, Together, vLLM and alike."""

from tokenledger.normalise import openai_chat
from tokenledger.normalise.leaves import carve_input
from tokenledger.normalise.reading import Body, Dialect, Exchange, Reading, count, part


def fits(body: Body, exchange: Exchange) -> bool:
    """A list of vectors with a usage object; the vectors may have been taken out."""
    usage = body.get("usage")
    if usage.__class__ is not dict or "choices" in body or "total_tokens" not in usage:
        return False
    if "output_tokens" in usage or "input_tokens" in usage:
        return False  # image APIs answer with a list, too
    return body.get("object") == "list" or exchange.api == "embeddings"


def read(body: Body, exchange: Exchange) -> Reading:
    """An embedding → its Reading. There is no output to count."""
    reading = openai_chat.start(body, exchange, "openai.embeddings", "embeddings")
    usage = dict(part(body, "usage", ""))
    reading.raw_usage = usage
    total = count(usage, "prompt_tokens", "usage")
    if total is None:
        total = count(usage, "total_tokens", "usage")
    if total is not None:
        # Voyage: `total_tokens` holds text tokens and, for pictures, one token per 560 pixels.
        text_tokens = count(usage, "text_tokens", "usage")
        image_tokens = total - text_tokens if text_tokens is not None and text_tokens < total else 0
        carve_input(reading, total, modalities={"image": image_tokens} if image_tokens else {})
    return reading


EMBEDDINGS = Dialect("openai.embeddings", fits, read, openai_chat.fold)
