"""HAR files (HTTP Archive 1.2): every entry is one record, with the times the browser or proxy measured."""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from tokenledger.readers.exchange import Exchange, base64_or_none, envelope_of, time_us
from tokenledger.readers.found import Found, Place, UnreadableError


class _Text(msgspec.Struct):
    text: str | None = None
    encoding: str | None = None


class _Header(msgspec.Struct):
    name: str = ""
    value: str = ""


class _Request(msgspec.Struct):
    url: str = ""
    postData: _Text | None = None  # noqa: N815 - HAR's spelling


class _Response(msgspec.Struct):
    status: int | None = None
    headers: list[_Header] = []
    content: _Text = msgspec.field(default_factory=_Text)


class _Entry(msgspec.Struct):
    request: _Request = msgspec.field(default_factory=_Request)
    response: _Response = msgspec.field(default_factory=_Response)
    startedDateTime: str | None = None  # noqa: N815 - HAR's spelling
    time: float | None = None


class _Log(msgspec.Struct):
    entries: list[Any]


class _Har(msgspec.Struct):
    log: _Log


_har: Final = msgspec.json.Decoder(_Har)
_MS: Final = 1000


def entries(value: bytes, place: Place) -> Iterator[Found]:
    """The entries of a HAR file. Raises UnreadableError where `log` holds none."""
    try:
        listed = _har.decode(value).log.entries
    except msgspec.ValidationError:
        raise UnreadableError(
            "unknown_format", "an object `log` without a list `entries`; a HAR would be right"
        ) from None
    for ordinal, entry in enumerate(listed, 1):
        exchange = _exchange(entry)
        body, headers = envelope_of(exchange, capture=not place.origin.redact)
        yield place._replace(line=ordinal).found(body, headers)


def _exchange(recorded: Any) -> Exchange:
    try:
        entry = msgspec.convert(recorded, _Entry)
    except msgspec.ValidationError:
        entry = _Entry()  # without a reply: `process` says so
    started_at_us = time_us(entry.startedDateTime)
    lasted_us = None if entry.time is None or entry.time < 0 else round(entry.time * _MS)
    return Exchange(
        url=entry.request.url,
        request_body=_bytes(entry.request.postData),
        status=entry.response.status,
        headers={header.name.lower(): header.value for header in entry.response.headers},
        body=_bytes(entry.response.content),
        started_at_us=started_at_us,
        ended_at_us=None if started_at_us is None or lasted_us is None else started_at_us + lasted_us,
    )


def _bytes(content: _Text | None) -> bytes:
    if content is None or content.text is None:
        return b""
    decoded = base64_or_none(content.text) if content.encoding == "base64" else None
    return decoded if decoded is not None else content.text.encode(errors="replace")
