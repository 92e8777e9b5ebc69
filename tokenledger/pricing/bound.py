"""The most a call can cost, known before it is made: what a budget has to hold for it."""

from collections.abc import Iterable
from fractions import Fraction
from typing import Final

from tokenledger.pricing.book import MAX_CARDS, PriceBook
from tokenledger.pricing.lookup import CardKey, Rate, Slot, card
from tokenledger.records.meters import METERS

_INPUTS: Final = tuple(meter for meter in METERS if meter.startswith("input.") and not meter.endswith(".cache_read"))
_OUTPUTS: Final = tuple(meter for meter in METERS if meter.startswith("output."))

_ROUNDING_USD_PICO: Final = len(METERS)


class Bounds:
    """Bounds by one price book. What was worked out for a kind of call is kept."""

    def __init__(self, book: PriceBook) -> None:
        self._book = book
        self._dearest: dict[Slot, tuple[Rate | None, Rate | None]] = {}

    def most_usd_pico(self, asked: CardKey, *, at_us: int, input_tokens: int, output_tokens: int) -> int | None:
        """What these tokens cost if each is of the dearest kind the model has; None where it has no price.

        Tokens may turn out to be written to a cache, audio or reasoning, and a prompt shorter than its estimate may be
        of another context tier: the greatest of all these. Fees of tools are not in it.
        """
        found = card(self._book, asked)
        if not found.tier_breaks and found.surcharge is None:
            slot = found.slot(at_us, input_tokens)
            return self._of_slot(slot, input_tokens=input_tokens, output_tokens=output_tokens)
        totals = (input_tokens, *(edge for edge in found.tier_breaks if edge < input_tokens))
        slots = [found.slot(at_us, total) for total in totals]
        if found.surcharge is not None:
            slots.append(found.surcharge.slot(at_us, input_tokens))
        most = [self._of_slot(slot, input_tokens=input_tokens, output_tokens=output_tokens) for slot in slots]
        base = [amount for amount in most[: len(totals)] if amount is not None]
        if not base:
            return None
        return max(base) + sum(amount or 0 for amount in most[len(totals) :])

    def _of_slot(self, slot: Slot, *, input_tokens: int, output_tokens: int) -> int | None:
        rates = self._dearest.get(slot)
        if rates is None:
            if (
                len(self._dearest) >= MAX_CARDS
            ):  # a caller's free words, such as a service tier, make slots of their own
                self._dearest.clear()
            rates = self._dearest[slot] = (_dearest(slot, _INPUTS), _dearest(slot, _OUTPUTS))
        dearest_input, dearest_output = rates
        if dearest_input is None and dearest_output is None:
            return None
        request = slot.rates.get("request")
        return (
            _amount(dearest_input, input_tokens)
            + _amount(dearest_output, output_tokens)
            + (0 if request is None else _amount(request, 1))
        )


def _dearest(slot: Slot, meters: Iterable[str]) -> Rate | None:
    rates = [rate for meter in meters if (rate := slot.rate(meter)) is not None]
    return max(rates, key=lambda rate: Fraction(rate.contracted_pico, rate.contracted_per), default=None)


def _amount(rate: Rate | None, tokens: int) -> int:
    """Rounded up, and some more: a bill has several lines that each round once, and a bound is not below their sum."""
    if rate is None or not tokens:
        return 0
    return max(tokens, rate.minimum_quantity) * rate.contracted_pico // rate.contracted_per + _ROUNDING_USD_PICO
