"""Which messages of the features topic start a run."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

HOUR_US = 3_600_000_000


def _window(start_us: int) -> bytes:
    return json.dumps({"entity": "model", "model": "m", "window_start_at_us": start_us}).encode()


def _hours(*messages: bytes | None) -> list[int]:
    from dags.watching import HourBegins

    async def stream() -> AsyncIterator[Any]:
        for message in messages:
            yield message

    async def told() -> list[int]:
        trigger = HourBegins(topics=["t"], kafka_config_id="c")
        return [event.payload["hour_us"] async for event in trigger.filter_shared_stream(stream())]

    return asyncio.run(told())


def test_an_hour_is_told_once_however_many_windows_its_first_minute_has() -> None:
    assert _hours(*[_window(3 * HOUR_US)] * 5, _window(3 * HOUR_US + 60_000_000)) == [3 * HOUR_US]


def test_a_window_far_ahead_does_not_silence_those_that_follow() -> None:
    assert _hours(_window(10**6 * HOUR_US), _window(3 * HOUR_US)) == [10**6 * HOUR_US, 3 * HOUR_US]


@pytest.mark.parametrize("message", [None, b"", b"{", b"[]", b'{"window_start_at_us": null}', b"\xff", b"0", b'""'])
def test_what_is_no_window_starts_nothing_and_stops_nothing(message: bytes | None) -> None:
    assert _hours(message, _window(HOUR_US)) == [HOUR_US]


def test_the_triggerer_finds_the_watcher_by_its_own_name() -> None:
    from dags.watching import HourBegins

    path, settings = HourBegins(topics=["t"], kafka_config_id="c").serialize()
    assert path == "dags.watching.HourBegins"
    assert HourBegins(**settings).serialize() == (path, settings)
