"""A company's own prices out of YAML or JSON data: rates, tenants' contracts, surcharges and moving names.

Data is what a parser returned; reading files is the caller's. Every refusal names the entry, the field, the value and
what would be right. Nothing is guessed: an unknown field is an error.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from tokenledger.pricing.book import Alias, Contract, Overlay
from tokenledger.pricing.catalogue import Catalogue, packaged_catalogue
from tokenledger.pricing.rate import (
    BASE_TIER,
    BEGIN_US,
    CONTRACT,
    DAY_US,
    END_US,
    NO_CONDITIONS,
    NO_LIMIT,
    OWN,
    WEEK_US,
    WHOLE_WEEK,
    Conditions,
    Row,
    Windows,
    exact_rate,
    merge_windows,
)
from tokenledger.records.meters import METERS

_PPM: Final = 10**6
_SLIP: Final = 100
"""A rate this many times the catalogue's, or this fraction of it, is a unit slip unless confirmed."""

_RATE_FIELDS: Final = {
    "usd_per_million": (10**6, {"tokens", "characters"}),
    "usd_per_thousand": (10**3, {"calls", "pages", "images", "characters"}),
    "usd_per_hour": (3_600_000, {"milliseconds"}),
    "usd_each": (1, {"calls", "pages", "images"}),
}
"""Field → (base units its prices are for, units of the meters it may price)."""

_DATES: Final = {"from", "to", "known_from", "known_to"}
_PRICE_FIELDS: Final = (
    {"provider", "model", "tenant", "currency", "processing", "service_tier", "region", "speed", "above_input_tokens",
     "upto_input_tokens", "windows", "confirm", "note"} | set(_RATE_FIELDS) | _DATES
)  # fmt: skip
_FIELDS: Final = {
    "prices": _PRICE_FIELDS,
    "surcharges": _PRICE_FIELDS,
    "contracts": {"tenant", "provider", "model", "discount_ppm", "note"} | _DATES,
    "aliases": {"provider", "name", "model", "note"} | _DATES,
}
_DAYS: Final = {day: number for number, day in enumerate(("mon", "tue", "wed", "thu", "fri", "sat", "sun"))}

Entry = Mapping[str, Any]


class OverlayError(ValueError):
    """An entry that cannot be used."""

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(f"{where}: {problem}")
        self.where = where


def read_overlay(data: object, *, catalogue: Catalogue | None = None) -> Overlay:
    """The overlay that parsed YAML or JSON describes, held against the catalogue (the packaged one, if none is given).

    Raises OverlayError for the first entry that cannot be used.
    """
    sections = _mapping(data, "prices file")
    _no_others(sections, {*_FIELDS, "requested_tier_providers"}, "prices file")
    listed = catalogue or packaged_catalogue()
    return Overlay(
        rows=tuple(_rows(sections, "prices", listed)),
        surcharges=tuple(_rows(sections, "surcharges", listed)),
        contracts=tuple(_contract(entry, where) for where, entry in _entries(sections, "contracts")),
        aliases=tuple(_alias(entry, where) for where, entry in _entries(sections, "aliases")),
        requested_tier_providers=tuple(
            _text({"provider": name}, "provider", "requested_tier_providers")
            for name in sections.get("requested_tier_providers") or ()
        ),
    )


def _entries(sections: Entry, name: str) -> Iterator[tuple[str, Entry]]:
    entries = sections.get(name) or ()
    if not isinstance(entries, Sequence) or isinstance(entries, str):
        raise OverlayError(name, f"is {entries!r}; expected a list of entries")
    for number, entry in enumerate(entries):
        where = f"{name}[{number}]"
        fields = _mapping(entry, where)
        _no_others(fields, _FIELDS[name], where)
        yield where, fields


# Prices


def _rows(sections: Entry, name: str, listed: Catalogue) -> Iterator[Row]:
    for where, entry in _entries(sections, name):
        prices = list(_prices(entry, where))
        if not prices:
            raise OverlayError(where, f"has no rate; add one of {', '.join(_RATE_FIELDS)}")
        for field, meter, price_usd, units in prices:
            row = _row(entry, where, meter, _exact(price_usd, units, f"{where}.{field}.{meter}"))
            if name == "prices" and entry.get("confirm") is not True:
                _check_slip(row, listed, f"{where}.{field}.{meter}")
            yield row


def _prices(entry: Entry, where: str) -> Iterator[tuple[str, str, Decimal, int]]:
    """(field, meter, price, units) of every rate the entry states."""
    for field, (units, allowed) in _RATE_FIELDS.items():
        for meter, price in _mapping(entry.get(field) or {}, f"{where}.{field}").items():
            place = f"{where}.{field}.{meter}"
            if meter not in METERS:
                raise OverlayError(place, f"no such meter; the meters are {', '.join(METERS)}")
            if METERS[meter].unit not in allowed:
                fitting = [name for name, (_, units_of) in _RATE_FIELDS.items() if METERS[meter].unit in units_of]
                raise OverlayError(place, f"{meter} is counted in {METERS[meter].unit}; state it under {fitting[0]}")
            yield field, meter, _decimal(price, place), units


def _row(entry: Entry, where: str, meter: str, rate: tuple[int, int]) -> Row:
    currency = entry.get("currency", "USD")
    if currency != "USD":
        raise OverlayError(f"{where}.currency", f"is {currency!r}; only USD is priced, convert the rates first")
    tenant = _text(entry, "tenant", where, default="")
    above = _whole(entry, "above_input_tokens", where, default=BASE_TIER)
    upto = _whole(entry, "upto_input_tokens", where, default=NO_LIMIT)
    if above >= upto:
        raise OverlayError(f"{where}.above_input_tokens", f"is {above}, not below upto_input_tokens {upto}")
    valid_from_us, valid_to_us, known_from_us, known_to_us = _dates(entry, where)
    return Row(
        layer=CONTRACT if tenant else OWN, scope=tenant,
        provider=_text(entry, "provider", where), model=_text(entry, "model", where), meter=meter,
        conditions=_conditions(entry, where), above_tokens=above, upto_tokens=upto,
        windows=_windows(entry.get("windows"), f"{where}.windows"),
        valid_from_us=valid_from_us, valid_to_us=valid_to_us, known_from_us=known_from_us, known_to_us=known_to_us,
        list_pico=rate[0], list_per=rate[1], note=_text(entry, "note", where, default=""),
    )  # fmt: skip


def _conditions(entry: Entry, where: str) -> Conditions:
    processing, tier, region, speed = (
        _text(entry, name, where, default="").lower() for name in ("processing", "service_tier", "region", "speed")
    )
    if tier == "batch":
        raise OverlayError(f"{where}.service_tier", "is 'batch'; state `processing: batch`")
    return (processing, tier, region, speed)


def _exact(price_usd: Decimal, units: int, place: str) -> tuple[int, int]:
    try:
        return exact_rate(price_usd, units)
    except ValueError as problem:
        raise OverlayError(place, str(problem)) from None


def _check_slip(row: Row, listed: Catalogue, place: str) -> None:
    """Cents for dollars, per token for per million: such slips are a hundredfold or more."""
    found = listed.find(row.provider, row.model.removesuffix("*"))
    rows = listed.rows.get((found.provider, found.model), ()) if found and row.list_pico else ()
    others = [
        other for other in rows
        if other.meter == row.meter and other.conditions in {row.conditions, NO_CONDITIONS} and other.list_pico
    ]  # fmt: skip
    if others and not any(_within(row, other) for other in others):
        times = Decimal(row.list_pico * others[0].list_per) / (row.list_per * others[0].list_pico)
        raise OverlayError(
            place,
            f"is {times.normalize():f} times the catalogue's rate; mend the unit, or state `confirm: true`",
        )


def _within(row: Row, other: Row) -> bool:
    ours, theirs = row.list_pico * other.list_per, other.list_pico * row.list_per
    return ours < theirs * _SLIP and theirs < ours * _SLIP


# Contracts and names


def _contract(entry: Entry, where: str) -> Contract:
    discount_ppm = _whole(entry, "discount_ppm", where)
    if not 0 <= discount_ppm <= _PPM:
        raise OverlayError(f"{where}.discount_ppm", f"is {discount_ppm}; expected 0 to {_PPM}, 150000 being 15 %")
    valid_from_us, valid_to_us, known_from_us, known_to_us = _dates(entry, where)
    return Contract(
        tenant_id=_text(entry, "tenant", where),
        provider=_text(entry, "provider", where, default="*"),
        model=_text(entry, "model", where, default="*"),
        discount_ppm=discount_ppm,
        valid_from_us=valid_from_us, valid_to_us=valid_to_us, known_from_us=known_from_us, known_to_us=known_to_us,
    )  # fmt: skip


def _alias(entry: Entry, where: str) -> Alias:
    valid_from_us, valid_to_us, known_from_us, known_to_us = _dates(entry, where)
    return Alias(
        provider=_text(entry, "provider", where),
        name=_text(entry, "name", where),
        model=_text(entry, "model", where),
        valid_from_us=valid_from_us, valid_to_us=valid_to_us, known_from_us=known_from_us, known_to_us=known_to_us,
    )  # fmt: skip


# Values


def _mapping(value: object, where: str) -> Entry:
    if not isinstance(value, Mapping):
        raise OverlayError(where, f"is {value!r}; expected fields with values")
    return value


def _no_others(entry: Entry, allowed: set[str], where: str) -> None:
    unknown = sorted(str(field) for field in entry if field not in allowed)
    if unknown:
        raise OverlayError(f"{where}.{unknown[0]}", f"no such field; expected {', '.join(sorted(allowed))}")


def _text(entry: Entry, field: str, where: str, *, default: str | None = None) -> str:
    value = entry.get(field, default)
    if value is None:
        raise OverlayError(f"{where}.{field}", "is missing; expected a name")
    if not isinstance(value, str) or (not value.strip() and default is None):
        raise OverlayError(f"{where}.{field}", f"is {value!r}; expected a name")
    return value.strip()


def _whole(entry: Entry, field: str, where: str, *, default: int | None = None) -> int:
    value = entry.get(field, default)
    if value is None:
        raise OverlayError(f"{where}.{field}", "is missing; expected a whole number")
    if not isinstance(value, int) or isinstance(value, bool):
        raise OverlayError(f"{where}.{field}", f"is {value!r}; expected a whole number")
    return value


def _decimal(value: object, place: str) -> Decimal:
    """A number as it was written: the shortest text of a parsed float is that text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise OverlayError(place, f"is {value!r}; expected a number of US dollars")
    try:
        return Decimal(repr(value) if isinstance(value, float) else value)
    except InvalidOperation:
        raise OverlayError(place, f"is {value!r}; expected a number of US dollars, such as 2.50") from None


def _dates(entry: Entry, where: str) -> tuple[int, int, int, int]:
    spans = []
    for start, end in (("from", "to"), ("known_from", "known_to")):
        start_us = _instant(entry.get(start), f"{where}.{start}", BEGIN_US)
        end_us = _instant(entry.get(end), f"{where}.{end}", END_US)
        if start_us >= end_us:
            raise OverlayError(f"{where}.{end}", f"is {entry.get(end)}, not after `{start}` {entry.get(start)}")
        spans += [start_us, end_us]
    valid_from_us, valid_to_us, known_from_us, known_to_us = spans
    return valid_from_us, valid_to_us, known_from_us, known_to_us


def _instant(value: object, place: str, default_us: int) -> int:
    """A date means its midnight UTC; a time must state its offset."""
    if value is None:
        return default_us
    parsed = _parsed_instant(value)
    if parsed is None or parsed.tzinfo is None:
        raise OverlayError(place, f"is {value!r}; expected a date such as 2026-01-31 or 2026-01-31T16:00:00Z")
    since_epoch = parsed - datetime(1970, 1, 1, tzinfo=UTC)
    return (since_epoch.days * 86_400 + since_epoch.seconds) * 10**6 + since_epoch.microseconds


def _parsed_instant(value: object) -> datetime | None:
    if isinstance(value, datetime):
        # YAML parsers give a time that was written in UTC without its zone.
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, date):
        return datetime.combine(value, time(), tzinfo=UTC)
    if not isinstance(value, str):
        return None
    try:
        parsed = datetime.fromisoformat(value)
    except ValueError:
        return None
    is_date = len(value) == len("2026-01-31")
    return parsed.replace(tzinfo=UTC) if is_date else parsed


def _windows(value: object, place: str) -> Windows:
    """Parts of the week: `[{days: mon-fri, from: "01:00", to: "04:00"}]`, all in UTC."""
    if value is None:
        return WHOLE_WEEK
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise OverlayError(place, f"is {value!r}; expected a list of {{days: mon-fri, from: '01:00', to: '04:00'}}")
    windows: list[tuple[int, int]] = []
    for number, window in enumerate(value):
        where = f"{place}[{number}]"
        fields = _mapping(window, where)
        _no_others(fields, {"days", "from", "to"}, where)
        start_us = _clock(fields.get("from", "00:00"), f"{where}.from") % DAY_US
        end_us = _clock(fields.get("to", "24:00"), f"{where}.to")
        length_us = end_us - start_us if end_us > start_us else end_us + DAY_US - start_us
        for day in _days(fields.get("days", "mon-sun"), f"{where}.days"):
            windows += _in_week(day * DAY_US + start_us, length_us)
    return merge_windows(windows)


def _in_week(start_us: int, length_us: int) -> Iterator[tuple[int, int]]:
    """A window that passes Sunday midnight goes on on Monday."""
    end_us = start_us + length_us
    yield start_us, min(end_us, WEEK_US)
    if end_us > WEEK_US:
        yield 0, end_us - WEEK_US


def _clock(value: object, place: str) -> int:
    hours, _, minutes = str(value).partition(":")
    is_clock = hours.isdecimal() and minutes.isdecimal() and int(minutes) < 60  # noqa: PLR2004 - minutes of an hour
    if not is_clock or int(hours) * 60 + int(minutes) > 24 * 60:
        raise OverlayError(place, f"is {value!r}; expected a time of day in UTC such as '16:30', in quotes")
    return (int(hours) * 60 + int(minutes)) * 60_000_000


def _days(value: object, place: str) -> Iterator[int]:
    first, _, last = str(value).lower().partition("-")
    if first not in _DAYS or (last or first) not in _DAYS:
        raise OverlayError(place, f"is {value!r}; expected days such as mon-fri or sat")
    start, end = _DAYS[first], _DAYS[last or first]
    yield from (day % 7 for day in range(start, end + 1 if end >= start else end + 8))
