"""A request as it comes in: what its head says, and its body within bounds."""

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from serving.gateway.configuration import Limits
from serving.gateway.errors import refused
from serving.gateway.ids import new_id, sane
from serving.gateway.records import Refusal
from serving.gateway.server import PEER, Peer

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_TRACE_PARENT: Final = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}.*")
_LONGEST_TEXT: Final = 256


class Incoming:
    """One request's head."""

    __slots__ = ("headers", "method", "path", "peer", "receive", "request_id", "scope", "send")

    def __init__(self, scope: Scope, *, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.receive = receive
        self.send = send
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        # Of a header that comes twice the last counts, as nowhere else reads them.
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.peer: Peer = scope.get(PEER) or Peer()
        self.request_id = sane(self.headers.get(b"x-request-id")) or new_id()
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


async def body_of(incoming: Incoming, limits: Limits) -> bytes | Refusal | None:
    """The request's body; None where the client went before it had sent all."""
    headers = incoming.headers
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        return refused(415, "content-encoding: send the body uncompressed", code="unsupported_encoding")
    declared = headers.get(b"content-length", b"0")
    if not declared.isdigit() or int(declared[:20]) > limits.body_bytes:
        return _too_large(limits)
    message = await incoming.receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        body: bytes = message["body"]
        return body if len(body) <= limits.body_bytes else _too_large(limits)
    return await _in_pieces(incoming, limits, message=message)


async def _in_pieces(incoming: Incoming, limits: Limits, *, message: Message) -> bytes | Refusal | None:
    """A body that does not come at once."""
    parts: list[bytes] = []
    size = 0
    while message["type"] == "http.request":
        parts.append(message["body"])
        size += len(parts[-1])
        if size > limits.body_bytes:
            return _too_large(limits)
        if not message.get("more_body"):
            return b"".join(parts)
        if incoming.peer.late:
            return refused(408, f"the request's body did not arrive within {limits.request_ms} ms", code="timeout")
        message = await incoming.receive()
    return None


def _too_large(limits: Limits) -> Refusal:
    return refused(413, f"the body may have {limits.body_bytes} bytes", code="request_too_large")
