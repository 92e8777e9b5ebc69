"""What a reader hands on: a raw event and the place it was found, or a file that could not be read."""

from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from tokenledger.normalise.envelope import ENVELOPE_TYPE
from tokenledger.records.raw import RawEvent

FILE_SOURCE: Final = b"file"
"""`ce_source` of records that name none: their minted ids hold the file's hash."""


class Found(NamedTuple):
    """One record of a file."""

    source_file: str
    """Path as it was given, or as a folder listed it."""
    line: int
    """Line of a line-based file; ordinal of the record in any other; from 1."""
    raw: RawEvent
    """The record."""


class Unreadable(msgspec.Struct, frozen=True):
    """A file, or what is left of one, in which no record can be told from another."""

    source_file: str
    """Path."""
    reason: str
    """`empty`, `not_found`, `not_permitted`, `truncated`, `invalid_json`, `invalid_yaml`, `unknown_format`, …"""
    detail: str
    """What was found and what would be right, without texts of the file."""


class UnreadableError(Exception):
    """Raised inside a reader, turned into Unreadable where the file was opened."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """What every record of one file shares."""

    source_file: str
    """Path."""
    modified_at_us: int
    """Modification time: the append time of its records."""
    tenant_id: bytes
    """Tenant of records that name none."""
    provider: str | None = None
    """Provider of bare replies, which name none."""
    redact: bool = False
    """Whether texts are taken out."""
    file_hash: Callable[[], str]
    """First 16 hex digits of the file's SHA-256; computed when it is first asked for."""

    def reply(self, value: bytes) -> bytes:
        """The envelope of a bare reply."""
        return b"{%s" % self._stated() + b'"response":%s}' % value

    def stream(self, text: str) -> bytes:
        """The envelope of a raw transcript."""
        return b"{%s" % self._stated() + b'"stream_text":%s}' % msgspec.json.encode(text)

    def _stated(self) -> bytes:
        return b'"provider":%s,' % msgspec.json.encode(self.provider) if self.provider else b""

    def at(self, line: int) -> "Place":
        """The place of a record."""
        return Place(self, line)


class Place(NamedTuple):
    """Where a record stands."""

    origin: Origin
    """The file."""
    line: int
    """Line of a line-based file, ordinal in any other; from 1."""
    part: int | None = None
    """Which of several records of that line, from 0."""

    def found(self, value: bytes | None, headers: dict[str, bytes]) -> Found:
        """The record of this place; an id, a source and a tenant are set where `headers` has none."""
        origin = self.origin
        if "ce_id" not in headers:
            # The same file gives the same ids wherever it lies, so reading it twice charges nothing twice.
            spot = f"{self.line}" if self.part is None else f"{self.line}.{self.part}"
            headers["ce_id"] = f"{origin.file_hash()}-{spot}".encode()
            headers.setdefault("ce_source", FILE_SOURCE)
        headers.setdefault("ce_tenantid", origin.tenant_id)
        headers.setdefault("ce_type", _ENVELOPE)
        raw = RawEvent(value=value, headers=headers, offset=self.line, append_at_us=origin.modified_at_us)
        return Found(origin.source_file, self.line, raw)


_ENVELOPE: Final = ENVELOPE_TYPE.encode()
