"""One line of a provider's report, whatever its format. Pure."""

from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from typing import Any, Final

import msgspec

_PICO_PER_USD: Final = 10**12
_EXACT: Final = Context(prec=60)
_GREATEST_USD: Final = Decimal(10) ** 12


class BillError(ValueError):
    """A report that cannot be read: what, where, which value, and what would be right."""


class BillLine(msgspec.Struct, frozen=True, kw_only=True):
    """A quantity, an amount or both, of one UTC day."""

    day: str
    """UTC day, `2026-11-21`."""
    provider: str
    """Provider as in the ledger."""
    model: str = ""
    """Model in the provider's words; empty where the line names none."""
    meter: str = ""
    """Our meter; empty where the line does not tell one apart."""
    category: str = "usage"
    """`usage`, or what is no usage: `tax`, `credit`, `purchase`, `adjustment`."""
    quantity: int | None = None
    """In the meter's base unit; None where the line states money only."""
    amount_usd_pico: int | None = None
    """10⁻¹² USD; None where the line states usage only."""
    precision_usd_pico: int = 0
    """Half of the amount's last digit: as much may be rounding, 10⁻¹² USD."""
    said: str = ""
    """What the provider calls it."""


def pico(value: Any, where: str, *, per_usd: int = 1) -> tuple[int, int]:
    """An amount and half of its last digit, both in 10⁻¹² USD. `per_usd` is 100 for an amount in cents.

    A binary double says more digits than its writer meant; below a pico-dollar the amount is rounded half to even.
    Raises BillError.
    """
    try:
        amount = Decimal(str(value).strip().replace(",", "")) if not isinstance(value, bool) else Decimal("NaN")
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or abs(amount) > _GREATEST_USD:
        raise BillError(f"{where}: amount {value!r}; a decimal number of dollars below 10¹² would be right")
    scaled = _EXACT.divide(_EXACT.multiply(amount, Decimal(_PICO_PER_USD)), Decimal(per_usd))
    exponent = amount.as_tuple().exponent
    digits = -exponent if isinstance(exponent, int) else 0
    last = _EXACT.divide(Decimal(_PICO_PER_USD), Decimal(per_usd) * Decimal(10) ** max(digits, 0))
    return int(scaled.to_integral_value(ROUND_HALF_EVEN)), max(int(last / 2), 1)


def count(value: Any, where: str) -> int:
    """A quantity: a whole number that is not negative; None is 0. Raises BillError."""
    if value is None:
        return 0
    try:
        number = Decimal(str(value).strip().replace(",", "")) if not isinstance(value, bool) else Decimal(-1)
    except InvalidOperation:
        number = Decimal(-1)
    if not number.is_finite() or number < 0 or number != number.to_integral_value() or number >= 2**63:
        raise BillError(f"{where}: quantity {value!r}; a whole number from 0 would be right")
    return int(number)


def usd(currency: Any, where: str) -> None:
    """Refuses money that is not US dollars: currencies are never mixed. Raises BillError."""
    if str(currency or "usd").strip().upper() != "USD":
        raise BillError(
            f"{where}: currency {currency!r}; the ledger keeps US dollars only, so a report in USD is needed"
        )
