"""Errors as OpenAI's clients expect them: one object, one status, and whether to try again. Pure."""

from typing import Any, Final

import msgspec

from serving.gateway.records import Refusal

JSON: Final = (b"content-type", b"application/json")
NO_RETRY: Final = (b"x-should-retry", b"false")
RETRY: Final = (b"x-should-retry", b"true")

_TYPES: Final = {
    401: "authentication_error",
    403: "permission_error",
    408: "timeout_error",
    429: "rate_limit_error",
}
_FIRST_SERVER_STATUS: Final = 500
_UNPROCESSABLE: Final = 422


def error_body(*, message: str, kind: str, param: str | None = None, code: str | None = None) -> bytes:
    """The error object."""
    return msgspec.json.encode({"error": {"message": message, "type": kind, "param": param, "code": code}})


def refused(status: int, message: str, *, code: str | None = None, param: str | None = None) -> Refusal:
    """A refusal of the gateway's own, with the type its status has."""
    kind = _TYPES.get(status) or ("server_error" if status >= _FIRST_SERVER_STATUS else "invalid_request_error")
    retry = RETRY if status in {408, 429, 502, 503, 504} else NO_RETRY
    return Refusal(http_status=status, message=message, type=kind, code=code, param=param, headers=(retry,))


def body_of(refusal: Refusal) -> bytes:
    """The body that goes with a refusal."""
    return error_body(message=refusal.message, kind=refusal.type, param=refusal.param, code=refusal.code)


def event_of(refusal: Refusal) -> bytes:
    """The refusal as a stream's last event."""
    return b"data: " + body_of(refusal) + b"\n\n"


class _Said(msgspec.Struct, gc=False):
    error: Any = None
    message: Any = None
    detail: Any = None


_said: Final = msgspec.json.Decoder(_Said)


def from_upstream(status: int, body: bytes, *, upstream: str) -> tuple[int, bytes]:
    """Status and body for the caller, of an upstream's error reply.

    An error object goes on as it is. What the upstream thinks of our own key is nobody's business.
    """
    if status in {401, 403}:
        refusal = refused(502, f"upstream {upstream} refused the gateway's key", code="upstream_authentication")
        return 502, body_of(refusal)
    if status in {404, 405}:
        refusal = refused(502, f"upstream {upstream} does not know the model or path", code="upstream_not_found")
        return 502, body_of(refusal)
    status = 400 if status == _UNPROCESSABLE else status
    try:
        said = _said.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        said = _Said()
    if isinstance(said.error, dict) and isinstance(said.error.get("message"), str):
        return status, body
    return status, body_of(refused(status, _message(said) or f"upstream {upstream} answered {status}"))


def _message(said: _Said) -> str | None:
    for value in (said.error, said.message, said.detail):
        if isinstance(value, str) and value:
            return value
        if value:
            return msgspec.json.encode(value).decode()[:1_000]
    return None
