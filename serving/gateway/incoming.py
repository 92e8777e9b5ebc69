"""A request as it comes in: what its head says, and its body within bounds."""

import re
from collections.abc import Callable
from typing import Final, Protocol

from serving.gateway.configuration import Limits
from serving.gateway.errors import refused
from serving.gateway.ids import new_id, sane
from serving.gateway.records import Refusal

_TRACE_PARENT: Final = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}.*")
_LONGEST_TEXT: Final = 256


class Peer(Protocol):
    """The client of one connection, as requests and answers see it."""

    gone: bool
    """It has closed the connection."""
    paused: bool
    """It does not read: what is written stays here."""
    when_gone: Callable[[], None] | None
    """Called once, when it goes."""
    when_writable: Callable[[], None] | None
    """Called once, when it reads again, or goes."""

    @property
    def address(self) -> str | None:
        """Its host; None where there is none."""

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """Headers every answer has."""

    def write(self, data: bytes) -> None:
        """Send it; nothing happens once it is gone."""

    async def writable(self) -> None:
        """Returns when it reads again, or has gone."""


class Incoming:
    """One request."""

    __slots__ = ("body", "chunks", "ended", "headers", "keep", "method", "path", "peer", "refusal", "request_id")

    def __init__(self, peer: Peer, *, method: str, path: str, headers: dict[bytes, bytes]) -> None:
        self.peer = peer
        self.method = method
        self.path = path
        self.headers = headers
        """By lower-case name. Of a header that comes twice the last counts, as nowhere else reads them."""
        self.body = b""
        self.refusal: Refusal | None = None
        """Why its body is not here."""
        self.keep = True
        """Whether the connection is kept after the answer."""
        self.chunks = True
        """Whether an answer without a length may go in chunks: HTTP/1.0 knows none, its end is the connection's."""
        self.ended = False
        """Whether its answer is whole."""
        self.request_id = sane(headers.get(b"x-request-id")) or new_id()
        """The caller's own id of the request, if it is fit to be repeated, else a fresh one."""

    @property
    def authorization(self) -> bytes | None:
        """The credentials."""
        return self.headers.get(b"authorization")

    @property
    def feature(self) -> str | None:
        """The product feature the caller names."""
        return self._text(b"x-tokenledger-feature")

    @property
    def session_id(self) -> str | None:
        """The conversation the caller names."""
        return self._text(b"x-tokenledger-session")

    @property
    def trace(self) -> tuple[str | None, str | None]:
        """W3C trace and span."""
        value = self.headers.get(b"traceparent")
        found = _TRACE_PARENT.fullmatch(value) if value else None
        return (found[1].decode(), found[2].decode()) if found else (None, None)

    def _text(self, name: bytes) -> str | None:
        value = self.headers.get(name)
        return value.decode("utf-8", "replace").strip()[:_LONGEST_TEXT] or None if value else None


def body_of(incoming: Incoming) -> bytes | Refusal:
    """The request's body."""
    if incoming.refusal is not None:
        return incoming.refusal
    if incoming.headers.get(b"content-encoding", b"identity").lower() != b"identity":
        return refused(415, "content-encoding: send the body uncompressed", code="unsupported_encoding")
    return incoming.body


def is_too_large(headers: dict[bytes, bytes], limits: Limits) -> bool:
    """Whether a head announces more than may come."""
    declared = headers.get(b"content-length", b"0")
    return not declared.isdigit() or int(declared[:20]) > limits.body_bytes


def too_large(limits: Limits) -> Refusal:
    """What is said to a body that is too large."""
    return refused(413, f"the body may have {limits.body_bytes} bytes", code="request_too_large")
