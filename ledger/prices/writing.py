"""The company's own prices as the YAML that `tokenledger prices add` reads, and where in such a file an entry stands.

Pure.
"""

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

import yaml

from ledger.prices.changes import RATE, Kept
from tokenledger.pricing.book import Alias, Contract
from tokenledger.pricing.rate import (
    BASE_TIER,
    BEGIN_US,
    CONDITION_NAMES,
    DAY_US,
    END_US,
    NO_LIMIT,
    PICO_PER_USD,
    WHOLE_WEEK,
    Row,
    date_text,
)
from tokenledger.records.meters import METERS

_FIELDS: Final = {
    "tokens": ("usd_per_million", 10**6),
    "characters": ("usd_per_million", 10**6),
    "milliseconds": ("usd_per_hour", 3_600_000),
}
_EACH: Final = ("usd_each", 1)
_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_PLACE: Final = re.compile(r"(\w+)\[(\d+)\]")


def as_yaml(kept: Iterable[Kept]) -> str:
    """The entries as a prices file; read again it states the same."""
    sections: dict[str, list[dict[str, Any]]] = {}
    for one in kept:
        entry = one.entry
        if isinstance(entry, Row):
            sections.setdefault("prices" if one.kind == RATE else "surcharges", []).append(_rate(entry))
        elif isinstance(entry, Contract):
            sections.setdefault("contracts", []).append(_contract(entry))
        else:
            sections.setdefault("aliases", []).append(_alias(entry))
    return yaml.safe_dump(sections, sort_keys=False, allow_unicode=True, width=110) if sections else "{}\n"


def _rate(row: Row) -> dict[str, Any]:
    field, units = _FIELDS.get(METERS[row.meter].unit, _EACH)
    made: dict[str, Any] = {"tenant": row.scope} if row.scope else {}
    made |= {"provider": row.provider, "model": row.model}
    made |= {name: value for name, value in zip(CONDITION_NAMES, row.conditions, strict=True) if value}
    if row.above_tokens != BASE_TIER:
        made["above_input_tokens"] = row.above_tokens
    if row.upto_tokens != NO_LIMIT:
        made["upto_input_tokens"] = row.upto_tokens
    if row.windows != WHOLE_WEEK:
        made["windows"] = [part for start, stop in row.windows for part in _windows(start, stop)]
    made |= _dates(row)
    made[field] = {row.meter: _dollars(row, units)}
    made["confirm"] = True  # it was confirmed when it was added
    return made | ({"note": row.note} if row.note else {})


def _dollars(row: Row, units: int) -> str:
    """Exact: a rate came from a decimal, so it is one."""
    exact = Fraction(row.list_pico * units, row.list_per * PICO_PER_USD)
    value = Decimal(exact.numerator) / Decimal(exact.denominator)
    return f"{value:f}"


def _windows(start_us: int, stop_us: int) -> list[dict[str, str]]:
    """A stretch of the week, day by day."""
    parts = []
    for day, name in enumerate(_DAYS):
        begin, end = max(start_us, day * DAY_US), min(stop_us, (day + 1) * DAY_US)
        if begin < end:
            parts.append({"days": name, "from": _clock(begin - day * DAY_US), "to": _clock(end - day * DAY_US)})
    return parts


def _clock(at_us: int) -> str:
    minutes = at_us // 60_000_000
    return f"{minutes // 60:02}:{minutes % 60:02}"


def _dates(entry: Row | Contract | Alias) -> dict[str, str]:
    made = {}
    if entry.valid_from_us != BEGIN_US:
        made["from"] = date_text(entry.valid_from_us)
    if entry.valid_to_us != END_US:
        made["to"] = date_text(entry.valid_to_us)
    return made


def _contract(one: Contract) -> dict[str, Any]:
    return {
        "tenant": one.tenant_id,
        "provider": one.provider,
        "model": one.model,
        "discount_ppm": one.discount_ppm,
    } | _dates(one)


def _alias(one: Alias) -> dict[str, Any]:
    return {"provider": one.provider, "name": one.name, "model": one.model} | _dates(one)


def line_of(text: str, where: str) -> int | None:
    """Line of the entry a message is about, such as `prices[3].usd_per_million`; None where it cannot be told."""
    found = _PLACE.match(where)
    root = yaml.compose(text, Loader=yaml.SafeLoader) if found else None
    if found is None or not isinstance(root, yaml.MappingNode):
        return None
    name, index = found[1], int(found[2])
    for key, value in root.value:
        if key.value == name and isinstance(value, yaml.SequenceNode) and index < len(value.value):
            return _field_line(value.value[index], where[found.end() :])
    return None


def _field_line(entry: yaml.Node, rest: str) -> int:
    line = entry.start_mark.line + 1
    first = rest.lstrip(".").split(".")[0]
    pairs: Mapping[str, int] = (
        {str(key.value): key.start_mark.line + 1 for key, _ in entry.value}
        if isinstance(entry, yaml.MappingNode)
        else {}
    )
    return pairs.get(first, line)
