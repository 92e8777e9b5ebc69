"""What a call costs, by hand: a small table of rates and whole numbers, apart from the product's own arithmetic.

One rate changes at an instant (the price edit that is learned late) and one tenant has a contract, so that the
expected amounts hold only if the product chose the right rate for the right time and the right customer.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

PER_MILLION: Final[Mapping[tuple[str, str], Mapping[str, str]]] = {
    ("openai", "faults-gpt"): {"input.text": "2.5", "input.text.cache_read": "1.25", "output.text": "10"},
    ("openai", "faults-mini"): {"input.text": "0.15", "input.text.cache_read": "0.075", "output.text": "0.6"},
    ("anthropic", "faults-claude"): {
        "input.text": "3", "input.text.cache_read": "0.3", "input.text.cache_write_5m": "3.75",
        "input.text.cache_write_1h": "6", "output.text": "15",
    },
    ("gcp.gemini", "faults-gemini"): {"input.text": "0.3", "input.text.cache_read": "0.075", "output.text": "2.5"},
    # Less than a pico-dollar a token: each line has to be rounded.
    ("ollama", "faults-llama"): {"input.text": "0.0000012345", "output.text": "0.0000067895"},
}  # fmt: skip
"""USD per million tokens, by provider and model."""
EDITED: Final = ("openai", "faults-mini")
EDITED_PER_MILLION: Final[Mapping[str, str]] = {
    "input.text": "0.21", "input.text.cache_read": "0.105", "output.text": "0.83",
}  # fmt: skip
"""What that model costs from the instant of the edit on."""
DISCOUNT_PPM: Final = 125_000
"""Parts per million off every rate of the one tenant with a contract."""
CONTRACT_PROVIDER: Final = "openai"
_STAND_INS: Final = {"output.reasoning": "output.text"}
_MILLION: Final = 1_000_000
_DIGITS: Final = 10
"""Decimals of a pico-dollar a token that a rate of the table may have."""


class Rate(NamedTuple):
    """Pico-dollars for so many units."""

    pico: int
    per: int


def _rate(usd_per_million: str) -> Rate:
    """USD per million tokens is a millionth of a dollar a token, which is a million pico-dollars."""
    whole, _, part = usd_per_million.partition(".")
    assert len(part) <= _DIGITS
    return Rate(int(whole + part.ljust(_DIGITS, "0")) * _MILLION, 10**_DIGITS)


_RATES: Final = {key: {meter: _rate(usd) for meter, usd in table.items()} for key, table in PER_MILLION.items()}
_EDITED_RATES: Final = {meter: _rate(usd) for meter, usd in EDITED_PER_MILLION.items()}


def half_even(numerator: int, denominator: int) -> int:
    """The nearest whole number; of two equally near, the even one."""
    whole, rest = divmod(numerator, denominator)
    if 2 * rest > denominator or (2 * rest == denominator and whole % 2):
        return whole + 1
    return whole


def amount_pico(key: tuple[str, str], meter: str, quantity: int, *, is_edited: bool, has_contract: bool) -> int:
    """What so much of a meter costs."""
    rates = _EDITED_RATES if is_edited and key == EDITED else _RATES[key]
    rate = rates[_STAND_INS.get(meter, meter)]
    if has_contract and key[0] == CONTRACT_PROVIDER:
        rate = Rate(rate.pico * (_MILLION - DISCOUNT_PPM), rate.per * _MILLION)
    return half_even(quantity * rate.pico, rate.per)


def price_file(*, contract_tenant: str) -> str:
    """The table as `tokenledger prices add` reads it, before the edit."""
    entries = [_entry(key, table) for key, table in PER_MILLION.items()]
    contract = (
        f"  - {{tenant: {contract_tenant}, provider: {CONTRACT_PROVIDER}, discount_ppm: {DISCOUNT_PPM},"
        " from: 2020-01-01, to: 2040-01-01}"
    )
    return "\n".join(["prices:", *entries, "contracts:", contract, ""])


def final_file(from_instant: str, *, contract_tenant: str) -> str:
    """The table with the edit in it: all that is known at the end."""
    before = price_file(contract_tenant=contract_tenant)
    old = _entry(EDITED, PER_MILLION[EDITED])
    ended = _entry(EDITED, PER_MILLION[EDITED], f"to: {from_instant}, ")
    return before.replace(old, ended + "\n" + _entry(EDITED, EDITED_PER_MILLION, f"from: {from_instant}, "))


def edit_file(from_instant: str) -> str:
    """The edit, from its instant on."""
    return "\n".join(["prices:", _entry(EDITED, EDITED_PER_MILLION, f"from: {from_instant}, "), ""])


def _entry(key: tuple[str, str], table: Mapping[str, str], when: str = "") -> str:
    rates = ", ".join(f"{meter}: {usd}" for meter, usd in table.items())
    return f"  - {{provider: {key[0]}, model: {key[1]}, {when}usd_per_million: {{{rates}}}}}"
