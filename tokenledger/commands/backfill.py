"""Judge a range of raw records again and compare it with the ledger, to the pico; send what it has never seen.

  tokenledger backfill --since 2026-11-01 --until 2026-11-08           compare; nothing is sent
  tokenledger backfill --since 2026-11-01 --until 2026-11-08 --send    and send what has no outcome

The range is of the time the log took the records. A record that has an outcome is never sent again.

exit status: 0 all equal; 1 something differs or is missing; 2 it could not be done.
"""

import argparse
import sys

import psycopg
from confluent_kafka import KafkaException

from ledger.backfill import Log, Tally, backfill
from ledger.database import connect
from ledger.prices.store import current
from ledger.settings import Settings
from tokenledger.commands.books import instant_us
from tokenledger.commands.stack import environment
from tokenledger.process import Context

_DIFFERS = 1
_FAILED = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `tokenledger backfill` takes."""
    add = parser.add_argument
    add("--since", required=True, metavar="TIME", help="appended from then on: 2026-01-31 or 2026-01-31T16:00:00Z")
    add("--until", required=True, metavar="TIME", help="appended before then")
    add("--send", action="store_true", help="send what the ledger has never seen")


def run(options: argparse.Namespace) -> int:
    """Compare, and print what it came to."""
    span_us = instant_us(options.since, "--since"), instant_us(options.until, "--until")
    if span_us[0] >= span_us[1]:
        message = f"--since {options.since} is not before --until {options.until}; an earlier time would be right"
        raise ValueError(message)
    settings = Settings.from_environment(environment(), user="analyst")
    log = Log(settings.kafka_bootstrap)
    try:
        with connect(settings, application="tokenledger-backfill") as connection:
            tally = backfill(
                connection, log, span_us=span_us, context=Context(current(connection)[1]), send=options.send
            )
    except psycopg.OperationalError as error:
        message = f"cannot reach the ledger: {str(error).strip()}; is the stack up? `make up`"
    except KafkaException as error:
        message = f"cannot read or write the log: {error.args[0].str()}; is the stack up? `make up`"
    else:
        print(told(tally))
        return 0 if tally.right else _DIFFERS
    finally:
        log.close()
    print(f"tokenledger backfill: {message}", file=sys.stderr)
    return _FAILED


def told(tally: Tally) -> str:
    """The comparison for people."""
    figures = {
        "raw records": tally.records,
        "equal to the ledger": tally.equal,
        "known cost of these, pico-USD": tally.known_cost_usd_pico,
        "held by another record of their call": tally.behind_another,
        "priced by another book": tally.by_another_book,
        "differing": tally.differing,
        "without outcome": tally.without_outcome,
        "sent": tally.sent,
    }
    lines = [f"{name:36}  {figure:>24,}" for name, figure in figures.items()]
    lines += [f"DIFFERS  {example}" for example in tally.examples]
    verdict = "equal" if tally.right else "NOT equal"
    return "\n".join((*lines, f"backfill: {verdict} at book {tally.book_version}"))
