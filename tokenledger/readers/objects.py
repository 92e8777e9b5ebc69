"""One JSON value of a file → the records in it, told apart by the fields it has, never by the file's name.

Values travel undecoded where they can: `msgspec.Raw` fields are slices of the line.
"""

import base64
import binascii
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import msgspec

from tokenledger.normalise.litellm import PAYLOAD_TYPE
from tokenledger.readers import batch, har, otlp
from tokenledger.readers.found import Found, Origin, Place
from tokenledger.readers.vcr import interactions
from tokenledger.records.raw import RawEvent

_NONE: Final = msgspec.Raw()


class _Shape(msgspec.Struct, gc=False):
    """The top-level fields that tell one kind of record from another."""

    specversion: msgspec.Raw = _NONE
    id: msgspec.Raw = _NONE
    source: msgspec.Raw = _NONE
    type: msgspec.Raw = _NONE
    time: msgspec.Raw = _NONE
    tenantid: msgspec.Raw = _NONE
    sequence: msgspec.Raw = _NONE
    data: msgspec.Raw = _NONE
    data_base64: msgspec.Raw = _NONE
    headers: msgspec.Raw = _NONE
    append_at_us: msgspec.Raw = _NONE
    custom_id: msgspec.Raw = _NONE
    recordId: msgspec.Raw = _NONE  # noqa: N815 - Bedrock's spelling
    modelOutput: msgspec.Raw = _NONE  # noqa: N815 - Bedrock's spelling
    resourceSpans: msgspec.Raw = _NONE  # noqa: N815 - OTLP's spelling
    resource_spans: msgspec.Raw = _NONE
    log: msgspec.Raw = _NONE
    interactions: msgspec.Raw = _NONE
    response: msgspec.Raw = _NONE
    request: msgspec.Raw = _NONE
    events: msgspec.Raw = _NONE
    response_text: msgspec.Raw = _NONE
    stream_text: msgspec.Raw = _NONE
    provider: msgspec.Raw = _NONE
    url: msgspec.Raw = _NONE
    cache_hit: msgspec.Raw = _NONE
    http_status: msgspec.Raw = _NONE
    error_type: msgspec.Raw = _NONE
    custom_llm_provider: msgspec.Raw = _NONE
    response_cost: msgspec.Raw = _NONE
    call_type: msgspec.Raw = _NONE
    litellm_call_id: msgspec.Raw = _NONE
    attributes: msgspec.Raw = _NONE
    name: msgspec.Raw = _NONE
    done: msgspec.Raw = _NONE
    usage: msgspec.Raw = _NONE


_shape: Final = msgspec.json.Decoder(_Shape)
_text: Final = msgspec.json.Decoder(str)
_any: Final = msgspec.json.Decoder()
_ATTRIBUTES: Final = ("id", "source", "type", "time", "tenantid", "sequence")


class _PlainEvent(msgspec.Struct, gc=False):
    """A structured CloudEvent whose attributes are texts, as nearly all are."""

    specversion: str
    id: str
    data: msgspec.Raw
    source: str = ""
    type: str = ""
    time: str = ""
    tenantid: str = ""
    sequence: str = ""
    data_base64: msgspec.UnsetType = msgspec.UNSET


_plain_event: Final = msgspec.json.Decoder(_PlainEvent)


def records_of_lines(lines: Iterable[tuple[int, bytes]], origin: Origin) -> Iterator[Found]:
    """The records of a file of JSON lines. Plain CloudEvents, the bulk of large files, take the short way."""
    source_file, modified_at_us, decode = origin.source_file, origin.modified_at_us, _plain_event.decode
    for number, line in lines:
        try:
            event = decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            yield from records_of(line, origin.at(number))
            continue
        value = bytes(event.data)
        if not event.id or not event.type or value == b"null":
            yield from records_of(line, origin.at(number))
            continue
        headers = {
            "ce_id": event.id.encode(),
            "ce_type": event.type.encode(),
            "ce_tenantid": event.tenantid.encode() or origin.tenant_id,
        }
        if event.source:
            headers["ce_source"] = event.source.encode()
        if event.time:
            headers["ce_time"] = event.time.encode()
        if event.sequence:
            headers["ce_sequence"] = event.sequence.encode()
        raw = RawEvent(value=value, headers=headers, offset=number, append_at_us=modified_at_us)
        yield Found(source_file, number, raw)


def records_of(value: bytes, place: Place) -> Iterator[Found]:
    """The records in one JSON value: none in an empty array, one in a reply, many in a container."""
    try:
        shape = _shape.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        yield from _no_object(value, place)
        return
    if shape.specversion:
        yield _cloud_event(shape, value, place=place)
    elif shape.append_at_us and shape.headers:
        yield _journalled(value, place)
    elif shape.response or shape.response_text or shape.events or shape.stream_text:
        yield from _with_reply(shape, value, place=place)
    else:
        yield from _other(shape, value, place=place)


def _with_reply(shape: _Shape, value: bytes, *, place: Place) -> Iterator[Found]:
    if shape.custom_id or batch.is_batch(shape.response, shape.request):
        yield from batch.results(value, place)
    elif shape.done:  # Ollama's /api/generate answers under "response"
        yield place.found(place.origin.reply(value), {})
    else:
        yield place.found(value, {})


def _other(shape: _Shape, value: bytes, *, place: Place) -> Iterator[Found]:
    split = _CONTAINERS.get(next((name for name in _CONTAINERS if getattr(shape, name)), ""))
    if split:
        yield from split(value, place)
    elif shape.custom_llm_provider or (shape.response_cost and shape.call_type):
        yield place.found(value, _litellm_headers(shape))
    elif shape.attributes and shape.name:
        yield otlp.span_record(value, _any.decode(value), place=place)
    elif (shape.provider or shape.url) and (shape.cache_hit or shape.http_status or shape.error_type):
        yield place.found(value, {})  # an envelope whose call brought no reply
    else:
        yield place.found(place.origin.reply(value), {})


def _litellm_headers(shape: _Shape) -> dict[str, bytes]:
    """LiteLLM's own id of the call survives re-delivery."""
    headers = {"ce_type": PAYLOAD_TYPE.encode()}
    identity = _attribute(bytes(shape.litellm_call_id)) if shape.litellm_call_id else b""
    return headers | {"ce_id": identity, "ce_source": b"litellm"} if identity else headers


def _no_object(value: bytes, place: Place) -> Iterator[Found]:
    """An array holds records, or the chunks of one stream; anything else is what `process` makes of it."""
    try:
        elements = msgspec.json.decode(value, type=list[msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        yield place.found(value, {})
        return
    if elements and is_stream_chunk(bytes(elements[0])):
        yield place.found(place.origin.reply(value), {})
        return
    for index, element in enumerate(elements):
        yield from records_of(bytes(element), place._replace(part=index))


def is_stream_chunk(value: bytes) -> bool:
    """Whether this is one chunk of a longer answer: Gemini's array, Ollama's and Cohere's NDJSON, OpenAI's chunks."""
    try:
        chunk = _any.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    if not isinstance(chunk, dict):
        return False
    if "done" in chunk:
        return not chunk["done"]
    if "is_finished" in chunk and "event_type" in chunk:
        return not chunk["is_finished"]
    return str(chunk.get("object", "")).endswith(".chunk") or _is_gemini_chunk(chunk)


def _is_gemini_chunk(chunk: dict[str, Any]) -> bool:
    candidates = chunk.get("candidates")
    if not isinstance(candidates, list) or not candidates or not isinstance(candidates[0], dict):
        return False
    return "finishReason" not in candidates[0]


def _cloud_event(shape: _Shape, value: bytes, *, place: Place) -> Found:
    """A structured CloudEvent as what binary mode would have carried: attributes as headers, data as value."""
    headers: dict[str, bytes] = {}
    for name in _ATTRIBUTES:
        raw: msgspec.Raw = getattr(shape, name)
        if raw and (attribute := _attribute(bytes(raw))):
            headers["ce_" + name] = attribute
    if shape.data_base64:
        try:
            return place.found(base64.b64decode(_text.decode(shape.data_base64), validate=True), headers)
        except (msgspec.DecodeError, binascii.Error, UnicodeDecodeError):
            return place.found(value, headers)
    data = bytes(shape.data)
    return place.found(None if data == b"null" else data, headers)


def _attribute(raw: bytes) -> bytes:
    """A JSON string without escapes is its own bytes between the quotes; a number is its digits; null is nothing."""
    if raw[:1] == b'"':
        if b"\\" not in raw:
            return raw[1:-1]
        try:
            return _text.decode(raw).encode()
        except (msgspec.DecodeError, UnicodeError):
            return raw
    return b"" if raw == b"null" else raw


class Journalled(msgspec.Struct, gc=False, omit_defaults=True):
    """One acknowledged record: what `send --journal` writes and readers give back to the byte."""

    topic: str
    """Topic."""
    partition: int
    """Partition."""
    offset: int
    """Offset."""
    append_at_us: int
    """The broker's append time, µs UTC."""
    headers: dict[str, str]
    """Headers."""
    n: int | None = None
    """Number of the record in the run that sent it, from 0."""
    key: str | None = None
    """Key."""
    value: str | None = None
    """Value, where it is UTF-8; None with no `value_base64` is a tombstone."""
    value_base64: str | None = None
    """Value, where it is not UTF-8."""


_journal_line: Final = msgspec.json.Decoder(Journalled)


def _journalled(value: bytes, place: Place) -> Found:
    """The record as the stream sees it: same headers, origin and append time, so the same price."""
    try:
        record = _journal_line.decode(value)
        sent = base64.b64decode(record.value_base64) if record.value_base64 is not None else record.value
    except (msgspec.DecodeError, binascii.Error):
        return place.found(value, {})
    raw = RawEvent(
        value=sent.encode() if isinstance(sent, str) else sent,
        headers={name: text.encode() for name, text in record.headers.items()},
        key=None if record.key is None else record.key.encode(),
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        append_at_us=record.append_at_us,
    )
    return Found(place.origin.source_file, place.line, raw)


_CONTAINERS: Final[dict[str, Callable[[bytes, Place], Iterator[Found]]]] = {
    "resourceSpans": otlp.spans,
    "resource_spans": otlp.spans,
    "log": har.entries,
    "interactions": interactions,
    "custom_id": batch.results,
    "modelOutput": batch.results,
}
