"""One line of an OpenAI, Azure, Groq or Mistral batch result: the reply of one call, at batch price."""

from typing import Final

from tokenledger.normalise import embeddings, images, openai_chat, openai_responses
from tokenledger.normalise.errors import is_error, read_error
from tokenledger.normalise.reading import BadRecordError, Body, Dialect, Exchange, Reading
from tokenledger.records.reasons import Reason

_INSIDE: Final = (
    openai_responses.RESPONSES,
    embeddings.EMBEDDINGS,
    openai_chat.COMPLETIONS,
    openai_chat.CHAT,
    images.IMAGES,
)


def fits(body: Body, _exchange: Exchange) -> bool:
    """The caller's own id beside a response with its body."""
    return "custom_id" in body and ("response" in body or "error" in body)


def read(body: Body, exchange: Exchange) -> Reading:
    """A batch result's line → the Reading of the reply inside, processed as `batch`."""
    response = body.get("response")
    inner = response.get("body") if response.__class__ is dict else None
    if inner.__class__ is not dict:
        reading = read_error(body, exchange)
    elif is_error(inner, exchange):
        reading = read_error(inner, exchange)
    else:
        reading = _read_inside(inner, exchange)
    reading.processing = "batch"
    return reading


def _read_inside(body: Body, exchange: Exchange) -> Reading:
    for dialect in _INSIDE:
        if dialect.fits(body, exchange):
            return dialect.read(body, exchange)
    detail = f"no known API answers with the fields {sorted(body)[:12]}"
    raise BadRecordError(Reason.UNKNOWN_SHAPE, "response.response.body", detail)


BATCH = Dialect("openai.batch", fits, read, openai_chat.fold)
