"""Rejected records: list and count them, look at one, see what today's code makes of them, send them again.

  tokenledger rejected group --by reason,producer
  tokenledger rejected list --reason unknown_shape --since 2026-11-01
  tokenledger rejected show llm.rejected.v1/0/17
  tokenledger rejected replay --reason unknown_shape            what would become of them; nothing is sent
  tokenledger rejected replay --reason unknown_shape --send     send those that would be priced

exit status: 0 done; 1 replay: some would be rejected again, or are no longer in the log; 2 it could not be done.
"""

import argparse
import sys
from collections import Counter
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import psycopg
from confluent_kafka import KafkaException
from rich.console import Console
from rich.table import Table

from ledger import rejected
from ledger.database import Connection, connect
from ledger.fetching import Fetcher, Kept, Place
from ledger.rejected import GROUPS, Entry, Expected, Judged, Verdict, Wanted
from ledger.settings import Settings
from tokenledger.commands.books import instant_us
from tokenledger.commands.stack import environment
from tokenledger.process import default_context
from tokenledger.records import Reason

_NOT_ALL: Final = 1
_FAILED: Final = 2
_PLAIN_WIDTH: Final = 200
_LIST_MOST: Final = 100
_REPLAY_MOST: Final = 10_000
_MOST_ATTEMPTS: Final = 3
_USD_PICO: Final = 10**12
_SHOWN_BYTES: Final = 4_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `tokenledger rejected` takes."""
    does = parser.add_subparsers(metavar="list | group | show | replay", required=True)
    listed = does.add_parser("list", help="the records, oldest first")
    _add_filters(listed, most=_LIST_MOST)
    listed.add_argument("--format", choices=("table", "jsonl"), default="table", help="default: table")
    listed.set_defaults(does=_list)
    grouped = does.add_parser("group", help="how many, by reason, tenant, producer, day, …")
    _add_filters(grouped, most=None)
    grouped.add_argument("--by", metavar="A,B,…", default="reason", help=f"of {', '.join(GROUPS)} (default: reason)")
    grouped.set_defaults(does=_group)
    show = does.add_parser("show", help="one record: why, its headers and its bytes")
    show.add_argument("place", metavar="TOPIC/PARTITION/OFFSET", type=_place, help="as `list` shows it")
    show.add_argument("--raw", action="store_true", help="print its bytes and nothing else")
    show.set_defaults(does=_show)
    replay = does.add_parser("replay", help="what would become of them now; with --send, send them again")
    replay.add_argument("places", metavar="PLACE", nargs="*", type=_place, help="these only (default: by the filters)")
    _add_filters(replay, most=_REPLAY_MOST)
    replay.add_argument("--send", action="store_true", help="send those that would be priced")
    replay.add_argument(
        "--attempts", type=int, default=_MOST_ATTEMPTS, metavar="N",
        help=f"leave alone what was tried N times (default: {_MOST_ATTEMPTS})",
    )  # fmt: skip
    replay.set_defaults(does=_replay)


def _add_filters(parser: argparse.ArgumentParser, *, most: int | None) -> None:
    add = parser.add_argument
    add("--reason", choices=[reason.value for reason in Reason], metavar="REASON", help="such as unknown_shape")
    add("--tenant", help="tenant, as its credential says")
    add("--producer", metavar="SOURCE", help="ce_source of the record")
    add("--since", metavar="TIME", help="appended from then on: 2026-01-31 or 2026-01-31T16:00:00Z")
    add("--until", metavar="TIME", help="appended before then")
    if most is not None:
        add("--limit", type=int, default=most, metavar="N", help=f"at most so many (default: {most})")


def _place(text: str) -> Place:
    try:
        return Place.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _wanted(options: argparse.Namespace) -> Wanted:
    return Wanted(
        reason=options.reason,
        tenant_id=options.tenant,
        ce_source=options.producer,
        since_us=instant_us(options.since, "--since") if options.since else None,
        until_us=instant_us(options.until, "--until") if options.until else None,
        kept=tuple(getattr(options, "places", ())),
    )


def run(options: argparse.Namespace) -> int:
    """Do it as role `keeper`."""
    settings = Settings.from_environment(environment(), user="keeper")
    try:
        with connect(settings, application="tokenledger-rejected") as connection:
            return int(options.does(connection, settings, options))
    except psycopg.OperationalError as error:
        message = f"cannot reach the ledger: {str(error).strip()}; is the stack up? `make up`"
    except KafkaException as error:
        message = f"cannot read or write the log: {error.args[0].str()}; is the stack up? `make up`"
    print(f"tokenledger rejected: {message}", file=sys.stderr)
    return _FAILED


def _list(connection: Connection, _settings: Settings, options: argparse.Namespace) -> int:
    found = rejected.entries(connection, _wanted(options), most=options.limit)
    if options.format == "jsonl":
        for entry in found:
            sys.stdout.buffer.write(msgspec.json.encode(_facts(entry)) + b"\n")
        return 0
    table = Table("place", "reason", "field", "tenant", "event", "producer", "tried", "appended", "replayed")
    for entry in found:
        table.add_row(
            str(entry.kept),
            entry.reason,
            entry.field,
            entry.tenant_id,
            entry.event_id,
            entry.ce_source,
            str(entry.attempt_no),
            _instant(entry.append_at_us),
            "yes" if entry.replayed else "",
        )
    _console().print(table)
    if len(found) == options.limit:
        print(f"the first {options.limit}; --limit N shows more", file=sys.stderr)
    return 0


def _facts(entry: Entry) -> dict[str, Any]:
    return entry._asdict() | {"kept": str(entry.kept), "origin": str(entry.origin)}


def _instant(at_us: int) -> str:
    return f"{datetime.fromtimestamp(at_us // 1_000_000, UTC):%Y-%m-%d %H:%M:%S}"


def _console() -> Console:
    return Console(highlight=False, width=None if sys.stdout.isatty() else _PLAIN_WIDTH)


def _group(connection: Connection, _settings: Settings, options: argparse.Namespace) -> int:
    by = [name.strip() for name in options.by.split(",") if name.strip()]
    table = Table(*by)
    for name in ("records", "replayed"):
        table.add_column(name, justify="right")
    for group, records, replayed in rejected.groups(connection, _wanted(options), by=by):
        table.add_row(*(value or "-" for value in group), f"{records:,}", f"{replayed:,}")
    _console().print(table)
    return 0


def _fetch(settings: Settings, found: list[Entry]) -> dict[Place, Kept]:
    fetcher = Fetcher(settings.kafka_bootstrap)
    try:
        return rejected.originals(fetcher, found)
    finally:
        fetcher.close()


def _show(connection: Connection, settings: Settings, options: argparse.Namespace) -> int:
    found = rejected.entries(connection, Wanted(kept=(options.place,)), most=1)
    if not found:
        message = f"no rejected record is kept at {options.place}; `tokenledger rejected list` shows the places"
        raise ValueError(message)
    original = _fetch(settings, found).get(options.place)
    if original is None:
        print(f"tokenledger rejected: its bytes are in no log any more: {found[0].origin}", file=sys.stderr)
    if options.raw:
        sys.stdout.buffer.write(original.value or b"" if original is not None else b"")
        return 0 if original is not None else _NOT_ALL
    for name, fact in _facts(found[0]).items():
        print(f"{name:14} {_instant(fact) + ' UTC' if name == 'append_at_us' else fact}")
    if original is None:
        return _NOT_ALL
    _print_original(original)
    return 0


def _print_original(original: Kept) -> None:
    """Its bytes as text; what is no text, or much of it, is only told."""
    print(f"{'key':14} {_text(original.key)}")
    for name, text in original.headers:
        print(f"header         {name}: {_text(text)}")
    value = original.value
    print(f"{'bytes':14} {'none, a tombstone' if value is None else f'{len(value):,}'}")
    if value:
        print(_text(value[:_SHOWN_BYTES]))
        if len(value) > _SHOWN_BYTES:
            print(f"… {len(value) - _SHOWN_BYTES:,} more; --raw prints all", file=sys.stderr)


def _text(value: bytes | None) -> str:
    """Without what would move a terminal's cursor."""
    text = (value or b"").decode("utf-8", "backslashreplace")
    return "".join(one if one.isprintable() or one == "\n" else ascii(one)[1:-1] for one in text)


def _replay(connection: Connection, settings: Settings, options: argparse.Namespace) -> int:
    found = rejected.entries(connection, _wanted(options), most=options.limit)
    kept = _fetch(settings, [entry for entry in found if not entry.replayed and entry.attempt_no < options.attempts])
    context = default_context()
    judged = [
        rejected.judge(entry, kept.get(entry.kept), context=context, most_attempts=options.attempts) for entry in found
    ]
    planned = rejected.plan(connection, judged)
    sums = rejected.expected(planned)
    _print_plan(planned, sums)
    if options.send:
        sent = sum(1 for _ in rejected.replay(connection, settings.kafka_bootstrap, planned))
        print(f"{sent:,} records sent again; `tokenledger verify` says when the ledger has them")
    elif sums.verdicts.get(Verdict.PRICED):
        print("nothing was sent; --send sends those that would be priced")
    return _NOT_ALL if sums.verdicts.keys() & {Verdict.REJECTED, Verdict.GONE} else 0


def _print_plan(planned: list[Judged], sums: Expected) -> None:
    print(f"{len(planned):,} rejected records, by the code and prices of this checkout:")
    for verdict, count in sorted(sums.verdicts.items(), key=lambda one: -one[1]):
        print(f"  {count:>9,}  {verdict}{_money(sums) if verdict is Verdict.PRICED else ''}")
    why = Counter(one.why for one in planned if one.verdict is Verdict.REJECTED)
    for text, count in why.most_common(10):
        print(f"  {count:>9,}  still: {_text(text.encode())}")


def _money(sums: Expected) -> str:
    whole, part = divmod(sums.known_cost_usd_pico, _USD_PICO)
    incomplete = f", {sums.incomplete_calls:,} of them incomplete" if sums.incomplete_calls else ""
    return f": USD {whole:,}.{part:012} more{incomplete}"
