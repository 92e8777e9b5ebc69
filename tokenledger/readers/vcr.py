"""VCR cassettes (vcrpy's YAML and JSON, Ruby's VCR): every interaction is one record, model call or not."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
import yaml

from tokenledger.readers.exchange import Exchange, base64_or_none, envelope_of, time_us
from tokenledger.readers.found import Found, Origin, Place, UnreadableError

_Loader: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def cassette(content: bytes, origin: Origin) -> Iterator[Found]:
    """The interactions of a YAML cassette. Raises UnreadableError where it is none."""
    try:
        recorded = yaml.load(content, _Loader)  # noqa: S506 - a safe loader, in C where it was built
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise UnreadableError("invalid_yaml", _where(error)) from None
    yield from _interactions(recorded, origin.at(0))


def interactions(value: bytes, place: Place) -> Iterator[Found]:
    """The interactions of a JSON cassette."""
    yield from _interactions(msgspec.json.decode(value), place)


def _where(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    place = f"line {mark.line + 1}" if mark else "the file"
    return f"{place}: {getattr(error, 'problem', None) or type(error).__name__}"


def _interactions(recorded: Any, place: Place) -> Iterator[Found]:
    listed = None
    if isinstance(recorded, dict):
        listed = recorded.get("interactions") or recorded.get("http_interactions")
    if not isinstance(listed, list):
        raise UnreadableError("unknown_format", "YAML without a list `interactions`; a VCR cassette would be right")
    for ordinal, interaction in enumerate(listed, 1):
        value, headers = envelope_of(_exchange(interaction), capture=not place.origin.redact)
        spot = place._replace(part=ordinal) if place.line else place._replace(line=ordinal)
        yield spot.found(value, headers)


def _exchange(interaction: Any) -> Exchange:
    """Whatever is missing or of another type is left out; `process` then says what the record is not."""
    request, response = _mapping(interaction, "request"), _mapping(interaction, "response")
    status = response.get("status")
    code = status.get("code") if isinstance(status, dict) else response.get("status_code")
    return Exchange(
        url=str(request.get("uri") or request.get("url") or ""),
        request_body=_body(request.get("body")),
        status=code if isinstance(code, int) else None,
        headers=_headers(response.get("headers")),
        body=_body(response.get("body") if "body" in response else response.get("content")),
        started_at_us=time_us(interaction.get("recorded_at")) if isinstance(interaction, dict) else None,
    )


def _mapping(holder: Any, name: str) -> dict[str, Any]:
    value = holder.get(name) if isinstance(holder, dict) else None
    return value if isinstance(value, dict) else {}


def _body(body: Any) -> bytes:
    if isinstance(body, dict):
        encoded = base64_or_none(body.get("base64_string"))
        return encoded if encoded is not None else _body(body.get("string"))
    if isinstance(body, bytes):
        return body
    return body.encode(errors="replace") if isinstance(body, str) else b""


def _headers(headers: Any) -> Mapping[str, str]:
    """Recorders keep a list per name; the last one holds."""
    if not isinstance(headers, dict):
        return {}
    return {str(name).lower(): _last(value) for name, value in headers.items()}


def _last(value: Any) -> str:
    if isinstance(value, list):
        return _last(value[-1]) if value else ""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
