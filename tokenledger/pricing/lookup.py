"""The one ladder by which a rate is found, and the cards that remember what was found.

For a meter, then for each of its stand-ins: the layers (a tenant's contract, own rates, the catalogue); within a layer
all conditions of the call, then fewer of them, dropped in the order processing, service tier, region, speed. The first
hit wins, and every drop is named.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from math import gcd
from typing import Final

import msgspec

from tokenledger.pricing.book import MAX_CARDS, Contract, PriceBook, matches
from tokenledger.pricing.providers import fold, is_self_hosted
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
    Conditions,
    Row,
    applies,
    digest,
    time_of_week_us,
)
from tokenledger.pricing.stand_ins import STAND_INS

CardKey = tuple[
    str, str, str | None, str | None, str | None, str | None, str | None, str | None, str | None, str | None,
    str | None, str | None, str | None,
]  # fmt: skip
"""The facts of a call that choose its rates; see `Ask`."""

_PPM: Final = 10**6

_STANDARD: Final = frozenset(
    {"", "default", "auto", "standard", "standard_only", "on_demand", "on-demand", "ondemand", "unspecified", "normal",
     "service_tier_unspecified", "traffic_type_unspecified", "none", "null", "sync", "synchronous", "realtime"}
)  # fmt: skip
"""Values that mean the plain price: they are no condition."""

_TIERS: Final = {"on_demand_priority": "priority", "on_demand_flex": "flex", "on_demand_offpeak": "offpeak"}
"""Vertex AI's `trafficType`, in the words of the price lists."""


class Ask(msgspec.Struct, frozen=True, gc=False):
    """What of a call chooses its rates, in the order of a card's key."""

    tenant_id: str
    provider: str
    host_provider: str | None
    response_model: str | None
    request_model: str | None
    deployment_id: str | None
    engine: str | None
    processing: str | None
    service_tier_served: str | None
    service_tier_requested: str | None
    region: str | None
    data_region: str | None
    speed: str | None


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


class _Target(msgspec.Struct, frozen=True):
    """The priced model of a call and all its rows."""

    provider: str | None
    model: str | None
    rows: tuple[Row, ...]


class _Asked(msgspec.Struct, frozen=True):
    """The call's conditions, in the price lists' words."""

    processing: str
    service_tier: str
    regions: tuple[str, ...]
    speed: str
    notes: tuple[str, ...]

    def dropped(self, index: int) -> str:
        """The condition as it is named in `rate_fallbacks`."""
        value = (self.processing, self.service_tier, "|".join(self.regions), self.speed)[index]
        return f"{CONDITION_NAMES[index]}={value}"


class Slot:
    """Rates in force together: one span of validity, part of the week and context tier. Meters resolve on first use."""

    __slots__ = ("_asked", "_contract", "_found", "_known_conditions", "_rungs", "model", "notes", "provider", "rates")

    def __init__(self, target: _Target, rows: Iterable[Row], asked: _Asked, contract: Contract | None) -> None:
        self.provider = target.provider
        self.model = target.model
        self.rates: dict[str, Rate | None] = {}
        self.notes = asked.notes
        self._asked = asked
        self._contract = contract
        self._rungs = tuple(_rungs(asked))
        self._found: dict[tuple[str, str, Conditions], Row] = {}
        for row in rows:
            key = (row.layer, row.meter, row.conditions)
            assert key not in self._found, f"two rows hold: {row} and {self._found[key]}"
            self._found[key] = row
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

    __slots__ = ("_asked", "_book", "_contracts", "_targets", "slots", "tier_breaks", "time_breaks", "week_breaks")

    def __init__(self, book: PriceBook, ask: Ask) -> None:
        asked = _asked(ask, book.overlay.requested_tier_providers)
        alias_breaks = _alias_breaks(book, ask)
        self._asked = asked
        self._targets = [(start, _target(book, ask, start)) for start in (BEGIN_US, *alias_breaks)]
        self._contracts = [c for c in book.contracts if c.tenant_id == ask.tenant_id and _may_cover(c, ask)]
        self._book = book
        rows = [row for _, target in self._targets for row in target.rows]
        self.time_breaks = _breaks(
            (edge for entry in (*rows, *self._contracts) for edge in (entry.valid_from_us, entry.valid_to_us)),
            alias_breaks, outside=(BEGIN_US, END_US),
        )  # fmt: skip
        self.week_breaks = _breaks((edge for row in rows for w in row.windows for edge in w), (), outside=(0, WEEK_US))
        self.tier_breaks = _breaks(
            (edge for row in rows for edge in (row.above_tokens, row.upto_tokens)), (), outside=(BASE_TIER, NO_LIMIT)
        )
        self.slots: dict[tuple[int, int, int], Slot] = {}

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
        contract = next((c for c in self._contracts if c.valid_from_us <= at_us < c.valid_to_us
                         and _covers(c, target)), None)  # fmt: skip
        return Slot(target, rows, self._asked, contract)


def card(book: PriceBook, key: CardKey) -> Card:
    """The card of a kind of call, out of the book's cache."""
    found = book.cards.get(key)
    if found is None:
        if len(book.cards) >= MAX_CARDS:
            book.cards.clear()
        found = book.cards[key] = Card(book, Ask(*key))
    return found


# Conditions


def _asked(ask: Ask, requested_tier_providers: Sequence[str]) -> _Asked:
    processing = _condition(ask.processing)
    notes: tuple[str, ...] = ()
    tier = _condition(ask.service_tier_served)
    requested = _condition(ask.service_tier_requested)
    if ask.provider in requested_tier_providers or (ask.service_tier_served is None and requested):
        if requested and requested != tier:
            notes = (f"service_tier_requested={requested}",)
        tier = requested
    if tier == "batch":
        processing, tier = "batch", ""
    regions = tuple(dict.fromkeys(region.lower() for region in (ask.data_region, ask.region) if region))
    return _Asked(processing, tier, regions, _condition(ask.speed), notes)


def _condition(value: str | None) -> str:
    if value is None:
        return ""
    folded = value.strip().lower()
    return "" if folded in _STANDARD else _TIERS.get(folded, folded)


def _rungs(asked: _Asked) -> Iterator[tuple[Conditions, tuple[int, ...]]]:
    """(conditions to look for, indexes of those dropped), fewest drops first."""
    stated = [i for i, v in enumerate((asked.processing, asked.service_tier, asked.regions, asked.speed)) if v]
    for count in range(len(stated) + 1):
        for dropped in combinations(stated, count):
            for region in asked.regions if asked.regions and 2 not in dropped else ("",):
                kept = (asked.processing, asked.service_tier, region, asked.speed)
                processing, tier, place, speed = ("" if i in dropped else value for i, value in enumerate(kept))
                yield (processing, tier, place, speed), dropped


# The priced model


def _provider_names(ask: Ask) -> tuple[str, ...]:
    """Names the provider is sold under, the most particular first: the reseller's host belongs to it."""
    host = (f"{fold(ask.provider)}_{fold(ask.host_provider)}",) if ask.host_provider else ()
    return (*host, ask.provider)


def _alias_breaks(book: PriceBook, ask: Ask) -> tuple[int, ...]:
    edges: set[int] = set()
    for name in (ask.response_model, ask.request_model, ask.deployment_id):
        for alias in book.aliases.get((ask.provider.lower(), name.lower()), ()) if name else ():
            edges |= {alias.valid_from_us, alias.valid_to_us}
    return tuple(sorted(edges - {BEGIN_US, END_US}))


def _unaliased(book: PriceBook, provider: str, name: str, at_us: int) -> str:
    for alias in book.aliases.get((provider.lower(), name.lower()), ()):
        if alias.valid_from_us <= at_us < alias.valid_to_us:
            return alias.model
    return name


def _target(book: PriceBook, ask: Ask, at_us: int) -> _Target:
    """What was served has the price; the name that was asked for counts only where that one is unknown.

    A deployment that was given a price of its own keeps it whatever model the reply names.
    """
    served, asked, deployed = (
        _unaliased(book, ask.provider, name, at_us) if name else None
        for name in (ask.response_model, ask.request_model, ask.deployment_id)
    )
    special = _own_target(book, ask, deployed) if deployed else None
    for name in filter(None, (served, asked, deployed)):
        found = _model_target(book, ask, name)
        if found is not None:
            if special is None or special == found:
                return found
            catalogue_rows = tuple(row for row in found.rows if row.layer == CATALOGUE)
            return _Target(special.provider, special.model, special.rows + catalogue_rows)
    return special or _Target(None, None, ())


def _own_rows(book: PriceBook, tenant_id: str, provider: str, model: str) -> tuple[Row, ...]:
    """Rows of the exact name, else of the longest prefix; a tenant's and everyone's are two layers."""
    names = [(provider.lower(), model.lower())]
    names += [pattern for pattern in book.patterns if pattern[0] == names[0][0] and matches(pattern[1], model)]
    found: dict[str, tuple[Row, ...]] = {}
    for name in names:
        rows = book.rows.get(name, ())
        for layer in (CONTRACT, OWN):
            fitting = tuple(row for row in rows if row.layer == layer and row.scope in {"", tenant_id})
            if fitting:
                found.setdefault(layer, fitting)
    return tuple(row for rows in found.values() for row in rows)


def _own_target(book: PriceBook, ask: Ask, name: str) -> _Target | None:
    for provider in _provider_names(ask):
        rows = _own_rows(book, ask.tenant_id, provider, name)
        if rows:
            return _Target(provider, name, rows)
    return None


def _model_target(book: PriceBook, ask: Ask, name: str) -> _Target | None:
    own = _own_target(book, ask, name)
    if is_self_hosted(ask.provider, ask.engine):
        return own
    for provider in _provider_names(ask):
        found = book.catalogue.find(provider, name)
        listed = book.catalogue_rows.get((found.provider, found.model)) if found else None
        if found is None or listed is None:
            continue
        if own is None:
            own = _listed_own_target(book, ask.tenant_id, found.provider, found.model)
        rows = tuple(row for row in listed if not found.inherited or row.conditions == ("", "", "", ""))
        if own is None:
            return _Target(found.provider, found.model, rows)
        return _Target(own.provider, own.model, own.rows + rows)
    return own


def _listed_own_target(book: PriceBook, tenant_id: str, provider: str, model: str) -> _Target | None:
    rows = _own_rows(book, tenant_id, provider, model)
    return _Target(provider, model, rows) if rows else None


# Contracts


def _may_cover(contract: Contract, ask: Ask) -> bool:
    return any(matches(contract.provider, name) for name in _provider_names(ask)) or not contract.provider.endswith("*")


def _covers(contract: Contract, target: _Target) -> bool:
    return (
        target.provider is not None
        and target.model is not None
        and matches(contract.provider, target.provider)
        and matches(contract.model, target.model)
    )


def _breaks(edges: Iterable[int], more: Iterable[int], *, outside: tuple[int, int]) -> tuple[int, ...]:
    return tuple(sorted({*edges, *more} - set(outside)))


def _rate(
    row: Row, meter: str, listed: tuple[int, int], contract: Contract | None, fallbacks: tuple[str, ...]
) -> Rate:
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
    if row.minimum_quantity:
        words.append(f"at least {row.minimum_quantity}")
    if row.note:
        words.append(f"({row.note})")
    if meter != row.meter:
        words.append(f"for {meter}")
    return " ".join(filter(None, words))
