"""Waiting for a change of the ledger's configuration: a record of `cfg.public.*` ends the wait, time does too.

What the record says is not used. Records that were missed, a broker that is away, a Debezium that does not run: all of
them cost the time until the wait ends by itself, and nothing else.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Final

import psycopg
from confluent_kafka import OFFSET_END, Consumer, KafkaException, TopicPartition

from ledger.database import Connection, TooPowerfulError, connect
from ledger.settings import Settings
from tokenledger.records.topics import CONFIGURATION, Topic

LOOK_EVERY_S: Final = 10.0
"""The longest time to a look where no wake-up comes: Debezium does not run, or the broker is away."""
_AGAIN_AFTER_S: Final = 2.0
_AT_ONCE: Final = 10_000
"""An imported catalogue is thousands of rows; all of them are one wake-up."""
_SLICE_S: Final = 0.25
"""Whoever asks for the end waits this long at most."""


class Wakeups:
    """The topics of configuration, from their ends on."""

    def __init__(self, bootstrap: str, topics: Sequence[Topic] = CONFIGURATION) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                # librdkafka asks for a name; nothing is ever committed under it.
                "group.id": "tokenledger-configuration",
                "enable.auto.commit": False,
                "auto.offset.reset": "latest",
                "fetch.wait.max.ms": 500,
                # Whoever waits here tells by what it does that the broker is away.
                "log_level": 0,
                "reconnect.backoff.max.ms": 1000,
            }
        )
        self._consumer.assign([TopicPartition(topic.name, 0, OFFSET_END) for topic in topics])

    def close(self) -> None:
        """Listen no longer."""
        self._consumer.close()

    def wait(self, longest_s: float, *, stopped: Callable[[], bool]) -> bool:
        """Whether something changed; false after so long without, or as soon as `stopped` says so."""
        end_s = time.monotonic() + longest_s
        while not stopped() and (left_s := end_s - time.monotonic()) > 0:
            if self._came(min(left_s, _SLICE_S)):
                return True
        return False

    def _came(self, within_s: float) -> bool:
        try:
            messages = self._consumer.consume(1, within_s)
            some = any(message.error() is None for message in messages)
            while messages:
                messages = self._consumer.consume(_AT_ONCE, 0)
        except KafkaException:
            time.sleep(within_s)
            return False
        return some


def follow(
    settings: Settings,
    look: Callable[[Connection], None],
    *,
    application: str,
    stopped: Callable[[], bool],
    failed: Callable[[str], None],
) -> None:
    """Look once, and again whenever something may have changed, until stopped.

    A look that raises ValueError, and Postgres being away, are told and tried again.
    """
    with closing(Wakeups(settings.kafka_bootstrap)) as wakeups:
        while not stopped():
            try:
                with connect(settings, application=application) as connection:
                    # Before the first wait: what came while there was no connection woke nobody.
                    look(connection)
                    while not stopped():
                        wakeups.wait(LOOK_EVERY_S, stopped=stopped)
                        look(connection)
            except (psycopg.Error, TooPowerfulError, ValueError) as error:
                failed(str(error).strip())
                wakeups.wait(_AGAIN_AFTER_S, stopped=stopped)
