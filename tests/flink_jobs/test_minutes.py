"""The minutes of the stream: any order, batches and restarts end in the counts of the whole log."""

import json
import random
from collections.abc import Iterable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flink_jobs import minutes
from flink_jobs.minutes import DISORDER_US, IDLE_US, LATENESS_US, Minutes
from tokenledger.records.features import MINUTE_US, FeatureWindow
from tokenledger.windows import Entity, decode_ended, entity_of, latest, windows

NOON_US = 1_772_452_800_000_000
SECOND_US = 1_000_000
MODEL = ("model", "openai", "gpt-4o")


def record(ended_at_us: int, *, append_at_us: int | None = None, feature: str = "search", total_us: int = 5) -> bytes:
    call = {
        "tenant_id": "acme",
        "provider": "openai",
        "request_model": "gpt-4o",
        "feature": feature,
        "started_at_us": ended_at_us,
        "ended_at_us": ended_at_us,
        "usage": {},
    }
    taken_at_us = ended_at_us if append_at_us is None else append_at_us
    value = {
        "call": call,
        "price_status": "unpriced",
        "latency": {"total_us": total_us},
        "append_at_us": taken_at_us,
    }
    return json.dumps(value).encode()


class Stored:
    """The state as Flink keeps it, and the value that lives on it."""

    def __init__(self, partitions: int = 1) -> None:
        self.progress: bytes | None = None
        self.entries: dict[str, bytes] = {}
        self.partitions = partitions
        self.told: dict[tuple[Entity, int], FeatureWindow] = {}
        self.tellings: list[FeatureWindow] = []
        self.restart(NOON_US)

    def restart(self, now_us: int) -> None:
        """A new value on the state that is there."""
        self.minutes = Minutes(range(self.partitions), now_us=now_us)
        self.minutes.restore(self.progress, dict(self.entries).items(), stored=self.entries.get)

    def take(self, *values: bytes | None, now_us: int, partition: int = 0) -> None:
        """A batch comes, and what is due is told."""
        self.minutes.take(partition, values, now_us=now_us)
        self.look(now_us)

    def look(self, now_us: int) -> list[FeatureWindow]:
        """What is told then; the state follows."""
        now = list(self.minutes.tell(now_us))
        for window in now:
            key = entity_of(window), window.window_start_at_us
            self.told[key] = latest(self.told.get(key, window), window)
        self.tellings += now
        changes = self.minutes.changes()
        self.progress = changes.progress
        self.entries |= changes.put
        for key_text in changes.remove:
            self.entries.pop(key_text, None)
        return now

    def model(self, start_at_us: int = NOON_US) -> FeatureWindow:
        """The model's minute as it was told last."""
        return self.told[MODEL, start_at_us]


def test_a_minute_is_told_once_all_partitions_are_a_second_beyond_it() -> None:
    stream = Stored(partitions=2)
    end_us = NOON_US + MINUTE_US
    stream.restart(end_us)
    stream.take(record(NOON_US), record(end_us + DISORDER_US), now_us=end_us + DISORDER_US)
    stream.take(record(end_us + DISORDER_US - 1), partition=1, now_us=end_us + DISORDER_US)
    assert stream.tellings == []

    stream.take(record(end_us + DISORDER_US), partition=1, now_us=end_us + DISORDER_US)

    assert {window.window_start_at_us for window in stream.tellings} == {NOON_US}
    assert (stream.model().calls, stream.model().late_calls, stream.model().revision) == (1, 0, 1)
    assert stream.look(end_us + 2 * DISORDER_US) == []


def test_a_silent_partition_holds_nobody_up_and_silence_of_all_closes_the_minute() -> None:
    stream = Stored(partitions=4)
    now_us = NOON_US + MINUTE_US - SECOND_US  # beyond the grace after the start
    stream.take(record(now_us), now_us=now_us)
    closed_us = NOON_US + MINUTE_US + DISORDER_US + IDLE_US
    assert stream.look(closed_us - 1) == []

    assert [window.calls for window in stream.look(closed_us)] == [1, 1]


def test_after_a_start_no_partition_counts_as_silent() -> None:
    stream = Stored(partitions=2)
    later_us = NOON_US + 3 * MINUTE_US
    stream.restart(later_us)  # it was away for three minutes

    stream.take(record(NOON_US + 2 * MINUTE_US), now_us=later_us)
    stream.take(record(NOON_US), partition=1, now_us=later_us + SECOND_US)

    assert stream.tellings == []
    assert stream.look(later_us + MINUTE_US) != []
    assert stream.model().late_calls == 0


def test_a_late_call_is_counted_in_the_minute_it_missed_which_is_told_again() -> None:
    stream = Stored()
    stream.take(record(NOON_US), record(NOON_US + 2 * MINUTE_US), now_us=NOON_US + 2 * MINUTE_US)
    first = stream.model()

    late = record(NOON_US + SECOND_US, append_at_us=NOON_US + 2 * MINUTE_US)
    stream.take(late, late, now_us=NOON_US + 2 * MINUTE_US + 1)
    stream.look(NOON_US + 2 * MINUTE_US + 2 * SECOND_US)

    assert (first.calls, first.late_calls, first.revision) == (1, 0, 1)
    assert (stream.model().calls, stream.model().late_calls, stream.model().revision) == (3, 2, 3)


def test_a_call_an_hour_late_is_not_lost_but_counted_as_expired_in_the_open_minute() -> None:
    stream = Stored()
    now_us = NOON_US + LATENESS_US + 2 * MINUTE_US
    stream.take(record(now_us), now_us=now_us)
    stream.take(record(NOON_US, append_at_us=now_us), now_us=now_us)
    stream.look(now_us + 2 * MINUTE_US)

    assert (MODEL, NOON_US) not in stream.told
    counted = [window for key, window in stream.told.items() if key[0] == MODEL]
    assert sum(window.calls for window in counted) == 1
    assert sum(window.expired_calls for window in counted) == 1


@pytest.mark.parametrize("ahead_us", [4 * MINUTE_US, 1000 * MINUTE_US])
def test_a_clock_that_is_ahead_moves_no_watermark(ahead_us: int) -> None:
    stream = Stored()
    stream.take(record(NOON_US + ahead_us, append_at_us=NOON_US), now_us=NOON_US)
    assert stream.minutes.watermark_us == NOON_US - DISORDER_US

    stream.take(record(NOON_US + 1), now_us=NOON_US + 1)
    stream.look(NOON_US + 6 * MINUTE_US)

    assert sum(window.calls for key, window in stream.told.items() if key[0] == MODEL) == 2
    assert sum(window.late_calls for window in stream.told.values()) == 0
    assert sum(window.clamped_calls for window in stream.told.values()) == (2 if ahead_us > 5 * MINUTE_US else 0)


def test_what_is_no_priced_call_is_counted_and_disturbs_nothing() -> None:
    stream = Stored()
    absurd = record(NOON_US).replace(str(NOON_US).encode(), b"9" * 40)
    stream.take(None, b"", b"{", b"\xff\xfe", b"[1]", b"[" * 100_000, absurd, record(NOON_US), now_us=NOON_US)
    stream.look(NOON_US + 3 * MINUTE_US)

    assert stream.minutes.unreadable_records == 7
    assert stream.model().calls == 1


def test_the_state_forgets_minutes_that_no_view_needs() -> None:
    stream = Stored()
    for minute in range(200):
        at_us = NOON_US + minute * MINUTE_US
        stream.take(record(at_us), now_us=at_us)

    minutes_kept = {key for key in stream.entries if MODEL[0] in key}
    assert len(minutes_kept) <= LATENESS_US // MINUTE_US + 3
    assert len(stream.told) == 2 * 198  # the last is open, and the one before it for another second


def test_names_cannot_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minutes, "MOST_ENTITIES", 4)
    stream = Stored()
    stream.take(*(record(NOON_US, feature=f"made-up-{n}") for n in range(100)), now_us=NOON_US)
    stream.look(NOON_US + 3 * MINUTE_US)

    assert len(stream.told) == 5
    assert stream.told[("feature", "*", "*"), NOON_US].calls == 97
    assert stream.model().calls == 100


def test_a_value_without_its_newest_fields_is_still_read() -> None:
    stream = Stored()
    stream.take(record(NOON_US), now_us=NOON_US)
    for key, value in stream.entries.items():
        told, tally = msgspec.msgpack.decode(value)
        stream.entries[key] = msgspec.msgpack.encode((told, tally[:-1]))

    stream.restart(NOON_US + SECOND_US)
    stream.take(record(NOON_US + SECOND_US), now_us=NOON_US + SECOND_US)
    stream.look(NOON_US + 3 * MINUTE_US)

    assert stream.model().calls == 2


TRAFFIC = st.lists(
    st.tuples(st.integers(0, 30 * 60), st.integers(0, 3), st.sampled_from(["a", "b", "[\n,"]), st.integers(1, 10**7)),
    min_size=1,
    max_size=40,
)


@pytest.mark.slow
@given(TRAFFIC, st.integers(0, 2**32), st.integers(1, 8))
def test_any_order_batches_and_restarts_end_in_the_counts_of_the_whole_log(
    traffic: list[tuple[int, int, str, int]], seed: int, size: int
) -> None:
    """A restart goes back to the last checkpoint and reads on from there: what is told twice is told alike."""
    chance = random.Random(seed)  # noqa: S311 - drawn by Hypothesis
    log = [(n, record(NOON_US + s * SECOND_US, feature=name, total_us=us)) for s, n, name, us in traffic]
    chance.shuffle(log)
    batches = [log[start : start + size] for start in range(0, len(log), size)]
    stream = Stored(partitions=4)
    saved: tuple[int, bytes | None, dict[str, bytes]] = (0, None, {})
    now_us, place, failures = NOON_US + 30 * MINUTE_US, 0, 3

    while place < len(batches):
        now_us += chance.choice((1_000, 700_000, 2_000_000))
        for partition, value in batches[place]:
            stream.take(value, now_us=now_us, partition=partition)
        place += 1
        if chance.random() < 0.3:
            saved = (place, stream.progress, dict(stream.entries))
        elif failures and chance.random() < 0.2:
            failures -= 1
            place, stream.progress, entries = saved
            stream.entries = dict(entries)
            stream.restart(now_us)
    stream.look(now_us + 2 * MINUTE_US)
    stream.look(now_us + 3 * MINUTE_US)

    assert {key: bare(window) for key, window in stream.told.items()} == counts_of(value for _, value in log)


def counts_of(values: Iterable[bytes]) -> dict[tuple[Entity, int], FeatureWindow]:
    return {key: bare(window) for key, window in windows(map(decode_ended, values)).items()}


def bare(window: FeatureWindow) -> FeatureWindow:
    """Without when it was told, and how many of its calls were late."""
    return msgspec.structs.replace(window, emitted_at_us=0, late_calls=0)
