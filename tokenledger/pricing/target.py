"""Which model of the book a call is priced as, and all rows that may price it.

What was served has the price. The name that was asked for counts only where the served one is unknown, but a
deployment that was given a price of its own keeps it whatever model the reply names.
"""

from collections.abc import Iterable

import msgspec

from tokenledger.pricing.book import Contract, PriceBook, matches
from tokenledger.pricing.conditions import Ask
from tokenledger.pricing.providers import catalogue_name, fold, is_self_hosted
from tokenledger.pricing.rate import BEGIN_US, CATALOGUE, CONTRACT, END_US, NO_CONDITIONS, OWN, Row


class Target(msgspec.Struct, frozen=True):
    """The priced model of a call and all its rows."""

    provider: str | None = None
    """Whose price list it is."""
    model: str | None = None
    """Its name there."""
    rows: tuple[Row, ...] = ()
    """Every row that may price it, of all layers, times and conditions."""


def find_target(book: PriceBook, ask: Ask, at_us: int) -> Target:
    """The priced model, with the names as they were understood at that instant; empty where none is known."""
    served, asked, deployed = (
        _unaliased(book, ask.provider, name, at_us) if name else None
        for name in (ask.response_model, ask.request_model, ask.deployment_id)
    )
    special = _own_target(book, ask, deployed) if deployed else None
    for name in filter(None, (served, asked, deployed)):
        found = _model_target(book, ask, name)
        if found is not None:
            return found if special is None else _over(special, found)
    return special or Target()


def find_surcharge(book: PriceBook, ask: Ask) -> Target | None:
    """Rows that are charged on top because of what was asked: a router in front of the served model."""
    for name in filter(None, (ask.request_model, ask.deployment_id)):
        for provider in seller_names(ask):
            rows = book.surcharges.get((provider.lower(), name.lower()), ())
            fitting = tuple(row for row in rows if row.scope in {"", ask.tenant_id})
            if fitting:
                return Target(provider, name, fitting)
    return None


def alias_breaks(book: PriceBook, ask: Ask) -> tuple[int, ...]:
    """Instants at which a name of the call changes its meaning."""
    edges: set[int] = set()
    for name in filter(None, (ask.response_model, ask.request_model, ask.deployment_id)):
        for alias in book.aliases.get((ask.provider.lower(), name.lower()), ()):
            edges |= {alias.valid_from_us, alias.valid_to_us}
    return tuple(sorted(edges - {BEGIN_US, END_US}))


def seller_names(ask: Ask) -> tuple[str, ...]:
    """Names of who sends the bill, the most particular first: through which host, by which brand, whose group."""
    host = (f"{fold(ask.provider)}_{fold(ask.host_provider)}",) if ask.host_provider else ()
    return tuple(dict.fromkeys((*host, ask.provider, catalogue_name(ask.provider))))


def covering(contracts: Iterable[Contract], ask: Ask, target: Target, at_us: int) -> Contract | None:
    """The most specific contract with the seller in force: the owner of a resold model is no party to it."""
    models = {name for name in (target.model, ask.response_model, ask.request_model, ask.deployment_id) if name}
    for contract in contracts:
        if (
            contract.tenant_id == ask.tenant_id
            and contract.valid_from_us <= at_us < contract.valid_to_us
            and any(matches(contract.provider, name) for name in seller_names(ask))
            and any(matches(contract.model, name) for name in models)
        ):
            return contract
    return None


def _unaliased(book: PriceBook, provider: str, name: str, at_us: int) -> str:
    for alias in book.aliases.get((provider.lower(), name.lower()), ()):
        if alias.valid_from_us <= at_us < alias.valid_to_us:
            return alias.model
    return name


def _model_target(book: PriceBook, ask: Ask, name: str) -> Target | None:
    own = _own_target(book, ask, name)
    if is_self_hosted(ask.provider, ask.engine):
        return own
    for provider in seller_names(ask):
        found = book.catalogue.find(provider, name)
        rows = book.catalogue_rows.get((found.provider, found.model)) if found else None
        if found is None or rows is None:
            continue
        own = own or _own_target(book, ask, found.model)
        if found.inherited:
            rows = tuple(row for row in rows if row.conditions == NO_CONDITIONS)
        listed = Target(found.provider, found.model, rows)
        return listed if own is None else _over(own, listed)
    return own


def _over(own: Target, listed: Target) -> Target:
    """Own rates before the catalogue's."""
    catalogue_rows = tuple(row for row in listed.rows if row.layer == CATALOGUE)
    return Target(own.provider, own.model, own.rows + catalogue_rows)


def _own_target(book: PriceBook, ask: Ask, name: str) -> Target | None:
    for provider in seller_names(ask):
        rows = _own_rows(book, ask.tenant_id, provider, name)
        if rows:
            return Target(provider, name, rows)
    return None


def _own_rows(book: PriceBook, tenant_id: str, provider: str, model: str) -> tuple[Row, ...]:
    """Rows of the exact name, else of the longest prefix; for the tenant and for everyone apart."""
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
