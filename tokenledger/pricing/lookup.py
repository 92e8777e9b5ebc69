"""The one ladder by which a rate is found, and the cards that remember what was found.

For a meter, then for each of its stand-ins: the layers (a tenant's contract, own rates, the catalogue); within a layer
all conditions of the call, then fewer of them, dropped in the order processing, service tier, region, speed. The first
hit wins, and every drop is named.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from math import gcd
from typing import Final

import msgspec

from tokenledger.pricing.book import MAX_CARDS, Contract, OverlapError, PriceBook
from tokenledger.pricing.conditions import Ask, Asked, asked_conditions, rungs
from tokenledger.pricing.rate import (
    BASE_TIER,
    BEGIN_US,
    CATALOGUE,
    CONDITION_NAMES,
    CONTRACT,
    END_US,
    LAYERS,
    NO_LIMIT,
    OWN,
    WEEK_US,
    WHOLE_WEEK,
    Conditions,
    Row,
    applies,
    date_text,
    digest,
    time_of_week_us,
)
from tokenledger.pricing.stand_ins import STAND_INS
from tokenledger.pricing.target import Target, alias_breaks, covering, find_surcharge, find_target

CardKey = tuple[
    str, str, str | None, str | None, str | None, str | None, str | None, str | None, str | None, str | None,
    str | None, str | None, str | None,
]  # fmt: skip
"""The facts of a call that choose its rates; see `Ask`. The tenant is blank where nothing is agreed with it."""

_PPM: Final = 10**6


class Rate(msgspec.Struct, frozen=True, gc=False):
    """The rate of one meter for one kind of call."""

    list_pico: int
    """List rate: pico-USD per `list_per` units."""
    list_per: int
    """Units the list rate is for."""
    contracted_pico: int
    """Contracted rate: pico-USD per `contracted_per` units."""
    contracted_per: int
    """Units the contracted rate is for."""
    discounted: bool
    """Whether the two differ."""
    minimum_quantity: int
    """Least quantity billed."""
    price_id: str
    """Hash of everything in the rate."""
    matched: str
    """What matched, in words."""
    fallbacks: tuple[str, ...]
    """Conditions dropped and stand-ins used, in words."""


class Slot:
    """Rates in force together: one span of validity, part of the week and context tier. Meters resolve on first use."""

    __slots__ = ("_asked", "_contract", "_found", "_known_conditions", "_rungs", "model", "notes", "provider", "rates")

    def __init__(self, target: Target, rows: Iterable[Row], asked: Asked, contract: Contract | None) -> None:
        self.provider = target.provider
        self.model = target.model
        self.rates: dict[str, Rate | None] = {}
        self.notes = asked.notes
        self._asked = asked
        self._contract = contract
        self._rungs = tuple(rungs(asked))
        self._found: dict[tuple[str, str, Conditions], Row] = {}
        for row in rows:
            key = (row.layer, row.meter, row.conditions)
            if self._found.setdefault(key, row) is not row:
                raise OverlapError(self._found[key], row)
        self._known_conditions = {(i, value) for row in self._found.values() for i, value in enumerate(row.conditions)}
        if self._find("request") is not None:
            self.rate("request")

    @property
    def is_known(self) -> bool:
        """Whether any rate is in force."""
        return bool(self._found)

    def rate(self, meter: str) -> Rate | None:
        """The meter's rate, if there is one."""
        if meter not in self.rates:
            self.rates[meter] = self._resolve(meter)
        return self.rates[meter]

    def _resolve(self, meter: str) -> Rate | None:
        for candidate, flagged in ((meter, False), *STAND_INS.get(meter, ())):
            hit = self._find(candidate)
            if hit is not None:
                row, dropped = hit
                fallbacks = [self._name_drop(index, meter) for index in dropped]
                if flagged:
                    fallbacks.append(f"{meter} as {candidate}")
                return _rate(row, meter, self._list_rate(row, candidate), self._contract, tuple(fallbacks))
        return None

    def _find(self, meter: str) -> tuple[Row, tuple[int, ...]] | None:
        for layer in LAYERS:
            for conditions, dropped in self._rungs:
                row = self._found.get((layer, meter, conditions))
                if row is not None:
                    return row, dropped
        return None

    def _list_rate(self, row: Row, meter: str) -> tuple[int, int]:
        """A tenant's own rate is the contracted one; its list price is what everyone else would pay."""
        if row.layer == CONTRACT:
            for layer in (OWN, CATALOGUE):
                for conditions, _ in self._rungs:
                    listed = self._found.get((layer, meter, conditions))
                    if listed is not None:
                        return listed.list_pico, listed.list_per
        return row.list_pico, row.list_per

    def _name_drop(self, index: int, meter: str) -> str:
        """A condition that prices other meters of this model is named with the meter it does not price."""
        name = self._asked.dropped(index)
        value = name.partition("=")[2]
        known = any((index, one) in self._known_conditions for one in value.split("|"))
        return f"{name} for {meter}" if known else name


class Card:
    """All rates a kind of call can meet, over time, week and context tiers."""

    __slots__ = (
        "_ask", "_asked", "_contracts", "_targets", "slots", "surcharge", "tier_breaks", "time_breaks", "week_breaks",
    )  # fmt: skip

    def __init__(self, book: PriceBook, ask: Ask, targets: list[tuple[int, Target]]) -> None:
        self._ask = ask
        self._asked = asked_conditions(ask, book.overlay.requested_tier_providers)
        self._targets = targets
        self._contracts = [contract for contract in book.contracts if contract.tenant_id == ask.tenant_id]
        rows = [row for _, target in targets for row in target.rows]
        spans = [(row.valid_from_us, row.valid_to_us) for row in rows]
        spans += [(contract.valid_from_us, contract.valid_to_us) for contract in self._contracts]
        spans += [(start, END_US) for start, _ in targets]
        self.time_breaks = _breaks(spans, (BEGIN_US, END_US))
        self.week_breaks = _breaks((window for row in rows for window in row.windows), (0, WEEK_US))
        self.tier_breaks = _breaks(((row.above_tokens, row.upto_tokens) for row in rows), (BASE_TIER, NO_LIMIT))
        self.slots: dict[tuple[int, int, int], Slot] = {}
        self.surcharge: Card | None = None

    def slot(self, at_us: int, input_total_tokens: int) -> Slot:
        """The rates in force for a request of that size at that instant."""
        place = (
            bisect_right(self.time_breaks, at_us) if self.time_breaks else 0,
            bisect_right(self.week_breaks, time_of_week_us(at_us)) if self.week_breaks else 0,
            bisect_left(self.tier_breaks, input_total_tokens) if self.tier_breaks else 0,
        )
        found = self.slots.get(place)
        if found is None:
            found = self.slots[place] = self._make_slot(*place)
        return found

    def _make_slot(self, time_place: int, week_place: int, tier_place: int) -> Slot:
        at_us = self.time_breaks[time_place - 1] if time_place else BEGIN_US
        week_us = self.week_breaks[week_place - 1] if week_place else 0
        total_tokens = self.tier_breaks[tier_place - 1] + 1 if tier_place else 0
        target = next(target for start, target in reversed(self._targets) if start <= at_us)
        rows = [row for row in target.rows if applies(row, at_us, week_us, total_tokens)]
        contract = covering(self._contracts, self._ask, target, at_us)
        return Slot(target, rows, self._asked, contract)


def card(book: PriceBook, key: CardKey) -> Card:
    """The card of a kind of call, out of the book's cache."""
    found = book.cards.get(key)
    if found is None:
        if len(book.cards) >= MAX_CARDS:
            book.cards.clear()
        found = book.cards[key] = _make_card(book, Ask(*key))
    return found


def _make_card(book: PriceBook, ask: Ask) -> Card:
    starts = (BEGIN_US, *alias_breaks(book, ask))
    made = Card(book, ask, [(start, find_target(book, ask, start)) for start in starts])
    surcharge = find_surcharge(book, ask)
    if surcharge is not None:
        made.surcharge = Card(book, ask, [(BEGIN_US, surcharge)])
    return made


def _breaks(spans: Iterable[tuple[int, int]], outside: tuple[int, int]) -> tuple[int, ...]:
    """Every edge inside, sorted: between two of them nothing changes."""
    return tuple(sorted({edge for span in spans for edge in span} - set(outside)))


def _rate(row: Row, meter: str, listed: tuple[int, int], contract: Contract | None, fallbacks: tuple[str, ...]) -> Rate:
    list_pico, list_per = listed
    pico, per, price_id = row.list_pico, row.list_per, row.price_id
    matched = _matched(row, meter)
    if contract is not None and row.layer != CONTRACT:
        pico, per = _lowest_terms(pico * (_PPM - contract.discount_ppm), per * _PPM)
        price_id = digest(price_id, contract.tenant_id, contract.discount_ppm)
        matched = f"{contract.tenant_id} contract -{contract.discount_ppm} ppm on {matched}"
    return Rate(
        list_pico, list_per, pico, per, (list_pico, list_per) != (pico, per), row.minimum_quantity, price_id, matched,
        fallbacks,
    )  # fmt: skip


def _lowest_terms(pico: int, per: int) -> tuple[int, int]:
    divisor = gcd(pico, per)
    return pico // divisor, per // divisor


def _matched(row: Row, meter: str) -> str:
    """What a finance person needs to find the price in the list."""
    words = [row.layer, row.scope, row.provider, row.model, row.meter]
    words += [f"{name}={value}" for name, value in zip(CONDITION_NAMES, row.conditions, strict=True) if value]
    if row.above_tokens != BASE_TIER:
        words.append(f"above {row.above_tokens} input tokens")
    elif row.upto_tokens != NO_LIMIT:
        words.append(f"up to {row.upto_tokens} input tokens")
    if row.windows != WHOLE_WEEK:
        words.append("at these hours")
    if row.valid_from_us != BEGIN_US:
        words.append(f"since {date_text(row.valid_from_us)}")
    if row.minimum_quantity:
        words.append(f"at least {row.minimum_quantity}")
    if row.note:
        words.append(f"({row.note})")
    if meter != row.meter:
        words.append(f"for {meter}")
    return " ".join(filter(None, words))
