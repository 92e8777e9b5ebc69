"""Send log files into the stream, each record once acknowledged by the broker, texts removed.

With --capture the texts of tenants that allow it stay in, for the lake; everybody else's are removed all the same.

FILES are what `tokenledger price` reads. Recorded traffic can be multiplied, the same for the same --seed; repeats are
calls of their own (fresh event and response ids), duplicates are the same record again.

With --journal every acknowledged record is written down as the log holds it: `tokenledger price JOURNAL` then gives
exactly what the stream gives. The same command takes up a journal where it was stopped.

Records are numbered within their source (`ce_sequence`), each run being an epoch (`ce_epoch`): `tokenledger sources
--gaps` names those that were sent and are not in the log.

exit status: 0 all were acknowledged; 1 some were not (run the same command again); 2 nothing was sent; 130 interrupted.
"""

import argparse
import time
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from rich.console import Console

from tokenledger.commands.books import instant_us
from tokenledger.commands.capture import Capture
from tokenledger.commands.journal import Journal, RunFacts
from tokenledger.commands.reading import add_reading_arguments, reading_options
from tokenledger.commands.stack import environment
from tokenledger.commands.traffic import Message, Plan, Template, template, traffic
from tokenledger.readers import Unreadable, expand, read
from tokenledger.records.topics import RAW

_DEFAULT_BOOTSTRAP: Final = "127.0.0.1:29092"
_DEFAULT_CONSENT: Final = ".local/stack/consent.toml"
_DEFAULT_FEATURES: Final = 20
_SECOND_US: Final = 1_000_000
_CHANGING: Final = (
    "topic", "tenant", "provider", "tenants", "features", "repeat", "duplicates", "disorder", "late", "spread",
    "seed", "capture",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    add = parser.add_argument
    add_reading_arguments(parser)
    bootstrap = environment().get("TOKENLEDGER_KAFKA_BOOTSTRAP", _DEFAULT_BOOTSTRAP)
    add("--bootstrap", default=bootstrap, metavar="HOST:PORT", help=f"Kafka (default: {bootstrap})")
    add("--topic", default=RAW.name, help=f"default: {RAW.name}")
    add("--capture", action="store_true", help="leave texts in, for tenants that allow it in the consent file")
    consent = environment().get("TOKENLEDGER_CONSENT", _DEFAULT_CONSENT)
    add("--consent", type=Path, default=Path(consent), metavar="FILE", help=f"which tenants do (default: {consent})")
    add("--tenants", type=_count, default=0, metavar="N", help="share the calls among N tenants, the first with most")
    add("--features", type=_count, default=None, metavar="N",
        help=f"assign N features (default: {_DEFAULT_FEATURES} with --tenants, else none)")  # fmt: skip
    add("--repeat", type=_count, default=1, metavar="N", help="send everything N times, as calls of their own")
    add("--duplicates", type=_share, default=0.0, metavar="P", help="share of records sent twice: 0.05, or 5%%")
    add("--now", nargs="?", const="", metavar="TIME", help="move event times to the present (or to TIME, or to µs)")
    add("--spread", type=float, default=0.0, metavar="S", help="with --now: event times cover S seconds before it")
    add("--disorder", type=float, default=0.0, metavar="S", help="with --now: event times vary by up to S seconds")
    add("--late", type=_share, default=0.0, metavar="P", help="with --now: share of records 1 to 6 hours older")
    add("--seed", type=int, default=1, help="same seed, same traffic (default: 1)")
    add("--rate", type=float, default=0.0, metavar="R", help="at most R records a second (default: no limit)")
    add("--journal", type=Path, metavar="FILE", help="write down what was acknowledged; an unfinished one is taken up")


def run(options: argparse.Namespace) -> int:
    """Send the files."""
    problems: list[Unreadable] = []
    paths = expand(options.files, problems.append)
    templates = _load(paths, options, problems=problems)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    for problem in problems:
        console.print(f"not read: {problem.source_file}: {problem.reason}: {problem.detail}", markup=False)
    if not templates:
        message = "no record to send was found"
        raise ValueError(message)
    journal, facts = _open_journal(paths, options)
    from tokenledger.commands.producing import deliver

    plan = _plan(options, facts)
    messages: Iterable[Message] = traffic(templates, plan)
    expected = round(len(templates) * plan.repeat * (1 + plan.duplicates))
    if not options.capture:
        return deliver(messages, journal, options=options, expected=expected)
    from ledger.lake.consent import ConsentFile

    capture = Capture(ConsentFile(options.consent).now().allows)
    status = deliver(capture.kept(messages), journal, options=options, expected=expected)
    for line in capture.report(str(options.consent)):
        console.print(line, markup=False)
    return status


def _load(paths: list[str], options: argparse.Namespace, *, problems: list[Unreadable]) -> list[Template]:
    """All records, taken apart. They are kept: a run that is taken up must be able to count them."""
    reading = reading_options(options, redact=not options.capture)
    return [template(found) for found in read(paths, reading, on_problem=problems.append)]


def _open_journal(paths: list[str], options: argparse.Namespace) -> tuple[Journal | None, RunFacts]:
    facts = RunFacts(
        files=paths,
        sizes_bytes=[Path(path).stat().st_size if path != "-" else 0 for path in paths],
        settings={name: getattr(options, name) for name in _CHANGING} | {"now": options.now},
        now_us=_now_us(options),
        epoch=f"send-{uuid.uuid4().hex[:16]}",
    )
    return (None, facts) if options.journal is None else Journal.open(options.journal, facts)


def _now_us(options: argparse.Namespace) -> int | None:
    if options.now is None:
        moved = [name for name in ("spread", "disorder", "late") if getattr(options, name)]
        if moved:
            message = f"--{moved[0]} moves event times; state --now to have them moved"
            raise ValueError(message)
        return None
    if options.now == "":
        return time.time_ns() // 1000
    return int(options.now) if options.now.isdecimal() else instant_us(options.now, "--now")


def _plan(options: argparse.Namespace, facts: RunFacts) -> Plan:
    features = options.features
    if features is None:
        features = _DEFAULT_FEATURES if options.tenants else 0
    return Plan(
        tenants=options.tenants,
        features=features,
        repeat=options.repeat,
        duplicates=options.duplicates,
        late=options.late,
        disorder_us=int(options.disorder * _SECOND_US),
        spread_us=int(options.spread * _SECOND_US),
        now_us=facts.now_us,
        seed=options.seed,
        epoch=facts.epoch,
    )


def _count(text: str) -> int:
    if not text.isdecimal():
        message = f"{text!r} is no count; a whole number, 0 or more, would be right"
        raise argparse.ArgumentTypeError(message)
    return int(text)


def _share(text: str) -> float:
    """A share from 0 to 1, or in per cent."""
    try:
        stated = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        stated = -1.0
    if not 0 <= stated <= 1:
        message = f"{text!r} is no share; 0.05 or 5% would be right"
        raise argparse.ArgumentTypeError(message)
    return stated
