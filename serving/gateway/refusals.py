"""Why a request is refused before inference, in OpenAI's words. A message names the limit, never a key."""

from collections.abc import Iterable
from typing import Final

from ledger.api_keys import Budget
from serving.gateway.records import Refusal

_Headers = tuple[tuple[bytes, bytes], ...]

_SECOND_US: Final = 1_000_000
_NEVER: Final = (b"x-should-retry", b"false")

NOT_READY: Final = Refusal(
    http_status=503,
    message="keys and budgets are not loaded yet; try again in a moment",
    type="server_error",
    code="not_ready",
    headers=((b"retry-after", b"1"),),
)


def _unauthorized(message: str, *, code: str = "invalid_api_key") -> Refusal:
    return Refusal(
        http_status=401,
        message=message,
        type="invalid_request_error",
        code=code,
        headers=((b"www-authenticate", b"Bearer"),),
    )


NO_KEY: Final = _unauthorized("no API key: send `Authorization: Bearer tl-…`")
UNKNOWN_KEY: Final = _unauthorized("the API key is not known here, or was revoked; `tokenledger keys create` makes one")
EXPIRED_KEY: Final = _unauthorized(
    "the API key has expired; `tokenledger keys create` makes a new one", code="expired_api_key"
)


def wrong_api(api: str, allowed: Iterable[str]) -> Refusal:
    """The key's scope does not cover the API."""
    return Refusal(
        http_status=403,
        message=f"this key may not use the API {api!r}; it may use {', '.join(allowed) or 'none'}",
        type="permission_error",
        code="api_not_allowed",
    )


def wrong_model(model: str) -> Refusal:
    """The key's scope does not cover the model."""
    return Refusal(
        http_status=403,
        message=f"this key may not use the model {model!r:.100}; `/v1/models` lists those it may",
        type="permission_error",
        code="model_not_allowed",
        param="model",
    )


def too_fast(what: str, limit: int, *, wait_us: int, headers: _Headers) -> Refusal:
    """The rate is used up for the moment."""
    return Refusal(
        http_status=429,
        message=f"rate limit: {limit} {what} a minute; try again in {wait_us / _SECOND_US:.3f} s",
        type="rate_limit_error",
        code="rate_limit_exceeded",
        headers=(
            (b"retry-after", b"%d" % -(-wait_us // _SECOND_US)),
            (b"retry-after-ms", b"%d" % -(-wait_us // 1000)),
            *headers,
        ),
    )


def too_many_tokens(tokens: int, limit: int, *, wait_us: int, headers: _Headers) -> Refusal:
    """The tokens this request may take do not fit the rate now, or never."""
    if tokens <= limit:
        return too_fast("tokens", limit, wait_us=wait_us, headers=headers)
    return Refusal(
        http_status=429,
        message=f"this request may take {tokens} tokens and the key {limit} a minute; ask for a shorter answer",
        type="rate_limit_error",
        code="request_too_large",
        headers=(_NEVER, *headers),
    )


def unpriced(model: str) -> Refusal:
    """A budget cannot hold what has no price."""
    return Refusal(
        http_status=403,
        message=f"the model {model!r:.100} has no price, and this tenant has a budget; add a price for it",
        type="permission_error",
        code="model_not_priced",
        param="model",
    )


def exhausted(budget: Budget, *, used_usd_pico: int, most_usd_pico: int) -> Refusal:
    """A budget has no room for the most this request can cost."""
    whose = "the tenant" if budget.feature is None else f"feature {budget.feature!r:.100}"
    return Refusal(
        http_status=429,
        message=(
            f"the budget of {whose} for this {budget.period} (UTC) is {_usd(budget.limit_usd_pico)}:"
            f" {_usd(used_usd_pico)} of it is spent or reserved and this request may cost {_usd(most_usd_pico)}"
        ),
        type="insufficient_quota",
        code="insufficient_quota",
        headers=(_NEVER,),
    )


def _usd(usd_pico: int) -> str:
    whole, part = divmod(usd_pico, 10**12)
    return f"{whole}.{part // 10**6:06d} USD"
