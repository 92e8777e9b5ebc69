"""Error replies of any provider: no usage, nothing billed, and the provider's own word for why."""

from typing import Final

from tokenledger.normalise.reading import Body, Exchange, Reading, text

_FIRST_ERROR_STATUS: Final = 400


def is_error(body: Body, exchange: Exchange) -> bool:
    """An `error` object or text without usage, an event of type `error`, or an HTTP error status without usage."""
    if body.get("usage") or body.get("usageMetadata"):
        return False
    if body.get("error") or body.get("type") == "error":
        return True
    return (exchange.http_status or 0) >= _FIRST_ERROR_STATUS


def read_error(body: Body, exchange: Exchange) -> Reading:
    """Status `error` and the error's type or code."""
    error = body.get("error")
    kind = None
    if isinstance(error, dict):
        kind = text(error, "type") or text(error, "status") or text(error, "code") or error.get("code")
    kind = kind or text(body, "code") or text(body, "__type") or exchange.http_status
    return Reading(
        usage_reading="error",
        status="error",
        error_type=str(kind)[:256] if kind is not None else "error",
        response_id=text(body, "id") or text(body, "request_id"),
        response_model=text(body, "model"),
    )
