"""Folds what the writer posted into the roll-ups: many small sums become few, in transactions of their own.

The watermark moves in the transaction that adds the sums, and the views add what lies beyond it, so a reader sees the
same totals before, during and after, and a crash leaves either all of a fold or nothing.
"""

import os
import sys
import time
from typing import Final

import psycopg

from ledger.arrivals import in_background
from ledger.database import Connection, connect
from ledger.ending import Stop, run_supervised
from ledger.observing import COMPACTED, RETRIES, STALE, Pulse, logger, serve
from ledger.settings import Settings
from ledger.stale import queue_stale

log = logger("ledger.compact")

# A fold takes at most so many batches: a long standstill must not end in one endless transaction.
_BATCHES_AT_ONCE: Final = 500

# Whoever prices has been out of Postgres's reach for a day at most; beyond that people say `reprice --stale --since`.
_STALE_US: Final = 24 * 3600 * 1_000_000

_LIMIT: Final = """
SELECT max(posted_at_us) FROM (
    SELECT posted_at_us FROM batches WHERE posted_at_us > %s ORDER BY posted_at_us LIMIT %s
) AS next
"""

_FOLD_CALLS: Final = """
INSERT INTO rollups_15m AS r
SELECT (charged_at_us / 900000000)::integer, dim_no, '', sum(calls), sum(incomplete_calls), 0, 0, 0
FROM postings WHERE posted_at_us > %s AND posted_at_us <= %s
GROUP BY 1, 2
ON CONFLICT (bucket_no, dim_no, meter) DO UPDATE
SET calls = r.calls + excluded.calls, incomplete_calls = r.incomplete_calls + excluded.incomplete_calls
"""

_FOLD_LINES: Final = """
INSERT INTO rollups_15m AS r
SELECT bucket_no, dim_no, meter, 0, 0, sum(quantity), sum(amount_usd_pico), sum(list_amount_usd_pico)
FROM lines JOIN rates USING (rate_no) WHERE posted_at_us > %s AND posted_at_us <= %s
GROUP BY 1, 2, 3
ON CONFLICT (bucket_no, dim_no, meter) DO UPDATE
SET quantity = r.quantity + excluded.quantity, amount_usd_pico = r.amount_usd_pico + excluded.amount_usd_pico,
    list_amount_usd_pico = r.list_amount_usd_pico + excluded.list_amount_usd_pico
"""

_FOLD_LATENCY: Final = """
INSERT INTO latency_15m AS l
SELECT (charged_at_us / 900000000)::integer, dim_no, metric, bucket, sum(calls)
FROM postings
CROSS JOIN LATERAL (
    VALUES ('total', total_bucket), ('ttft', ttft_bucket), ('tpot', tpot_bucket),
        ('first_token_wait', first_token_wait_bucket), ('queue', queue_bucket), ('prefill', prefill_bucket),
        ('decode', decode_bucket)
) AS measured (metric, bucket)
WHERE posted_at_us > %s AND posted_at_us <= %s AND bucket IS NOT NULL
GROUP BY 1, 2, 3, 4
ON CONFLICT (bucket_no, dim_no, metric, bucket) DO UPDATE SET n = l.n + excluded.n
"""


def compact(connection: Connection, *, batches: int = _BATCHES_AT_ONCE) -> bool:
    """Fold the next batches; whether there were any."""
    with connection.transaction():
        # One compactor at a time: the second finds the watermark moved.
        row = connection.execute("SELECT posted_at_us FROM compaction FOR UPDATE").fetchone()
        assert row is not None, "table compaction has lost its row"  # noqa: S101  (our own mistake, not the world's)
        (after_us,) = row
        (through_us,) = connection.execute(_LIMIT, (after_us, batches)).fetchone() or (None,)
        if through_us is None:
            return False
        for statement in (_FOLD_CALLS, _FOLD_LINES, _FOLD_LATENCY):
            connection.execute(statement, (after_us, through_us))
        connection.execute("UPDATE compaction SET posted_at_us = %s", (through_us,))
    COMPACTED.inc()
    return True


def run(settings: Settings, stop: Stop) -> None:
    """Compact until asked to stop, through every outage of the database."""
    pulse = Pulse(limit_s=300.0)
    serve(settings.metrics_port, pulse)
    in_background(settings, stop)
    while not stop.asked:
        try:
            with connect(settings, application="tokenledger-compact") as connection:
                # A fold of a long standstill sorts more than a default session may hold.
                connection.execute("SELECT set_config('work_mem', '64MB', false)")
                connection.execute("SELECT set_config('idle_in_transaction_session_timeout', '60s', false)")
                while not stop.asked:
                    more = compact(connection)
                    pulse.beat()
                    if not (more and _behind(connection)):
                        _charge_stale(settings, connection)
                        stop.wait(settings.compact_interval_ms / 1000)
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            RETRIES.inc()
            log.warning("database away, trying again", extra={"facts": {"error": str(error)}})
            stop.wait(1.0)


def _charge_stale(settings: Settings, connection: Connection) -> None:
    """Have the writer charge anew what was priced before a change of the book had reached the stream."""
    with connect(settings, application="tokenledger-stale") as reader:
        since_us = time.time_ns() // 1_000 - _STALE_US
        try:
            queued = queue_stale(reader, connection, since_us=since_us)
        except ValueError as error:
            # The stream goes on by the book it has, and so may this.
            log.warning("a price book cannot be built", extra={"facts": {"error": str(error)}})
            return
        if queued:
            STALE.inc(queued)
            log.info("priced by an older book than was known", extra={"facts": {"calls": queued}})


def _behind(connection: Connection) -> bool:
    """Whether more than one fold is waiting."""
    row = connection.execute(
        "SELECT count(*) FROM (SELECT FROM batches WHERE posted_at_us > (SELECT posted_at_us FROM compaction) LIMIT %s)"
        " AS waiting",
        (_BATCHES_AT_ONCE,),
    ).fetchone()
    return row is not None and row[0] >= _BATCHES_AT_ONCE


def main() -> int:
    """`python -m ledger.compact`."""
    settings = Settings.from_environment(os.environ, user="writer")
    return run_supervised(lambda stop: run(settings, stop), log)


if __name__ == "__main__":
    sys.exit(main())
