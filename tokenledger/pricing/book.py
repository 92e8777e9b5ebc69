"""The price book: every rate of one state of knowledge, immutable, with a version that depends on every row.

Three layers are asked in order: a tenant's contract, own rates, the packaged catalogue. Two rows that could both hold
for one call are an error when the book is built, so a look-up finds one or none.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from itertools import combinations
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from tokenledger.pricing.catalogue import Catalogue, packaged_catalogue, row_digest
from tokenledger.pricing.rate import BEGIN_US, END_US, Row, digest, overlap

if TYPE_CHECKING:
    from tokenledger.pricing.lookup import Card, CardKey

# A card is some kilobytes; beyond this many distinct calls the cache starts anew.
MAX_CARDS: Final = 20_000


class OverlapError(ValueError):
    """Two entries that could both price one call."""

    def __init__(self, one: object, other: object) -> None:
        super().__init__(
            f"price book: two entries hold for the same call:\n  {one}\n  {other}\n"
            "End the earlier one where the later begins (`to:`), or give them different conditions."
        )
        self.one = one
        self.other = other


class Contract(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant's discount on every rate of the providers and models it names."""

    tenant_id: str
    """Who has it."""
    provider: str = "*"
    """Provider name, exact, or a prefix that ends in `*`."""
    model: str = "*"
    """Model name, exact, or a prefix that ends in `*`."""
    discount_ppm: int
    """Millionths off the list price."""
    valid_from_us: int = BEGIN_US
    """First instant discounted."""
    valid_to_us: int = END_US
    """First instant no longer discounted."""
    known_from_us: int = BEGIN_US
    """When it became known."""
    known_to_us: int = END_US
    """When it was withdrawn."""


class Alias(msgspec.Struct, frozen=True, kw_only=True):
    """A name that means another model for a time, such as `-latest`."""

    provider: str
    """Provider name."""
    name: str
    """The name calls use."""
    model: str
    """The model it means."""
    valid_from_us: int = BEGIN_US
    """First instant of this meaning."""
    valid_to_us: int = END_US
    """First instant of another."""
    known_from_us: int = BEGIN_US
    """When it became known."""
    known_to_us: int = END_US
    """When it was withdrawn."""


class Overlay(msgspec.Struct, frozen=True, kw_only=True):
    """What a company adds to the catalogue."""

    rows: tuple[Row, ...] = ()
    """Own rates and tenants' own rates; a model ending in `*` is a prefix."""
    surcharges: tuple[Row, ...] = ()
    """Own rates charged on top of the served model's, by the model that was asked for."""
    contracts: tuple[Contract, ...] = ()
    """Discounts."""
    aliases: tuple[Alias, ...] = ()
    """Names that move."""
    requested_tier_providers: tuple[str, ...] = ()
    """Providers whose reply does not say truly which service tier served: there the requested one prices."""


_Dated = TypeVar("_Dated", Row, Contract, Alias)


class PriceBook(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """All rates of one state of knowledge. `cards` is a cache of look-ups, bounded; nothing else ever changes."""

    catalogue: Catalogue
    """The packaged price list this book was built from."""
    overlay: Overlay
    """The company's own prices this book was built from."""
    known_at_us: int | None = None
    """The state of knowledge asked for; None is all that is known and was not withdrawn."""
    version: str
    """Hash of every row, contract and alias in force."""
    catalogue_rows: Mapping[tuple[str, str], tuple[Row, ...]]
    """Rows of the catalogue by (provider, model); empty before its release was known."""
    rows: Mapping[tuple[str, str], tuple[Row, ...]]
    """Own and tenants' rows by (provider, model name or pattern), both in lower case."""
    patterns: tuple[tuple[str, str], ...]
    """Keys of `rows` whose model is a prefix, longest first."""
    surcharges: Mapping[tuple[str, str], tuple[Row, ...]]
    """Rates on top, by (provider, requested model) in lower case."""
    contracts: tuple[Contract, ...]
    """Discounts, the most specific first."""
    aliases: Mapping[tuple[str, str], tuple[Alias, ...]]
    """Moving names by (provider, name) in lower case."""
    tenants: frozenset[str]
    """Tenants with a rate or discount of their own; all others share their look-ups."""
    cards: dict["CardKey", "Card"] = msgspec.field(default_factory=dict)
    """Look-ups resolved so far."""

    def as_of(self, known_at_us: int) -> "PriceBook":
        """The book as it was known then, out of everything this one was built from."""
        return _assemble(self.catalogue, self.overlay, known_at_us)


def build_book(catalogue: Catalogue | None = None, overlay: Overlay | None = None) -> PriceBook:
    """A book of the catalogue (the packaged one, if none is given) and a company's own prices.

    Raises OverlapError where two entries could price one call.
    """
    overlay = overlay or Overlay()
    check_overlaps(overlay.rows)
    check_overlaps(overlay.surcharges)
    _check_unique(overlay.contracts, key=lambda entry: (entry.tenant_id, entry.provider, entry.model))
    _check_unique(overlay.aliases, key=lambda entry: (entry.provider, entry.name))
    return _assemble(catalogue or packaged_catalogue(), overlay, None)


@cache
def packaged_book() -> PriceBook:
    """The packaged catalogue alone."""
    return build_book()


def check_overlaps(rows: Iterable[Row]) -> None:
    """Raises OverlapError where two rows of one key could hold for one call."""
    by_key: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        by_key.setdefault(row.key, []).append(row)
    for group in by_key.values():
        for one, other in combinations(group, 2):
            if overlap(one, other):
                raise OverlapError(one, other)


def _check_unique(entries: Iterable[_Dated], key: Callable[[_Dated], tuple[str, ...]]) -> None:
    by_key: dict[tuple[str, ...], list[_Dated]] = {}
    for entry in entries:
        by_key.setdefault(key(entry), []).append(entry)
    for group in by_key.values():
        for one, other in combinations(group, 2):
            if max(one.valid_from_us, other.valid_from_us) < min(one.valid_to_us, other.valid_to_us) and max(
                one.known_from_us, other.known_from_us
            ) < min(one.known_to_us, other.known_to_us):
                raise OverlapError(one, other)


def _assemble(catalogue: Catalogue, overlay: Overlay, known_at_us: int | None) -> PriceBook:
    released = known_at_us is None or catalogue.known_from_us <= known_at_us
    rows = _grouped(_known(overlay.rows, known_at_us), lambda row: (row.provider, row.model))
    surcharges = _grouped(_known(overlay.surcharges, known_at_us), lambda row: (row.provider, row.model))
    aliases = _grouped(_known(overlay.aliases, known_at_us), lambda alias: (alias.provider, alias.name))
    contracts = sorted(_known(overlay.contracts, known_at_us), key=_specificity, reverse=True)
    return PriceBook(
        catalogue=catalogue,
        overlay=overlay,
        known_at_us=known_at_us,
        version=digest(
            catalogue.version if released else "",
            *sorted(row_digest(row) for group in rows.values() for row in group),
            *sorted("surcharge " + row_digest(row) for group in surcharges.values() for row in group),
            *sorted(map(str, contracts)),
            *sorted(str(alias) for group in aliases.values() for alias in group),
            *sorted(overlay.requested_tier_providers),
        ),
        catalogue_rows=catalogue.rows if released else {},
        rows=rows,
        patterns=tuple(sorted((key for key in rows if key[1].endswith("*")), key=lambda key: (-len(key[1]), key))),
        surcharges=surcharges,
        contracts=tuple(contracts),
        aliases=aliases,
        tenants=frozenset(
            {row.scope for table in (rows, surcharges) for group in table.values() for row in group}
            | {contract.tenant_id for contract in contracts}
        ),
    )


def _grouped(
    entries: Iterable[_Dated], key: Callable[[_Dated], tuple[str, str]]
) -> dict[tuple[str, str], tuple[_Dated, ...]]:
    groups: dict[tuple[str, str], list[_Dated]] = {}
    for entry in entries:
        provider, name = key(entry)
        groups.setdefault((provider.lower(), name.lower()), []).append(entry)
    return {name: tuple(group) for name, group in groups.items()}


def _known(entries: Iterable[_Dated], known_at_us: int | None) -> Iterator[_Dated]:
    """Entries believed at that time; without a time, those never withdrawn."""
    for entry in entries:
        if known_at_us is None:
            believed = entry.known_to_us == END_US
        else:
            believed = entry.known_from_us <= known_at_us < entry.known_to_us
        if believed:
            yield entry


def _specificity(contract: Contract) -> tuple[bool, int, bool, int]:
    return (
        not contract.provider.endswith("*"),
        len(contract.provider),
        not contract.model.endswith("*"),
        len(contract.model),
    )


def matches(pattern: str, name: str) -> bool:
    """Whether a pattern, exact or a prefix that ends in `*`, names it; letter case does not count."""
    pattern, name = pattern.lower(), name.lower()
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern
