"""Any bytes → a Call or a Rejected, never an exception."""

from typing import Any, Final

from tokenledger.normalise.assemble import assemble, clean_header
from tokenledger.normalise.aws_eventstream import is_eventstream, read_recorded
from tokenledger.normalise.dialects import dialect_of_body, dialect_of_stream
from tokenledger.normalise.envelope import ENVELOPE_TYPE, Envelope, decode_envelope, decode_json
from tokenledger.normalise.errors import is_error, read_error
from tokenledger.normalise.logs import LOG_TYPES
from tokenledger.normalise.providers import find_provider, provider_of_url
from tokenledger.normalise.reading import BadRecordError, Event, Exchange, Reading
from tokenledger.normalise.streams import event_data, read_stream
from tokenledger.records.call import Call
from tokenledger.records.raw import RawEvent
from tokenledger.records.reasons import Anomaly, Reason
from tokenledger.records.rejected import Rejected

MAX_RECORD_BYTES: Final = 4 * 1024 * 1024
"""Larger records are rejected: a reply without texts is a few kilobytes."""


def normalise(raw: RawEvent) -> Call | Rejected:
    """One raw record, understood or refused. Total over any bytes and headers."""
    try:
        return _read(raw)
    except BadRecordError as bad:
        return reject(raw, bad.reason, field=bad.field, detail=bad.detail)
    except RecursionError:  # what the decoder still accepts may be too deep for what looks into it
        return reject(raw, Reason.TOO_DEEP, field="", detail="nested deeper than a usage object can be looked through")


def reject(raw: RawEvent, reason: Reason, *, field: str, detail: str, stage: str = "normalise") -> Rejected:
    """The Rejected of this record, with its origin and what is known of its identity."""
    return Rejected(
        reason=reason,
        field=field[:256].replace("\x00", "\ufffd"),
        detail=detail[:512].replace("\x00", "\ufffd"),
        stage=stage,
        tenant_id=clean_header(raw.headers.get("ce_tenantid", b"")),
        event_id=clean_header(raw.headers.get("ce_id", b"")),
        topic=raw.topic,
        partition=raw.partition,
        offset=raw.offset,
        append_at_us=raw.append_at_us,
        attempt_no=_attempt_no(raw),
        ce_source=clean_header(raw.headers.get("ce_source", b"")),
    )


def _attempt_no(raw: RawEvent) -> int:
    stated = clean_header(raw.headers.get("attempt_no", b""))
    return int(stated) + 1 if stated and stated.isdecimal() and len(stated) < 5 else 1  # noqa: PLR2004 - a sane number of attempts


def _read(raw: RawEvent) -> Call:
    value = raw.value
    if value is None:
        raise BadRecordError(Reason.TOMBSTONE, "", "the value is null; a record of one call would be right")
    if not value or value.isspace():
        raise BadRecordError(Reason.EMPTY, "", "the value has no content; a record of one call would be right")
    if len(value) > MAX_RECORD_BYTES:
        raise BadRecordError(Reason.TOO_LARGE, "", f"{len(value)} bytes; at most {MAX_RECORD_BYTES} would be right")
    if not clean_header(raw.headers.get("ce_tenantid", b"")):
        raise BadRecordError(Reason.MISSING_TENANT, "ce_tenantid", "no tenant in the headers; the credential sets it")
    ce_type = clean_header(raw.headers.get("ce_type", b"")) or ENVELOPE_TYPE
    if ce_type == ENVELOPE_TYPE:
        envelope, anomalies = decode_envelope(value)
        reading = read_envelope(envelope)
    elif log := LOG_TYPES.get(ce_type):
        envelope, reading, anomalies = log(value)
    else:
        known = ", ".join(sorted((ENVELOPE_TYPE, *LOG_TYPES)))
        raise BadRecordError(Reason.UNKNOWN_TYPE, "ce_type", f"found {ce_type!r:.80}; one of {known} would be right")
    reading.anomalies += anomalies
    return assemble(raw, envelope, reading)


def read_envelope(envelope: Envelope) -> Reading:
    """The reply inside an envelope, read by its dialect. Raises BadRecordError."""
    exchange = _exchange(envelope)
    if envelope.events is not None:
        decoded = [Event(event.event, event_data(event.data)) for event in envelope.events]
        return _read_stream([event for event in decoded if event.data is not None], exchange)
    if envelope.stream_text is not None:
        read_text = read_recorded if is_eventstream(exchange.headers) else read_stream
        return _read_stream(read_text(envelope.stream_text), exchange)
    return _read_body(_body(envelope, exchange), exchange, envelope)


def _exchange(envelope: Envelope) -> Exchange:
    url, request, headers = envelope.url or "", envelope.request or {}, envelope.response_headers
    provider = find_provider(envelope.provider) or (provider_of_url(url) if url and not envelope.provider else None)
    model = envelope.request_model or request.get("model")
    return Exchange(
        provider.name if provider else (envelope.provider or "").strip().lower(),
        envelope.api,
        url,
        model if isinstance(model, str) else None,
        request,
        {name.lower(): str(value) for name, value in headers.items()} if headers else {},
        envelope.http_status,
    )


def _body(envelope: Envelope, exchange: Exchange) -> Any:
    if envelope.response is not None:
        return envelope.response
    if envelope.response_text:
        return _json_body(envelope.response_text, exchange)
    if _without_reply(envelope) or (envelope.http_status or 200) >= 400:  # noqa: PLR2004
        return {}  # nothing came back, and the envelope says why
    if envelope.http_status is not None and envelope.http_status not in _WITH_CONTENT:
        detail = f"HTTP {envelope.http_status} without content; the reply of a model call would be right"
        raise BadRecordError(Reason.NOT_A_CALL, "http_status", detail)
    detail = "none of response, events, response_text, stream_text is there"
    raise BadRecordError(Reason.INVALID_ENVELOPE, "response", detail)


def _without_reply(envelope: Envelope) -> bool:
    """Whether the envelope itself says why there may be no reply."""
    return bool(envelope.cache_hit or envelope.aborted or envelope.in_progress or envelope.error_type)


_WITH_CONTENT: Final = frozenset({200, 201, 202})


def _json_body(body: str, exchange: Exchange) -> Any:
    try:
        return decode_json(body)
    except BadRecordError as bad:
        if _is_other_traffic({}, exchange):
            detail = "no JSON, from a host that is no known provider and with no model asked for"
            raise BadRecordError(Reason.NOT_A_CALL, "response_text", detail) from bad
        raise


def _is_other_traffic(body: dict[str, Any], exchange: Exchange) -> bool:
    """Whether nothing hints at a model call: recorders keep pages, pictures and other services' replies as well."""
    unknown = exchange.url and not exchange.provider and not exchange.request_model and exchange.api is None
    return bool(unknown) and _SIGNS.isdisjoint(body)


_SIGNS: Final = frozenset({"model", "usage", "usageMetadata", "choices", "candidates", "completion", "tokens"})


def _read_body(body: Any, exchange: Exchange, envelope: Envelope) -> Reading:
    if body.__class__ is list:  # Gemini's stream without alt=sse is one JSON array
        return _read_stream([Event(None, row) for row in body], exchange)
    if body.__class__ is not dict:
        detail = f"found {type(body).__name__}; the provider's JSON object would be right"
        raise BadRecordError(Reason.INVALID_ENVELOPE, "response", detail)
    if is_error(body, exchange):
        return read_error(body, exchange)
    dialect = dialect_of_body(body, exchange)
    if dialect is not None:
        return dialect.read(body, exchange)
    if _without_reply(envelope):
        return Reading(usage_reading="")
    detail = f"no known API answers with the fields {sorted(body)[:12]}"
    if _is_other_traffic(body, exchange):
        raise BadRecordError(Reason.NOT_A_CALL, "response", f"{detail}, and nothing in it hints at a model call")
    raise BadRecordError(Reason.UNKNOWN_SHAPE, "response", detail)


def _read_stream(events: list[Event], exchange: Exchange) -> Reading:
    for event in events:
        if event.data.__class__ is dict and is_error(event.data, exchange):
            return _broken_stream(events, exchange, event.data)
    dialect = dialect_of_stream(events, exchange)
    if dialect is None:
        detail = f"no known API streams these {len(events)} events"
        raise BadRecordError(Reason.UNKNOWN_SHAPE, "events", detail)
    body, complete = dialect.fold(events)
    reading = dialect.read(body, exchange)
    if not complete and reading.status == "ok":
        reading.status = "aborted"
        reading.note(Anomaly.ABORTED)
    return reading


def _broken_stream(events: list[Event], exchange: Exchange, error: dict[str, Any]) -> Reading:
    """A stream that ended in an error event: what was used before it counts, the status is the error's."""
    before = [event for event in events if event.data is not error]
    dialect = dialect_of_stream(before, exchange)
    failure = read_error(error, exchange)
    if dialect is None:
        return failure
    reading = dialect.read(dialect.fold(before)[0], exchange)
    reading.status, reading.error_type = "error", failure.error_type
    return reading
