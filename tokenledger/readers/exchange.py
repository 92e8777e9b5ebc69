"""One recorded HTTP exchange → a call envelope: URL, what matters of request and headers, and the reply's body."""

import base64
import gzip
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import msgspec

from tokenledger.normalise.aws_eventstream import read_frames
from tokenledger.normalise.reading import BadRecordError
from tokenledger.readers.redact import request_without_texts, url_without_secrets

_KEPT_HEADERS: Final = ("x-amzn-bedrock-", "openai-processing-ms", "x-envoy-upstream-service-time", "server-timing",
                        "x-inference-time", "x-compute-time", "x-request-id", "request-id")  # fmt: skip
_EVENT_STREAM: Final = "application/vnd.amazon.eventstream"
_MAX_BODY_BYTES: Final = 256 << 20
_encode: Final = msgspec.json.Encoder(decimal_format="number").encode
# Numbers stay as the provider wrote them.
_decode: Final = msgspec.json.Decoder(msgspec.Raw).decode


class Exchange(msgspec.Struct, kw_only=True):
    """Request and response as a recorder kept them; header names in lower case."""

    url: str
    """Request URL."""
    request_body: bytes = b""
    """Request body."""
    status: int | None = None
    """HTTP status."""
    headers: Mapping[str, str] = {}
    """Response headers."""
    body: bytes = b""
    """Response body, possibly still compressed."""
    started_at_us: int | None = None
    """When it was sent, where the recorder says so."""
    ended_at_us: int | None = None
    """When the last byte came."""


def envelope_of(exchange: Exchange, *, capture: bool = False) -> tuple[bytes, dict[str, bytes]]:
    """The envelope's bytes, and headers with the reply's date as `ce_time`."""
    envelope: dict[str, Any] = {"url": url_without_secrets(exchange.url), "http_status": exchange.status}
    request = _json_object(exchange.request_body)
    if request:
        envelope["request"] = request if capture else request_without_texts(request)
    if kept := {name: text for name, text in exchange.headers.items() if name.startswith(_KEPT_HEADERS)}:
        envelope["response_headers"] = kept
    envelope |= _reply(exchange)
    if exchange.started_at_us is not None:
        envelope["started_at_us"] = exchange.started_at_us
    if exchange.ended_at_us is not None:
        envelope["ended_at_us"] = exchange.ended_at_us
    stated = {name: value for name, value in envelope.items() if value is not None}
    date = _date(exchange.headers.get("date"))
    return _encode(stated), {"ce_time": date} if date else {}


def _reply(exchange: Exchange) -> dict[str, Any]:
    body = uncompressed(exchange.body, exchange.headers.get("content-encoding", ""))
    content_type = exchange.headers.get("content-type", "").lower()
    if content_type.startswith(_EVENT_STREAM):
        return _frames(body)
    text = body.decode(errors="replace")
    stripped = text.lstrip()
    if "event-stream" in content_type or stripped.startswith(("data:", "event:", ":")):
        return {"stream_text": text}
    if "ndjson" in content_type or "stream+json" in content_type:
        return {"stream_text": text}
    try:
        return {"response": _decode(body)}
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {"stream_text": text} if stripped.startswith("{") and "\n{" in text else {"response_text": text}


def _frames(body: bytes) -> dict[str, Any]:
    try:
        events = read_frames(body)
    except BadRecordError:
        return {"stream_text": body.decode(errors="replace")}  # `process` names the reason
    return {"events": [{"event": event.name, "data": event.data} for event in events]}


def uncompressed(body: bytes, encoding: str) -> bytes:
    """The body as its reader saw it. Recorders differ in whether they unpack, so the bytes decide before the header."""
    try:
        if body[:2] == b"\x1f\x8b":
            return gzip.decompress(body)
        if encoding == "deflate":
            return zlib.decompress(body)
    except (OSError, EOFError, zlib.error):
        return body
    return body


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        decoded = msgspec.json.decode(body) if body else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return decoded if isinstance(decoded, dict) else {}


def _date(text: str | None) -> bytes | None:
    """RFC 1123 → RFC 3339; the date of the reply is when the call ended, to the second."""
    if not text:
        return None
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    return moment.astimezone(UTC).isoformat().encode()


def time_us(text: object) -> int | None:
    """RFC 3339 → µs UTC; None where it is no time with a zone."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return None if moment.tzinfo is None else int(moment.timestamp() * 1000) * 1000


def base64_or_none(text: object) -> bytes | None:
    """Decoded base64, or None."""
    try:
        return base64.b64decode(text, validate=True) if isinstance(text, (str, bytes)) else None
    except ValueError:
        return None
