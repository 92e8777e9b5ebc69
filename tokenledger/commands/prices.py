"""The price book in the ledger: what a rate is, since when, and since when we know.

  tokenledger prices import                       the packaged catalogue; --dry-run shows what would change
  tokenledger prices check prices.yaml            a file, without touching anything
  tokenledger prices add prices.yaml --reason "…" own rates, contracts, aliases; --correct puts them in another's place
  tokenledger prices end 0f3a… --at 2027-01-01 --reason "…"
  tokenledger prices undo 12 --reason "…"         take a change back: an announced rise that was cancelled
  tokenledger prices list gpt-5 [--known-at T]    history | diff --from T --to T | export

Nothing is edited. What no longer holds is withdrawn, so `--known-at` gives any past answer again.

exit status: 0 done; 1 something is held back or does not fit; 2 it could not be done.
"""

import argparse
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import psycopg
from rich import box
from rich.console import Console
from rich.table import Table

from ledger.database import Connection, connect
from ledger.prices import changes, store, upgrading
from ledger.prices.changes import ChangeError, Kept, Plan, describe
from ledger.prices.writing import as_yaml, line_of
from ledger.settings import Settings
from tokenledger.commands.books import instant_us, parsed
from tokenledger.commands.stack import environment
from tokenledger.pricing import list_prices, read_overlay
from tokenledger.pricing.catalogue import packaged_catalogue
from tokenledger.pricing.overlay import OverlayError
from tokenledger.pricing.rate import Row

_NOT_ALL: Final = 1
_FAILED: Final = 2
_PLAIN_WIDTH: Final = 180
_SHOWN: Final = 40
_ID_CHARS: Final = 16


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `tokenledger prices` takes."""
    does = parser.add_subparsers(
        metavar="import | check | add | end | undo | list | history | diff | export", required=True
    )
    upgrade = does.add_parser("import", help="bring the packaged catalogue in, or up to date")
    upgrade.add_argument("--dry-run", action="store_true", help="show what would change")
    upgrade.add_argument("--confirm", action="append", default=[], metavar="PROVIDER/MODEL", help="take a jump; `all`")
    upgrade.set_defaults(does=_import)
    check = does.add_parser("check", help="whether a prices file can be used")
    check.add_argument("file", metavar="FILE")
    check.set_defaults(does=_check)
    add = does.add_parser("add", help="own rates, contracts, surcharges and aliases from a file")
    add.add_argument("file", metavar="FILE")
    add.add_argument(
        "--correct", action="store_true", help="in the place of what they overlap, for the time they state"
    )
    _add_reason(add)
    add.set_defaults(does=_add)
    end = does.add_parser("end", help="a rate stops to apply")
    end.add_argument("price_id", metavar="PRICE_ID", help="as `list` shows it")
    end.add_argument("--at", required=True, metavar="TIME", help="first instant it no longer applies")
    _add_reason(end)
    end.set_defaults(does=_end)
    undo = does.add_parser("undo", help="take a change back")
    undo.add_argument("change_no", metavar="N", type=int, help="as `history` shows it")
    _add_reason(undo)
    undo.set_defaults(does=_undo)
    _add_reading(does)


def _add_reading(does: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    listed = does.add_parser("list", help="the rates, with both times")
    listed.add_argument("pattern", nargs="?", default="", metavar="PATTERN", help="part of provider/model")
    listed.add_argument("--known-at", metavar="TIME", help="as known then")
    listed.set_defaults(does=_list)
    history = does.add_parser("history", help="every change, the newest first")
    history.set_defaults(does=_history)
    diff = does.add_parser("diff", help="what came and what went between two instants of knowledge")
    diff.add_argument("--from", dest="since", required=True, metavar="TIME")
    diff.add_argument("--to", dest="until", metavar="TIME", help="default: now")
    diff.set_defaults(does=_diff)
    export = does.add_parser("export", help="own prices as a file that `add` reads")
    export.set_defaults(does=_export)


def _add_reason(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reason", required=True, help="why, for those who read the history")
    parser.add_argument("--dry-run", action="store_true", help="show what would change")


def run(options: argparse.Namespace) -> int:
    """Do it as role `keeper`."""
    try:
        if options.does is _check:
            return int(_check(options))
        settings = Settings.from_environment(environment(), user="keeper")
        with connect(settings, application="tokenledger-prices") as connection:
            return int(options.does(connection, options))
    except psycopg.OperationalError as error:
        message = f"cannot reach the ledger: {str(error).strip()}; is the stack up? `make up`"
    except ChangeError as error:
        message = str(error)
    print(f"tokenledger prices: {message}", file=sys.stderr)
    return _FAILED


def _stated(path: str) -> list[tuple[str, changes.Entry]]:
    """What a file states. Raises ChangeError that names file and line."""
    try:
        return changes.entries(read_overlay(parsed(path)))
    except OverlayError as error:
        line = line_of(Path(path).read_text(encoding="utf-8"), error.where)
        raise ChangeError(f"{path}{f', line {line}' if line else ''}: {error}") from None


def _check(options: argparse.Namespace) -> int:
    stated = _stated(options.file)
    changes.add([], stated, at_us=0, correct=False)
    print(f"{options.file}: {len(stated)} entries, all of them can be used")
    return 0


def _import(connection: Connection, options: argparse.Namespace) -> int:
    catalogue = packaged_catalogue()
    with connection.transaction():
        at_us = store.begin(connection)
        listed = [one for one in store.load(connection) if store.is_catalogue(one)]
        found = upgrading.upgrade(store.believed(listed), catalogue)
        # The first catalogue was known when it was released; a later one, also after an undo, from when it is taken.
        known_from_us = at_us if listed else catalogue.known_from_us
        wanted = None if "all" in options.confirm else {_model(text): True for text in options.confirm}
        plan, held = upgrading.plan(found, known_from_us=known_from_us, confirmed=wanted)
        if plan.changes_anything and not options.dry_run:
            change = store.apply(connection, plan, at_us=at_us, action="import", reason=catalogue.name)
            print(f"change {change}: ", end="")
    by_kind = {what: sum(one.what == what for one in found) for what in ("added", "changed", "gone")}
    print(
        f"{catalogue.name}: {by_kind['added']} models are new, {by_kind['changed']} changed, {by_kind['gone']} are "
        f"gone and stay; rates {'that would be ' if options.dry_run else ''}added: {len(plan.added)}, withdrawn: "
        f"{len(plan.withdrawn)}"
    )
    for one in held:
        print(f"held back: {'/'.join(one.model)}: {'; '.join(one.held)}  (--confirm {'/'.join(one.model)})")
    return _NOT_ALL if held else 0


def _model(text: str) -> upgrading.Model:
    provider, slash, model = text.partition("/")
    if not slash:
        raise ChangeError(f"--confirm {text!r}: PROVIDER/MODEL or `all` is right")
    return provider, model


def _add(connection: Connection, options: argparse.Namespace) -> int:
    stated = _stated(options.file)
    with connection.transaction():
        at_us = store.begin(connection)
        own = [one for one in store.believed(store.load(connection)) if not store.is_catalogue(one)]
        plan = changes.add(own, stated, at_us=at_us, correct=options.correct)
        return _do(connection, plan, options=options, at_us=at_us, action="correct" if options.correct else "add")


def _end(connection: Connection, options: argparse.Namespace) -> int:
    valid_to_us = instant_us(options.at, "--at")
    with connection.transaction():
        at_us = store.begin(connection)
        standing = [one for one in store.believed(store.load(connection)) if not store.is_catalogue(one)]
        named = [
            one for one in standing if isinstance(one.entry, Row) and one.entry.price_id.startswith(options.price_id)
        ]
        if len(named) != 1:
            raise ChangeError(
                f"{options.price_id!r} names {len(named)} own rates; `tokenledger prices list` shows their ids"
            )
        plan = changes.end(named[0], valid_to_us=valid_to_us, at_us=at_us)
        return _do(connection, plan, options=options, at_us=at_us, action="end")


def _undo(connection: Connection, options: argparse.Namespace) -> int:
    with connection.transaction():
        at_us = store.begin(connection)
        plan = changes.undo(options.change_no, store.load(connection), at_us=at_us)
        return _do(connection, plan, options=options, at_us=at_us, action="undo")


def _do(connection: Connection, plan: Plan, *, options: argparse.Namespace, at_us: int, action: str) -> int:
    """Show the plan, and carry it out unless it is a dry run."""
    for one in plan.withdrawn:
        print(f"- {describe(one.entry)}{_rate(one.entry)}")
    for _, entry in plan.added:
        print(f"+ {describe(entry)}{_rate(entry)}")
    if plan.unchanged:
        print(f"{plan.unchanged} entries are believed already")
    if not plan.changes_anything or options.dry_run:
        print("nothing changed" if not plan.changes_anything else "dry run: nothing changed")
        return 0
    undoes = getattr(options, "change_no", None)
    number = store.apply(connection, plan, at_us=at_us, action=action, reason=options.reason, undoes_change_no=undoes)
    print(f"change {number}: {len(plan.withdrawn)} withdrawn, {len(plan.added)} added")
    return 0


def _rate(entry: changes.Entry) -> str:
    return f": {entry.list_pico} pico-USD per {entry.list_per}" if isinstance(entry, Row) else ""


def _list(connection: Connection, options: argparse.Namespace) -> int:
    known_at_us = instant_us(options.known_at, "--known-at") if options.known_at else None
    book = store.book_of(store.load(connection), known_at_us)
    prices = list_prices(book, options.pattern)
    table = Table("provider", "model", "meter", box=box.SIMPLE_HEAD)
    table.add_column("USD", justify="right")
    for heading in ("per", "conditions", "from", "to", "layer", "id"):
        table.add_column(heading)
    for price in prices:
        conditions = ", ".join(filter(None, (price.condition, price.tier, price.hours)))
        table.add_row(
            price.provider, price.model, price.meter, price.rate_usd, price.per, conditions, price.valid_from,
            price.valid_to, price.layer, price.price_id[:_ID_CHARS],
        )  # fmt: skip
    _console().print(table)
    print(f"{len(prices)} rates, book {book.version}")
    return 0 if prices else _NOT_ALL


def _history(connection: Connection, _options: argparse.Namespace) -> int:
    table = Table("change", "made", "by", "action", "why", box=box.SIMPLE_HEAD)
    for heading in ("added", "withdrawn"):
        table.add_column(heading, justify="right")
    for one in store.history(connection, most=200):
        action = one.action if one.undoes_change_no is None else f"{one.action} {one.undoes_change_no}"
        made = datetime.fromtimestamp(one.made_at_us / 1e6, UTC)
        table.add_row(
            str(one.change_no), f"{made:%Y-%m-%d %H:%M:%S}", one.made_by, action, one.reason, str(one.added),
            str(one.withdrawn),
        )  # fmt: skip
    _console().print(table)
    return 0


def _diff(connection: Connection, options: argparse.Namespace) -> int:
    since_us = instant_us(options.since, "--from")
    until_us = instant_us(options.until, "--to") if options.until else time.time_ns() // 1000

    def known(one: Kept, at_us: int) -> bool:
        return one.entry.known_from_us <= at_us < one.entry.known_to_us

    kept = store.load(connection)
    went = [one for one in kept if known(one, since_us) and not known(one, until_us)]
    came = [one for one in kept if known(one, until_us) and not known(one, since_us)]
    for sign, some in (("-", went), ("+", came)):
        for one in some[:_SHOWN]:
            print(f"{sign} {describe(one.entry)}{_rate(one.entry)}  (change {one.change_no})")
        if len(some) > _SHOWN:
            print(f"{sign} and {len(some) - _SHOWN} more")
    print(f"{len(went)} withdrawn, {len(came)} added")
    return 0


def _export(connection: Connection, _options: argparse.Namespace) -> int:
    own = [one for one in store.believed(store.load(connection)) if not store.is_catalogue(one)]
    print(as_yaml(own), end="")
    return 0


def _console() -> Console:
    return Console(highlight=False, width=None if sys.stdout.isatty() else _PLAIN_WIDTH)
