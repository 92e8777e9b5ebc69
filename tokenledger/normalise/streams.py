"""Raw stream text → decoded events: SSE, NDJSON, and the JSON array that Gemini streams without `alt=sse`."""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from tokenledger.normalise.envelope import decode_json
from tokenledger.normalise.reading import BadRecordError, Event
from tokenledger.records.reasons import Reason


def read_stream(text: str) -> list[Event]:
    """Events of a raw stream that bear on cost. Raises BadRecordError where nothing in it can be read."""
    return _events(text, every=False)


def read_every_event(text: str) -> list[Event]:
    """All events of a raw stream, those of mere text too. Raises BadRecordError where nothing in it can be read."""
    return _events(text, every=True)


def _events(text: str, *, every: bool) -> list[Event]:
    stripped = text.lstrip("\ufeff \t\r\n")
    if stripped.startswith("["):
        return _array(stripped)
    events = list(_ndjson(stripped)) if stripped.startswith("{") else list(_sse(stripped, every=every))
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
    # Not splitlines(): it also splits at U+2028 and others, which JSON may hold as they are.
    for line in text.split("\n"):
        data = event_data(line.strip().removeprefix("data:").strip())
        if data is not None:
            yield Event(None, data)


def _sse(text: str, *, every: bool) -> Iterator[Event]:
    """Server-sent events (WHATWG HTML §9.2): a blank line ends an event, `data:` lines are joined."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    marks = _SPACED if '": ' in text[:256] else _COMPACT
    for number, block in enumerate(text.split("\n\n")):
        if number and not every and _is_mere_text(block, marks):
            continue
        name, payload = _parsed(block)
        data = event_data(payload)
        if data is not None:
            yield Event(name, data)


def _parsed(block: str) -> tuple[str | None, str]:
    """Name and data of one event's lines."""
    if "\n" not in block and block.startswith("data: "):
        return None, block[6:]
    name, lines = None, list[str]()
    for line in block.split("\n"):
        if line.startswith("data:"):
            lines.append(line[5:].removeprefix(" "))
        elif line.startswith("event:"):
            name = line[6:].strip()
    return name, "\n".join(lines)


class _Marks(NamedTuple):
    """What tells a piece of text from the events that count. JSON texts cannot hold them: their quotes are escaped."""

    chat: str
    unfinished: str
    usage: str
    anthropic: str
    responses: str


# A stream is mostly pieces of text, and a piece of text says nothing about cost. Only what is known to be one is
# skipped, and never the first event: Anthropic's and the Responses API's name themselves, a chat chunk's delta begins
# with its content.
_SPACED: Final = _Marks(
    '"delta": {"content": "',
    '"finish_reason": null',
    '"usage": {',
    '"type": "content_block_delta"',
    '"type": "response.output_text.delta"',
)
_COMPACT: Final = _Marks(*(mark.replace(" ", "") for mark in _SPACED))


def _is_mere_text(block: str, marks: _Marks) -> bool:
    if marks.chat in block:
        return marks.unfinished in block and marks.usage not in block
    return marks.anthropic in block or marks.responses in block
