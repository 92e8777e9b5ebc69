"""The price book's tables: read whole, and changed by adding. All SQL of it."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from psycopg.types.multirange import Int8Multirange
from psycopg.types.range import Int8Range, Range

from ledger.database import Connection
from ledger.prices.changes import ALIAS, CONTRACT, RATE, SURCHARGE, ChangeError, Entry, Kept, Plan, overlay_of
from tokenledger.pricing import PriceBook, build_book, packaged_book
from tokenledger.pricing.book import Alias, Contract
from tokenledger.pricing.catalogue import Catalogue, packaged_catalogue, row_digest
from tokenledger.pricing.rate import CATALOGUE, END_US, NO_LIMIT, Row, digest

_RATES: Final = """
    SELECT row_no, kind, change_no, withdrawn_by, layer, tenant_id, provider, model, meter, processing,
        service_tier, region, speed, lower(context_tokens), upper(context_tokens), windows, lower(valid_us),
        upper(valid_us), lower(known_us), upper(known_us), pico, per, minimum_quantity, note
    FROM prices WHERE greatest(change_no, withdrawn_by) > %s ORDER BY row_no
"""
_CONTRACTS: Final = """
    SELECT row_no, change_no, withdrawn_by, tenant_id, provider, model, discount_ppm, lower(valid_us), upper(valid_us),
        lower(known_us), upper(known_us)
    FROM contracts WHERE greatest(change_no, withdrawn_by) > %s ORDER BY row_no
"""
_ALIASES: Final = """
    SELECT row_no, change_no, withdrawn_by, provider, name, model, lower(valid_us), upper(valid_us), lower(known_us),
        upper(known_us)
    FROM aliases WHERE greatest(change_no, withdrawn_by) > %s ORDER BY row_no
"""
_ADD_RATE: Final = """
    INSERT INTO prices (price_id, kind, layer, tenant_id, provider, model, meter, processing, service_tier, region,
        speed, context_tokens, windows, valid_us, known_us, pico, per, minimum_quantity, note, change_no)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
_ADD_CONTRACT: Final = """
    INSERT INTO contracts (tenant_id, provider, model, discount_ppm, valid_us, known_us, change_no)
    VALUES (%s, %s, %s, %s, %s, %s, %s)
"""
_ADD_ALIAS: Final = """
    INSERT INTO aliases (provider, name, model, valid_us, known_us, change_no) VALUES (%s, %s, %s, %s, %s, %s)
"""
_WITHDRAW_RATES: Final = """
    UPDATE prices SET known_us = int8range(lower(known_us), greatest(lower(known_us), %s)), withdrawn_by = %s
    WHERE row_no = ANY(%s) AND withdrawn_by IS NULL
"""
_WITHDRAW_CONTRACTS: Final = """
    UPDATE contracts SET known_us = int8range(lower(known_us), greatest(lower(known_us), %s)), withdrawn_by = %s
    WHERE row_no = ANY(%s) AND withdrawn_by IS NULL
"""
_WITHDRAW_ALIASES: Final = """
    UPDATE aliases SET known_us = int8range(lower(known_us), greatest(lower(known_us), %s)), withdrawn_by = %s
    WHERE row_no = ANY(%s) AND withdrawn_by IS NULL
"""
_CHANGE: Final = """
    INSERT INTO price_changes (made_at_us, action, reason, undoes_change_no) VALUES (%s, %s, %s, %s)
    RETURNING change_no
"""
_HISTORY: Final = """
    SELECT change_no, made_at_us, made_by, action, reason, undoes_change_no,
        (SELECT count(*) FROM prices p WHERE p.change_no = c.change_no)
            + (SELECT count(*) FROM contracts p WHERE p.change_no = c.change_no)
            + (SELECT count(*) FROM aliases p WHERE p.change_no = c.change_no),
        (SELECT count(*) FROM prices p WHERE p.withdrawn_by = c.change_no)
            + (SELECT count(*) FROM contracts p WHERE p.withdrawn_by = c.change_no)
            + (SELECT count(*) FROM aliases p WHERE p.withdrawn_by = c.change_no)
    FROM price_changes c ORDER BY change_no DESC LIMIT %s
"""
_NEWEST: Final = "SELECT coalesce(max(change_no), 0) FROM price_changes"
_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtext('tokenledger prices'))"
_NOW: Final = """
    SELECT greatest((extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
        coalesce((SELECT max(made_at_us) + 1 FROM price_changes), 0))
"""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One change of the book."""

    change_no: int
    """Its number."""
    made_at_us: int
    """When, µs UTC."""
    made_by: str
    """By whom."""
    action: str
    """`import`, `add`, `correct`, `end`, `withdraw` or `undo`."""
    reason: str
    """Why."""
    undoes_change_no: int | None
    """The change it takes back."""
    added: int
    """Entries it added."""
    withdrawn: int
    """Entries it withdrew."""


def load(connection: Connection) -> list[Kept]:
    """Everything ever believed."""
    return [one for one in _rows(connection, after=0) if _was_known(one)]


def load_newer(connection: Connection, known: dict[tuple[str, int], Kept], *, after: int) -> int:
    """Bring what was known after a change to the newest one, whose number is returned: only what changed is read."""
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        change_no, changed = newest(connection), _rows(connection, after=after)
    for one in changed:
        place = type(one.entry).__name__, one.row_no
        if _was_known(one):
            known[place] = one
        else:
            known.pop(place, None)
    return change_no


def _was_known(one: Kept) -> bool:
    """A row withdrawn in the instant it was added was not; Postgres keeps no bounds of an empty range."""
    known_from_us: int | None = one.entry.known_from_us
    return known_from_us is not None


def _rows(connection: Connection, *, after: int) -> list[Kept]:
    """What changes after this one added or withdrew."""
    rates = [_rate(row) for row in connection.execute(_RATES, (after,))]
    contracts = [
        Kept(
            row_no=number, kind=CONTRACT, change_no=change, withdrawn_by=withdrawn,
            entry=Contract(
                tenant_id=tenant, provider=provider, model=model, discount_ppm=ppm, valid_from_us=start,
                valid_to_us=stop, known_from_us=known, known_to_us=END_US if gone is None else gone,
            ),
        )
        for number, change, withdrawn, tenant, provider, model, ppm, start, stop, known, gone
        in connection.execute(_CONTRACTS, (after,))
    ]  # fmt: skip
    aliases = [
        Kept(
            row_no=number, kind=ALIAS, change_no=change, withdrawn_by=withdrawn,
            entry=Alias(
                provider=provider, name=name, model=model, valid_from_us=start, valid_to_us=stop, known_from_us=known,
                known_to_us=END_US if gone is None else gone,
            ),
        )
        for number, change, withdrawn, provider, name, model, start, stop, known, gone
        in connection.execute(_ALIASES, (after,))
    ]  # fmt: skip
    return [*rates, *contracts, *aliases]


def _rate(row: tuple[Any, ...]) -> Kept:
    number, kind, change, withdrawn, layer, tenant, provider, model, meter, *rest = row
    processing, tier, region, speed, above, upto, windows, start, stop, known, gone, pico, per, minimum, note = rest
    return Kept(
        row_no=number,
        kind=kind,
        change_no=change,
        withdrawn_by=withdrawn,
        entry=Row(
            layer=layer,
            scope=tenant,
            provider=provider,
            model=model,
            meter=meter,
            conditions=(processing, tier, region, speed),
            above_tokens=above - 1,
            upto_tokens=NO_LIMIT if upto is None else upto - 1,
            windows=tuple((one.lower, one.upper) for one in windows),
            valid_from_us=start,
            valid_to_us=stop,
            known_from_us=known,
            known_to_us=END_US if gone is None else gone,
            list_pico=pico,
            list_per=per,
            minimum_quantity=minimum,
            note=note,
        ),
    )


def believed(kept: Iterable[Kept]) -> list[Kept]:
    """What holds now."""
    return [one for one in kept if one.withdrawn_by is None]


def is_catalogue(one: Kept) -> bool:
    """Whether the entry came with the catalogue."""
    return isinstance(one.entry, Row) and one.entry.layer == CATALOGUE


def book_of(kept: Sequence[Kept], known_at_us: int | None = None) -> PriceBook:
    """The book of all this, as known at an instant (now, if none is given)."""
    listed = [one.entry for one in kept if isinstance(one.entry, Row) and is_catalogue(one)]
    rows: dict[tuple[str, str], list[Row]] = {}
    for row in listed:
        known = row.known_to_us == END_US if known_at_us is None else row.known_from_us <= known_at_us < row.known_to_us
        if known:
            rows.setdefault((row.provider, row.model), []).append(row)
    packaged = packaged_catalogue()
    catalogue = Catalogue(
        name=packaged.name,
        known_from_us=min((row.known_from_us for row in listed), default=0),
        rows={model: tuple(group) for model, group in rows.items()},
        version=digest(*sorted(row_digest(row) for group in rows.values() for row in group)),
        find=packaged.find,
        unmapped=packaged.unmapped,
    )
    book = build_book(catalogue, overlay_of(kept))
    return book if known_at_us is None else book.as_of(known_at_us)


def current(connection: Connection) -> tuple[int, PriceBook]:
    """The newest change and the book as of it: the ledger's, or the packaged catalogue where none was imported."""
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        change_no, kept = newest(connection), load(connection)
    return change_no, book_now(kept)


def book_now(kept: Sequence[Kept]) -> PriceBook:
    """The book of everything: the ledger's, or the packaged catalogue with own entries where none was imported."""
    if any(map(is_catalogue, kept)):
        return book_of(kept)
    return build_book(overlay=overlay_of(kept)) if kept else packaged_book()


def book_after(kept: Iterable[Kept], change_no: int) -> PriceBook:
    """The book as `current` gave it when this change was the newest."""
    return book_now([_before_later(one, change_no) for one in kept if one.change_no <= change_no])


def _before_later(one: Kept, change_no: int) -> Kept:
    """The entry before any later change withdrew it."""
    if one.withdrawn_by is None or one.withdrawn_by <= change_no:
        return one
    believed_still = msgspec.structs.replace(one.entry, known_to_us=END_US)
    return msgspec.structs.replace(one, entry=believed_still, withdrawn_by=None)


def newest(connection: Connection) -> int:
    """The newest change of the book; 0 before the first."""
    row = connection.execute(_NEWEST).fetchone()
    return int(row[0]) if row else 0


def begin(connection: Connection) -> int:
    """One change at a time: waits its turn, within a transaction; the instant of the change, µs UTC."""
    connection.execute(_LOCK)
    row = connection.execute(_NOW).fetchone()
    assert row is not None  # noqa: S101  (a SELECT without FROM gives one row)
    return int(row[0])


def apply(
    connection: Connection, plan: Plan, *, at_us: int, action: str, reason: str, undoes_change_no: int | None = None
) -> int:
    """Carry a plan out, in the transaction that `begin` opened; the number of the change."""
    row = connection.execute(_CHANGE, (at_us, action, reason, undoes_change_no)).fetchone()
    assert row is not None  # noqa: S101  (INSERT … RETURNING gives one row)
    change_no = int(row[0])
    for statement, kinds in (
        (_WITHDRAW_RATES, {RATE, SURCHARGE}),
        (_WITHDRAW_CONTRACTS, {CONTRACT}),
        (_WITHDRAW_ALIASES, {ALIAS}),
    ):
        numbers = [one.row_no for one in plan.withdrawn if one.kind in kinds]
        done = connection.execute(statement, (at_us, change_no, numbers)).rowcount if numbers else 0
        if done != len(numbers):
            raise ChangeError("the book changed meanwhile; run the command again")
    with connection.cursor() as cursor:
        cursor.executemany(
            _ADD_RATE, [_rate_values(k, e, change_no=change_no) for k, e in plan.added if isinstance(e, Row)]
        )
        cursor.executemany(
            _ADD_CONTRACT, [_contract_values(e, change_no) for _, e in plan.added if isinstance(e, Contract)]
        )
        cursor.executemany(_ADD_ALIAS, [_alias_values(e, change_no) for _, e in plan.added if isinstance(e, Alias)])
    return change_no


def _rate_values(kind: str, row: Row, *, change_no: int) -> tuple[object, ...]:
    context = Int8Range(row.above_tokens + 1, None if row.upto_tokens == NO_LIMIT else row.upto_tokens + 1)
    return (
        row.price_id, kind, row.layer, row.scope, row.provider, row.model, row.meter, *row.conditions, context,
        Int8Multirange([Range(start, stop) for start, stop in row.windows]), _valid(row), _known(row), row.list_pico,
        row.list_per, row.minimum_quantity, row.note, change_no,
    )  # fmt: skip


def _contract_values(one: Contract, change_no: int) -> tuple[object, ...]:
    return (one.tenant_id, one.provider, one.model, one.discount_ppm, _valid(one), _known(one), change_no)


def _alias_values(one: Alias, change_no: int) -> tuple[object, ...]:
    return (one.provider, one.name, one.model, _valid(one), _known(one), change_no)


def _valid(entry: Entry) -> Int8Range:
    return Int8Range(entry.valid_from_us, entry.valid_to_us)


def _known(entry: Entry) -> Int8Range:
    return Int8Range(entry.known_from_us, None)


def history(connection: Connection, most: int) -> list[Change]:
    """The newest changes first."""
    return [
        Change(
            change_no=number, made_at_us=made_at_us, made_by=by, action=action, reason=reason,
            undoes_change_no=undoes, added=added, withdrawn=withdrawn,
        )
        for number, made_at_us, by, action, reason, undoes, added, withdrawn in connection.execute(_HISTORY, (most,))
    ]  # fmt: skip
