"""The packaged catalogue: every price of the installed genai-prices, compiled to rows. Only this module imports it.

Its semantics become plain rows: the last active dated price wins, variants override price by price, a tier re-prices
all tokens, a generic price is the rate of every kind of token that has no more specific one.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import cache, lru_cache
from typing import Final

import genai_prices
import msgspec
from genai_prices.data import providers as _providers
from genai_prices.data_units import unit_data
from genai_prices.types import (
    ModelInfo,
    ModelPrice,
    Provider,
    StartDateConstraint,
    TieredPrices,
    TimeOfDateConstraint,
)

from tokenledger.pricing.dimensions import METER_DIMENSIONS
from tokenledger.pricing.providers import CATALOGUE_PROVIDERS, fold
from tokenledger.pricing.rate import (
    BASE_TIER,
    BEGIN_US,
    CATALOGUE,
    CONDITION_NAMES,
    DAY_US,
    END_US,
    NO_CONDITIONS,
    NO_LIMIT,
    Conditions,
    Row,
    daily_windows,
    digest,
    exact_rate,
)
from tokenledger.pricing.stand_ins import STAND_INS

_RELEASED_AT: Final = {"0.2.3": datetime(2026, 11, 10, 21, 51, 42, tzinfo=UTC)}
"""Upload time of each release read so far: from then on its prices are known."""

_UNITS_PER_BASE_UNIT: Final = {"audio_ms": 1000}
"""Our base units in one of the catalogue's: it counts audio in seconds."""

# Groq bills at least 10 seconds a request (https://groq.com/pricing); the catalogue holds that in code, not in data.
_MINIMUM_MS: Final = {("groq", "whisper-large-v3"): 10_000, ("groq", "whisper-large-v3-turbo"): 10_000}

# Their documentation charges opened pages as prompt tokens only; the catalogue says nothing about them.
_FREE_PAGE_OPENS: Final = frozenset({"anthropic", "google", "openai"})

_FREE_COMMENTS: Final = ("Free of charge", "Included in the subscription")

Price = Decimal | TieredPrices
Prices = Mapping[str, Price]


class Found(msgspec.Struct, frozen=True, gc=False):
    """A model of the catalogue."""

    provider: str
    """Provider whose price list holds it."""
    model: str
    """Its name there."""
    inherited: bool
    """Whether the call's provider only resells it; then only its standard prices apply."""


class Catalogue(msgspec.Struct, frozen=True):
    """A price list, compiled."""

    name: str
    """Package and version."""
    known_from_us: int
    """When it was released."""
    rows: Mapping[tuple[str, str], tuple[Row, ...]]
    """(provider, model) → its rows; models without a price are absent."""
    version: str
    """Hash of all rows."""
    find: Callable[[str, str], Found | None]
    """(provider name, model name) → the model, by the catalogue's own matching."""
    unmapped: tuple[str, ...] = ()
    """What the catalogue holds and no meter or condition of ours can express."""


@cache
def packaged_catalogue() -> Catalogue:
    """The installed genai-prices."""
    rows = {
        (provider.id, model.id): compiled
        for provider in _providers
        for model in provider.models
        if (compiled := tuple(_compile_model(provider, model)))
    }
    return Catalogue(
        name=f"genai-prices {genai_prices.__version__}",
        known_from_us=_known_from_us(),
        rows=rows,
        version=digest(*sorted(row_digest(row) for group in rows.values() for row in group)),
        find=_find,
        unmapped=tuple(sorted({gap for p in _providers for m in p.models for gap in _unmapped(p, m)})),
    )


def row_digest(row: Row) -> str:
    """Everything in the row, times of validity and knowledge too."""
    return f"{row.price_id} {row.valid_to_us} {row.known_from_us} {row.known_to_us}"


@cache
def _known_from_us() -> int:
    # A release newer than this table is later than all of it; the newest date stated is the best bound there is.
    released = _RELEASED_AT.get(genai_prices.__version__, max(_RELEASED_AT.values()))
    return _us(released)


def _us(at: datetime) -> int:
    return int(at.timestamp()) * 1_000_000


# Model matching


@cache
def _providers_by_name() -> dict[str, Provider]:
    by_id = {provider.id: provider for provider in _providers}
    names = {fold(provider.id): provider for provider in _providers}
    return names | {name: by_id[target] for name, target in CATALOGUE_PROVIDERS.items() if target in by_id}


@cache
def _owners() -> dict[int, str]:
    return {id(model): provider.id for provider in _providers for model in provider.models}


def _model_names(model: str) -> Iterator[str]:
    """The name, then the name inside a resource path or ARN (`publishers/google/models/x`, `arn:…/x`)."""
    yield model
    _, found, tail = model.rpartition("models/")
    if found:
        yield tail
    if model.startswith("arn:"):
        yield model.rpartition("/")[2]


@lru_cache(maxsize=65536)
def _find(provider_name: str, model_name: str) -> Found | None:
    provider = _providers_by_name().get(fold(provider_name))
    if provider is None and fold(provider_name) == "litellm":
        prefix, _, model_name = model_name.partition("/")
        provider = _providers_by_name().get(fold(prefix))
    if provider is None:
        return None
    for name in _model_names(model_name):
        model = provider.find_model(name, all_providers=_providers)
        if model is not None:
            owner = _owners()[id(model)]
            return Found(owner, model.id, owner != provider.id)
    return None


# Meters: whose price is a meter's rate


@cache
def _price_key_dimensions() -> dict[str, frozenset[tuple[str, str]]]:
    return {unit["price_key"]: frozenset(unit["dimensions"].items()) for unit in unit_data.values()}


@cache
def _price_key_units() -> dict[str, int]:
    return {unit["price_key"]: unit["per"] for unit in unit_data.values()}


def _price_key(meter: str, price_keys: Iterable[str]) -> str | None:
    """The most specific of the keys that covers the meter."""
    wanted = METER_DIMENSIONS[meter]
    known = _price_key_dimensions()
    covering = [key for key in price_keys if key in known and known[key] <= wanted]
    return max(covering, key=lambda key: (len(known[key]), key), default=None)


@lru_cache(maxsize=1024)
def _plan(standard: frozenset[str], overrides: frozenset[str]) -> tuple[tuple[str, str], ...]:
    """(meter, price key) rows to write so that the look-up finds what the catalogue means, and no more rows than that.

    With `overrides` the rows are those of a condition whose prices replace some of the standard ones.
    """
    plain = {} if not overrides else dict(_plan(standard, frozenset()))
    written: dict[str, str] = {}
    for meter in sorted(METER_DIMENSIONS, key=lambda meter: (len(STAND_INS[meter]), meter)):
        key = _price_key(meter, standard | overrides)
        if key is None or (overrides and key not in overrides):
            continue
        if _found_key(meter, written, plain) != (key, True):
            written[meter] = key
    return tuple(written.items())


def _found_key(meter: str, written: Mapping[str, str], plain: Mapping[str, str]) -> tuple[str, bool] | None:
    """The price key the look-up would find, and whether under the condition itself."""
    for candidate in (meter, *(stand_in for stand_in, _ in STAND_INS[meter])):
        if candidate in written:
            return written[candidate], True
        if candidate in plain:
            return plain[candidate], False
    return None


# Time: constraints to validity and windows


def _conditions(when: Mapping[str, str]) -> Conditions | None:
    """The row's conditions, or None where one is asked that a call of ours cannot state."""
    if not set(when) <= set(CONDITION_NAMES):
        return None
    processing, tier, region, speed = (when.get(name, "").lower() for name in CONDITION_NAMES)
    return (processing, tier, region, speed)


def _price_sets(model: ModelInfo, at: datetime) -> Iterator[tuple[Conditions, Prices, Prices]]:
    """(conditions, standard prices, prices that replace them) in force at an instant."""
    standard = _stated(model.get_prices(at))
    yield NO_CONDITIONS, standard, {}
    replaced: dict[Conditions, dict[str, Price]] = {}
    for variant in model.price_variants or ():
        conditions = _conditions(variant.when)
        if conditions is None or (variant.constraint is not None and not variant.constraint.active(at)):
            continue
        prices = replaced.setdefault(conditions, {})
        for key, price in _stated(variant.prices).items():
            prices.setdefault(key, price)
    for conditions, prices in replaced.items():
        if prices:
            yield conditions, standard, prices


def _stated(prices: ModelPrice) -> dict[str, Price]:
    return {key: price for key, price in vars(prices).items() if price is not None}


def _constraints(model: ModelInfo) -> list[StartDateConstraint | TimeOfDateConstraint]:
    stated = [price.constraint for price in model.prices] if isinstance(model.prices, list) else []
    stated += [variant.constraint for variant in model.price_variants or ()]
    return [constraint for constraint in stated if constraint is not None]


def _time_of_day_us(at: time) -> int:
    utc = at if at.tzinfo is None else datetime.combine(date(1970, 1, 1), at).astimezone(UTC).timetz()
    return ((utc.hour * 60 + utc.minute) * 60 + utc.second) * 1_000_000 + utc.microsecond


def _spans(model: ModelInfo) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Date spans and spans of the day within which the same prices are in force."""
    starts, times = {BEGIN_US}, {0}
    for constraint in _constraints(model):
        if isinstance(constraint, StartDateConstraint):
            starts.add(_us(datetime.combine(constraint.start_date, time(), tzinfo=UTC)))
        else:
            times |= {_time_of_day_us(constraint.start_time), _time_of_day_us(constraint.end_time)}
    return _pairs(starts, END_US), _pairs(times, DAY_US)


def _pairs(starts: Iterable[int], end: int) -> list[tuple[int, int]]:
    ordered = sorted(starts)
    return list(zip(ordered, [*ordered[1:], end], strict=True))


# Rows

_Rate = tuple[Conditions, str, int, int, int, int, str]
"""Conditions, meter, above_tokens, upto_tokens, pico, per, note."""


def _rates(model: ModelInfo, at: datetime) -> Iterator[_Rate]:
    for conditions, standard, overrides in _price_sets(model, at):
        prices = {**standard, **overrides}
        for meter, key in _plan(frozenset(standard), frozenset(overrides)):
            units = _price_key_units()[key] * _UNITS_PER_BASE_UNIT.get(meter, 1)
            for above, upto, price in _tiers(prices[key]):
                yield (conditions, meter, above, upto, *exact_rate(price, units), "")
        if conditions == NO_CONDITIONS:
            yield from ((conditions, meter, BASE_TIER, NO_LIMIT, 0, 1, why) for meter, why in _free(model, standard))


def _free(model: ModelInfo, prices: Prices) -> Iterator[tuple[str, str]]:
    """(meter, reason) of tokens the provider does not bill; a price that is merely unknown is not among them."""
    if prices:
        if not any("tokens" in dict(_price_key_dimensions().get(key, ())).values() for key in prices):
            yield from ((meter, "not billed by the token") for meter in ("input.text", "output.text"))
    elif ":free" in model.id or (model.price_comments or "").startswith(_FREE_COMMENTS):
        yield from ((meter, "free of charge") for meter in ("input.text", "output.text"))


def _tiers(price: Price) -> Iterator[tuple[int, int, Decimal]]:
    """(above_tokens, upto_tokens, price) of each tier; a threshold itself belongs below."""
    if isinstance(price, Decimal):
        yield BASE_TIER, NO_LIMIT, price
        return
    above, current = BASE_TIER, price.base
    for tier in price.tiers:
        yield above, tier.start, current
        above, current = tier.start, tier.price
    yield above, NO_LIMIT, current


def _compile_model(provider: Provider, model: ModelInfo) -> Iterator[Row]:
    date_spans, day_spans = _spans(model)
    held: dict[_Rate, dict[int, list[tuple[int, int]]]] = {}
    for number, (start_us, _) in enumerate(date_spans):
        for span in day_spans:
            at = datetime.fromtimestamp((start_us + span[0]) // 1_000_000, tz=UTC)
            for rate in _rates(model, at):
                held.setdefault(rate, {}).setdefault(number, []).append(span)
    if provider.id in _FREE_PAGE_OPENS and held:
        opened = (NO_CONDITIONS, "tool.web_fetch", BASE_TIER, NO_LIMIT, 0, 1, "no fee beyond its tokens")
        held[opened] = {number: list(day_spans) for number in range(len(date_spans))}
    for rate, spans_by_date in held.items():
        for first, last, spans in _runs(spans_by_date):
            yield _row(provider, model, rate, (date_spans[first][0], date_spans[last][1]), tuple(spans))


def _runs(spans_by_date: Mapping[int, list[tuple[int, int]]]) -> Iterator[tuple[int, int, list[tuple[int, int]]]]:
    """Neighbouring date spans with the same spans of the day, as one."""
    run: tuple[int, int, list[tuple[int, int]]] | None = None
    for number, spans in sorted(spans_by_date.items()):
        if run is not None and run[1] + 1 == number and run[2] == spans:
            run = (run[0], number, spans)
            continue
        if run is not None:
            yield run
        run = (number, number, spans)
    if run is not None:
        yield run


@lru_cache(maxsize=256)
def _windows(spans: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    return daily_windows(spans)


def _row(
    provider: Provider, model: ModelInfo, rate: _Rate, valid_us: tuple[int, int], spans: tuple[tuple[int, int], ...]
) -> Row:
    conditions, meter, above, upto, pico, per, note = rate
    return Row(
        layer=CATALOGUE, provider=provider.id, model=model.id, meter=meter, conditions=conditions,
        above_tokens=above, upto_tokens=upto, windows=_windows(spans),
        valid_from_us=valid_us[0], valid_to_us=valid_us[1], known_from_us=_known_from_us(),
        list_pico=pico, list_per=per,
        minimum_quantity=_MINIMUM_MS.get((provider.id, model.id), 0) if meter == "audio_ms" else 0, note=note,
    )  # fmt: skip


def _unmapped(provider: Provider, model: ModelInfo) -> Iterator[str]:
    """Prices no row was written for, and why."""
    price_sets = [price.prices for price in model.prices] if isinstance(model.prices, list) else [model.prices]
    price_sets += [variant.prices for variant in model.price_variants or ()]
    keys = {key for prices in price_sets for key in _stated(prices)}
    covered = {key for meter in METER_DIMENSIONS if (key := _price_key(meter, keys))}
    yield from (f"{provider.id} {model.id}: no meter for {key}" for key in keys - covered - {"audio_hours"})
    for variant in model.price_variants or ():
        if _conditions(variant.when) is None:
            yield f"{provider.id} {model.id}: no condition for {dict(variant.when)}"
    if not all(map(_stated, price_sets[:1])) and not any(_free(model, {})):
        yield f"{provider.id} {model.id}: listed without a price"
