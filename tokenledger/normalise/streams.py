"""Raw stream text → decoded events: SSE, NDJSON, and the JSON array that Gemini streams without `alt=sse`."""

from collections.abc import Iterator
from typing import Any

from tokenledger.normalise.envelope import decode_json
from tokenledger.normalise.reading import BadRecordError, Event
from tokenledger.records.reasons import Reason


def read_stream(text: str) -> list[Event]:
    """Events of a raw stream. Raises BadRecordError where nothing in it can be read."""
    stripped = text.lstrip("\ufeff \t\r\n")
    if stripped.startswith("["):
        return _array(stripped)
    events = list(_ndjson(stripped)) if stripped.startswith("{") else list(_sse(stripped))
    if not events:
        raise BadRecordError(Reason.INVALID_STREAM, "stream_text", "no event in it; SSE, NDJSON or a JSON array")
    return events


def event_data(data: Any) -> Any:
    """An event's data, decoded if it still is text; None for `[DONE]`, blanks and what is not JSON."""
    if not isinstance(data, str):
        return data
    if not data or data == "[DONE]":
        return None
    try:
        return decode_json(data)
    except BadRecordError:
        return None


def _array(text: str) -> list[Event]:
    try:
        rows = decode_json(text)
    except BadRecordError:
        rows = decode_json(text.rstrip().rstrip(",") + "]")  # a stream that was cut between two elements
    return [Event(None, row) for row in rows]


def _ndjson(text: str) -> Iterator[Event]:
    for line in text.splitlines():
        data = event_data(line.strip().removeprefix("data:").strip())
        if data is not None:
            yield Event(None, data)


def _sse(text: str) -> Iterator[Event]:
    """Server-sent events (WHATWG HTML §9.2): a blank line ends an event, `data:` lines are joined."""
    name, lines = None, list[str]()
    for line in (*text.splitlines(), ""):
        if not line.strip():
            data = event_data("\n".join(lines))
            if data is not None:
                yield Event(name, data)
            name, lines = None, []
        elif line.startswith("data:"):
            lines.append(line[5:].removeprefix(" "))
        elif line.startswith("event:"):
            name = line[6:].strip()
