"""Rejected records: list and count them, look at one, see what today's code makes of them, send again or park them.

  tokenledger rejected group --by reason,producer
  tokenledger rejected list --reason unknown_shape --since 2026-11-01
  tokenledger rejected show llm.rejected.v1/0/17
  tokenledger rejected replay --reason unknown_shape            what would become of them; nothing is sent
  tokenledger rejected replay --reason unknown_shape --by producer,day      the same, rows and money by group
  tokenledger rejected replay --reason unknown_shape --send     send those that would be priced
  tokenledger rejected park --producer /old --why "its team mends it" --for 30d   out of replays and alerts
  tokenledger rejected unpark --producer /old --why "mended"

exit status: 0 done; 1 replay: some would be rejected again, or are no longer in the log; 2 it could not be done.
"""

import argparse
import getpass
import sys
import time
from collections import Counter
from typing import Any, Final

import psycopg
from confluent_kafka import KafkaException

from ledger import parking, rejected
from ledger.database import Connection, connect
from ledger.fetching import Fetcher, Kept, Place
from ledger.prices import store as prices
from ledger.rejected import GROUPS, Entry, Expected, Judged, Verdict, Wanted
from ledger.settings import Settings
from tokenledger.commands.books import instant_us
from tokenledger.commands.plain import instant, json_line, plain, print_table
from tokenledger.commands.stack import environment
from tokenledger.process import Context
from tokenledger.records import Reason

_NOT_ALL: Final = 1
_FAILED: Final = 2
_LIST_MOST: Final = 100
_REPLAY_MOST: Final = 10_000
_MOST_ATTEMPTS: Final = 3
_USD_PICO: Final = 10**12
_SHOWN_BYTES: Final = 4_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `tokenledger rejected` takes."""
    does = parser.add_subparsers(metavar="list | group | show | replay | park | unpark", required=True)
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
    replay.add_argument("--by", metavar="A,B,…", help=f"rows and money by group, of {', '.join(GROUPS)}")
    replay.set_defaults(does=_replay)
    park = does.add_parser("park", help="set records aside: no replay sends them, no alert counts them")
    unpark = does.add_parser("unpark", help="take records back that were set aside")
    for one, done in ((park, _park), (unpark, _unpark)):
        one.add_argument("places", metavar="PLACE", nargs="*", type=_place, help="these (or those of the filters)")
        _add_filters(one, most=None)
        one.add_argument("--why", required=True, help="in your words; it is kept with your name")
        one.add_argument("--who", default=getpass.getuser(), help="your name (default: %(default)s)")
        one.set_defaults(does=done)
    park.add_argument("--for", dest="span", metavar="TIME", type=_span_us, help="so long: 12h, 30d (default: for good)")


def _add_filters(parser: argparse.ArgumentParser, *, most: int | None) -> None:
    add = parser.add_argument
    add("--reason", choices=[reason.value for reason in Reason], metavar="REASON", help="such as unknown_shape")
    add("--tenant", help="tenant, as its credential says")
    add("--producer", metavar="SOURCE", help="ce_source of the record")
    add("--since", metavar="TIME", help="appended from then on: 2026-01-31 or 2026-01-31T16:00:00Z")
    add("--until", metavar="TIME", help="appended before then")
    add("--parked", choices=("yes", "no"), help="only those that are parked, or that are not")
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
        parked=None if options.parked is None else options.parked == "yes",
        kept=tuple(getattr(options, "places", ())),
    )


def run(options: argparse.Namespace) -> int:
    """Do it as role `keeper`."""
    settings = Settings.from_environment(environment(), user="keeper")
    try:
        with connect(settings, application="tokenledger-rejected") as connection:
            return int(options.does(connection, settings, options=options))
    except psycopg.OperationalError as error:
        message = f"cannot reach the ledger: {str(error).strip()}; is the stack up? `make up`"
    except KafkaException as error:
        message = f"cannot read or write the log: {error.args[0].str()}; is the stack up? `make up`"
    print(f"tokenledger rejected: {message}", file=sys.stderr)
    return _FAILED


def _list(connection: Connection, _settings: Settings, *, options: argparse.Namespace) -> int:
    found = rejected.entries(connection, _wanted(options), most=options.limit)
    if options.format == "jsonl":
        for entry in found:
            sys.stdout.buffer.write(json_line(_facts(entry)))
        return 0
    rows = [
        (entry.kept, entry.reason, entry.field, entry.tenant_id, entry.event_id, entry.ce_source, entry.attempt_no,
         instant(entry.append_at_us), "replayed" if entry.replayed else "" if entry.parked is None else "parked")
        for entry in found
    ]  # fmt: skip
    print_table(("place", "reason", "field", "tenant", "event", "producer", "tried", "appended", "state"), rows)
    if len(found) == options.limit:
        print(f"the first {options.limit}; --limit N shows more", file=sys.stderr)
    return 0


def _facts(entry: Entry) -> dict[str, Any]:
    return entry._asdict() | {"kept": str(entry.kept), "origin": str(entry.origin)}


def _names(by: str) -> list[str]:
    return [name.strip() for name in by.split(",") if name.strip()]


def _group(connection: Connection, _settings: Settings, *, options: argparse.Namespace) -> int:
    by = _names(options.by)
    heads = ("records", "replayed", "parked")
    rows = [
        (*group.values, *(f"{count:,}" for count in group[1:]))
        for group in rejected.groups(connection, _wanted(options), by=by)
    ]
    print_table((*by, *heads), rows, right=heads)
    return 0


def _fetch(settings: Settings, found: list[Entry]) -> dict[Place, Kept]:
    fetcher = Fetcher(settings.kafka_bootstrap)
    try:
        return rejected.originals(fetcher, found)
    finally:
        fetcher.close()


def _show(connection: Connection, settings: Settings, *, options: argparse.Namespace) -> int:
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
        print(f"{name:14} {plain(instant(fact) + ' UTC' if name == 'append_at_us' else fact)}")
    if original is None:
        return _NOT_ALL
    _print_original(original)
    return 0


def _print_original(original: Kept) -> None:
    """Its bytes as text; what is no text, or much of it, is only told."""
    print(f"{'key':14} {plain(_text(original.key))}")
    for name, text in original.headers:
        print(f"header         {plain(name)}: {plain(_text(text))}")
    value = original.value
    print(f"{'bytes':14} {'none, a tombstone' if value is None else f'{len(value):,}'}")
    if value:
        print(_text(value[:_SHOWN_BYTES]))
        if len(value) > _SHOWN_BYTES:
            print(f"… {len(value) - _SHOWN_BYTES:,} more; --raw prints all", file=sys.stderr)


def _text(value: bytes | None) -> str:
    """Without what would move a terminal's cursor."""
    text = (value or b"").decode("utf-8", "backslashreplace")
    return "\n".join(plain(line) for line in text.split("\n"))


def _park(connection: Connection, _settings: Settings, *, options: argparse.Namespace) -> int:
    until_us = None if options.span is None else time.time_ns() // 1000 + options.span
    count = parking.park(connection, _chosen(options), reason=options.why, who=options.who, until_us=until_us)
    print(f"{count:,} records parked{'' if until_us is None else f' until {instant(until_us)} UTC'}")
    return 0


def _unpark(connection: Connection, _settings: Settings, *, options: argparse.Namespace) -> int:
    count = parking.unpark(connection, _chosen(options), reason=options.why, who=options.who)
    print(f"{count:,} records taken back")
    return 0


def _chosen(options: argparse.Namespace) -> Wanted:
    """What was chosen. Raises ValueError where nothing was: that would be all there are."""
    wanted = _wanted(options)
    if wanted == Wanted():
        message = "name what: places, or --reason, --tenant, --producer, --since, --until; `group` shows what there is"
        raise ValueError(message)
    return wanted


def _span_us(text: str) -> int:
    unit = {"m": 60, "h": 3600, "d": 86400}.get(text[-1:])
    if unit is None or not text[:-1].isdecimal() or not int(text[:-1]):
        message = f"{text!r} is no span of time; 90m, 12h or 30d would be right"
        raise argparse.ArgumentTypeError(message)
    return int(text[:-1]) * unit * 1_000_000


def _replay(connection: Connection, settings: Settings, *, options: argparse.Namespace) -> int:
    by = _names(options.by) if options.by is not None else []
    if options.by is not None:
        rejected.check_groups(by)
    found = rejected.entries(connection, _wanted(options), most=options.limit)
    kept = _fetch(
        settings,
        [
            entry
            for entry in found
            if not entry.replayed and entry.parked is None and entry.attempt_no < options.attempts
        ],
    )
    context = Context(prices.current(connection)[1])
    judged = [
        rejected.judge(entry, kept.get(entry.kept), context=context, most_attempts=options.attempts) for entry in found
    ]
    planned = rejected.plan(connection, judged)
    sums = rejected.expected(planned)
    _print_plan(planned, sums)
    if by:
        _print_groups(planned, by)
    if options.send:
        sent = sum(1 for _ in rejected.replay(connection, settings.kafka_bootstrap, planned))
        print(f"{sent:,} records sent again; `tokenledger verify` says when the ledger has them")
    elif sums.verdicts.get(Verdict.PRICED):
        print("nothing was sent; --send sends those that would be priced")
    return _NOT_ALL if sums.verdicts.keys() & {Verdict.REJECTED, Verdict.GONE} else 0


def _print_plan(planned: list[Judged], sums: Expected) -> None:
    print(f"{len(planned):,} rejected records, by the code of this checkout and the prices of the ledger:")
    for verdict, count in sorted(sums.verdicts.items(), key=lambda one: -one[1]):
        print(f"  {count:>9,}  {verdict}{_money(sums) if verdict is Verdict.PRICED else ''}")
    why = Counter(one.why for one in planned if one.verdict is Verdict.REJECTED)
    for text, count in why.most_common(10):
        print(f"  {count:>9,}  still: {_text(text.encode())}")


def _print_groups(planned: list[Judged], by: list[str]) -> None:
    """Rows and money that would appear, group by group; most money first."""
    grouped: dict[tuple[str, ...], list[Judged]] = {}
    for one in planned:
        grouped.setdefault(rejected.group_of(one.entry, by), []).append(one)
    sums = {group: rejected.expected(members) for group, members in grouped.items()}
    heads = ("records", "would be priced", "incomplete", "USD more")
    rows = [
        (*group, f"{len(grouped[group]):,}", f"{one.verdicts.get(Verdict.PRICED, 0):,}", f"{one.incomplete_calls:,}",
         _usd(one.known_cost_usd_pico))
        for group, one in sorted(sums.items(), key=lambda item: (-item[1].known_cost_usd_pico, item[0]))
    ]  # fmt: skip
    print_table((*by, *heads), rows, right=heads)


def _usd(pico: int) -> str:
    whole, part = divmod(pico, _USD_PICO)
    return f"{whole:,}.{part:012}"


def _money(sums: Expected) -> str:
    incomplete = f", {sums.incomplete_calls:,} of them incomplete" if sums.incomplete_calls else ""
    return f": USD {_usd(sums.known_cost_usd_pico)} more{incomplete}"
