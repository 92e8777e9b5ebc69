"""Result files of batch APIs: every line is one call at the batch price, named by its place in the container."""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from tokenledger.readers.found import Found, Place
from tokenledger.readers.redact import request_without_texts

_encode: Final = msgspec.json.Encoder(decimal_format="number").encode


class _Line(msgspec.Struct, gc=False):
    """One line of a result file of OpenAI, Azure, Mistral, Anthropic, Bedrock, Gemini or Vertex."""

    id: Any = None
    custom_id: Any = None
    recordId: Any = None  # noqa: N815 - Bedrock's spelling
    key: Any = None
    response: msgspec.Raw = msgspec.Raw()
    result: msgspec.Raw = msgspec.Raw()
    modelOutput: msgspec.Raw = msgspec.Raw()  # noqa: N815 - Bedrock's spelling
    request: Any = None
    error: Any = None


class _Reply(msgspec.Struct, gc=False):
    """OpenAI's `response`, Anthropic's `result`."""

    status_code: int | None = None
    body: msgspec.Raw = msgspec.Raw()
    type: str | None = None
    message: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


_line: Final = msgspec.json.Decoder(_Line)
_reply: Final = msgspec.json.Decoder(_Reply)


def is_batch(response: msgspec.Raw, request: msgspec.Raw) -> bool:
    """Whether a line with `response` and `request` is Vertex's batch output rather than an envelope."""
    return bool(request) and b'"contents"' in bytes(request) and b'"usageMetadata"' in bytes(response)


def results(value: bytes, place: Place) -> Iterator[Found]:
    """The call of one result line."""
    origin = place.origin
    try:
        result = _line.decode(value)
        envelope = _envelope(result)
    except msgspec.DecodeError:
        yield place.found(value, {})
        return
    if origin.provider:
        envelope.setdefault("provider", origin.provider)
    envelope |= {"processing": "batch", "container_id": origin.file_hash(), "container_part": place.line - 1}
    if isinstance(result.request, dict):
        envelope["request"] = request_without_texts(result.request) if origin.redact else result.request
    headers = {}
    if isinstance(result.id, str) and result.id:
        headers = {"ce_id": result.id.encode(), "ce_source": b"batch"}
    yield place.found(_encode(envelope), headers)


def _envelope(result: _Line) -> dict[str, Any]:
    if result.modelOutput:
        return {"provider": "aws.bedrock", "response": result.modelOutput}
    if result.result:
        return _anthropic(_reply.decode(result.result))
    if not result.response or bytes(result.response) == b"null":
        return {"error_type": "batch_error", "http_status": 400}
    reply = _reply.decode(result.response)
    if reply.body:
        return {"response": reply.body, "http_status": reply.status_code or 200}
    return {"response": result.response}


def _anthropic(reply: _Reply) -> dict[str, Any]:
    if reply.type == "succeeded" and reply.message:
        return {"provider": "anthropic", "api": "messages", "response": reply.message}
    # `errored`, `canceled` and `expired` requests are not billed.
    return {"provider": "anthropic", "api": "messages", "error_type": reply.type or "errored"}
