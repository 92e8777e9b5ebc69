"""Files of any kind → raw events. The format is known by the content; what cannot be read is reported, others go on."""

from collections.abc import Callable, Iterable, Iterator
from typing import IO, Final

import msgspec

from tokenledger.normalise import MAX_RECORD_BYTES
from tokenledger.normalise.envelope import ENVELOPE_TYPE
from tokenledger.normalise.litellm import PAYLOAD_TYPE
from tokenledger.normalise.otel import SPAN_TYPE
from tokenledger.readers.found import Found, Origin, Unreadable, UnreadableError
from tokenledger.readers.objects import records_of, records_of_lines
from tokenledger.readers.redact import envelope_without_texts, withheld
from tokenledger.readers.redact_logs import payload_without_texts, span_without_texts
from tokenledger.readers.sniff import Format, sniff
from tokenledger.readers.sources import Source, expand, open_source
from tokenledger.readers.transcripts import ndjson, sse
from tokenledger.readers.vcr import cassette
from tokenledger.records.raw import RawEvent

__all__ = ["Found", "Options", "Unreadable", "expand", "read", "value_without_texts"]

_REPORT_EVERY: Final = 1024


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How files are read."""

    tenant_id: str = "default"
    """Tenant of records that name none."""
    provider: str | None = None
    """Provider of bare replies, which name none."""
    redact: bool = False
    """Whether texts are taken out, as they must be before a record leaves the machine."""


def read(
    paths: Iterable[str],
    options: Options,
    *,
    on_problem: Callable[[Unreadable], None],
    on_bytes: Callable[[int], None] = lambda _: None,
) -> Iterator[Found]:
    """All records of the files, in order. A file that cannot be read, or not to its end, is reported once."""
    for path in paths:
        try:
            source = open_source(path)
        except UnreadableError as unreadable:
            on_problem(Unreadable(path, unreadable.reason, unreadable.detail))
            continue
        try:
            yield from _watched(source, options, on_bytes=on_bytes)
        except UnreadableError as unreadable:
            on_problem(Unreadable(path, unreadable.reason, unreadable.detail))
        except (OSError, EOFError) as error:  # a gzip file that was cut, a disk that fails
            on_problem(Unreadable(path, "truncated", f"{error}; what came before it was read"))
        finally:
            source.close()


def _watched(source: Source, options: Options, *, on_bytes: Callable[[int], None]) -> Iterator[Found]:
    origin = source.origin(tenant_id=options.tenant_id, provider=options.provider, redact=options.redact)
    done_bytes = 0
    for count, found in enumerate(_records(source, origin), 1):
        if options.redact or len(found.raw.value or b"") > MAX_RECORD_BYTES:
            yield found._replace(raw=_redacted(found))  # without its texts a long answer fits the limit
        else:
            yield found
        if count % _REPORT_EVERY == 0:
            position_bytes = source.position_bytes()
            on_bytes(position_bytes - done_bytes)
            done_bytes = position_bytes
    on_bytes(max(source.size_bytes - done_bytes, 0))


def _redacted(found: Found) -> RawEvent:
    """The record as it may leave the machine. A journal holds what already left it."""
    raw = found.raw
    if raw.value is None or raw.topic:
        return raw
    return msgspec.structs.replace(raw, value=value_without_texts(raw.headers.get("ce_type", b""), raw.value))


def value_without_texts(ce_type: bytes, value: bytes) -> bytes:
    """The record's bytes as they may leave the machine; a type nobody knows could hold texts anywhere."""
    return _REDACTORS.get(ce_type, withheld)(value)


_REDACTORS: Final[dict[bytes, Callable[[bytes], bytes]]] = {
    ENVELOPE_TYPE.encode(): envelope_without_texts,
    SPAN_TYPE.encode(): span_without_texts,
    PAYLOAD_TYPE.encode(): payload_without_texts,
}


def _records(source: Source, origin: Origin) -> Iterator[Found]:
    content = source.unpacked()
    kind = sniff(content)
    content.seek(0)
    if kind is Format.LINES:
        yield from records_of_lines(_lines(content), origin)
    elif kind is Format.CHUNKS:
        yield from ndjson(_lines(content), origin)
    else:
        yield from _WHOLE[kind](content.read(), origin)


def _lines(content: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Lines that are not blank, with their numbers."""
    for number, line in enumerate(content, 1):
        stripped = line.strip()
        if number == 1:
            stripped = stripped.removeprefix(b"\xef\xbb\xbf")
        if stripped:
            yield number, stripped


def _document(content: bytes, origin: Origin) -> Iterator[Found]:
    yield from records_of(content.removeprefix(b"\xef\xbb\xbf"), origin.at(1))


_WHOLE: Final[dict[Format, Callable[[bytes, Origin], Iterator[Found]]]] = {
    Format.DOCUMENT: _document,
    Format.SSE: sse,
    Format.CASSETTE: cassette,
}
