"""An admission over keys and budgets made by hand, with a clock that stands still."""

from collections.abc import Iterable
from typing import Any

from ledger.api_keys import ApiKey, Budget, digest
from serving.gateway.admission import KeyedAdmission
from serving.gateway.budgets import Budgets
from tests.serving.attempts import STARTED_AT_US
from tokenledger.pricing.bound import Bounds
from tokenledger.process import default_context

SECRET = b"0123456789abcdefghijklmnopqrstuv"
KEY = "tl-a-key-for-tests"
NOW_US = STARTED_AT_US


class Clock:
    """A time that a test sets."""

    def __init__(self, now_us: int = NOW_US) -> None:
        self.now_us = now_us

    def __call__(self) -> int:
        """Now."""
        return self.now_us


def bearer(text: str = KEY) -> bytes:
    """The header's value."""
    return f"Bearer {text}".encode()


def key(text: str = KEY, **fields: Any) -> ApiKey:
    """A key of tenant acme that may do everything."""
    usual: dict[str, Any] = {"key_id": "key_1", "hmac": digest(SECRET, text.encode()), "tenant_id": "acme"}
    return ApiKey(**usual | fields)


def admission(
    keys: Iterable[ApiKey],
    *,
    clock: Clock | None = None,
    budgets: Budgets | None = None,
    limits: Iterable[tuple[str | None, str, int]] = (),
    refuse_unpriced: bool = False,
) -> KeyedAdmission:
    """An admission that is open; limits are (feature, period, pico-USD) of tenant acme."""
    held = budgets or Budgets()
    held.set_limits(
        Budget(tenant_id="acme", feature=feature, period=period, limit_usd_pico=limit)
        for feature, period, limit in limits
    )
    made = KeyedAdmission(
        secret=SECRET,
        epoch="x",
        bounds=Bounds(default_context().book),
        budgets=held,
        clock_us=clock or Clock(),
        refuse_unpriced=refuse_unpriced,
    )
    made.set_keys(keys)
    made.open = True
    return made
