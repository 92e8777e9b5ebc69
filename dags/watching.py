"""What of a Kafka topic starts a run. The triggerer keeps one consumer a topic, whoever watches it."""

import json
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

from airflow.providers.apache.kafka.triggers.shared_stream import KafkaSharedStreamTrigger
from airflow.triggers.base import TriggerEvent

CONNECTION = "tokenledger_kafka"
_HOUR_US = 3_600_000_000
_REMEMBERED_HOURS = 100


class HourBegins(KafkaSharedStreamTrigger):  # type: ignore[misc]  # the type checker cannot see Airflow
    """The first minute of an hour is told: the hour before is whole, and there was traffic."""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Under its own name, or the triggerer would start its parent."""
        return "dags.watching.HourBegins", super().serialize()[1]

    async def filter_shared_stream(self, shared_stream: AsyncIterator[Any]) -> AsyncIterator[TriggerEvent]:
        """One event an hour, whatever number of models and features has a window in its first minute."""
        # Not the greatest hour so far: a window that lies far ahead by mistake must not silence those that follow.
        told: deque[int] = deque(maxlen=_REMEMBERED_HOURS)
        async for value in shared_stream:
            hour_us = hour_begun_us(value)
            if hour_us and hour_us not in told:
                told.append(hour_us)
                yield TriggerEvent({"hour_us": hour_us})


def hour_begun_us(value: bytes | str | None) -> int:
    """The hour whose first minute this window is, µs UTC; 0 for any other window, and for what is none."""
    try:
        window = json.loads(value or "")
        start_us = int(window["window_start_at_us"])
    except (ValueError, KeyError, TypeError):
        return 0
    return start_us if start_us % _HOUR_US == 0 else 0
