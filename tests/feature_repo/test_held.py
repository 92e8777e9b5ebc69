"""The last hour as running sums says what a batch over the same windows says, whatever the order."""

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.held import KEPT_MINUTES, TRAFFIC, Held, Taken
from tokenledger.records.features import MINUTE_US, FeatureWindow, TrafficFeatures
from tokenledger.windows import features, last, latest

_START_US = 1_760_000_040_000_000
_ENTITY = ("model", "openai", "m")
assert _START_US % MINUTE_US == 0

_histograms = st.dictionaries(st.integers(0, 5), st.integers(1, 9), max_size=3)


def _window(minute: int = 0, *, calls: int = 1, revision: int = 1, **changes: object) -> FeatureWindow:
    plain = FeatureWindow(
        entity="model",
        provider="openai",
        model="m",
        window_start_at_us=_START_US + minute * MINUTE_US,
        calls=calls,
        revision=revision,
    )
    return msgspec.structs.replace(plain, **changes)


_windows = st.lists(
    st.builds(
        _window,
        st.integers(0, KEPT_MINUTES + 20),
        calls=st.integers(1, 100),
        revision=st.integers(0, 3),
        errors=st.integers(0, 1),
        input_tokens=st.integers(0, 9),
        total_us=_histograms,
        ttft_us=_histograms,
    ),
    min_size=1,
    max_size=40,
)


def _batch(told: Sequence[FeatureWindow], span_us: int) -> TrafficFeatures:
    """By the library's own functions, over the log as a whole."""
    of_minute: dict[int, FeatureWindow] = {}
    for window in told:
        start_us = window.window_start_at_us
        of_minute[start_us] = latest(of_minute[start_us], window) if start_us in of_minute else window
    merged = last(of_minute.values(), until_at_us=max(of_minute) + MINUTE_US, span_us=span_us)
    return features(merged, span_us=span_us)


@pytest.mark.slow
@given(_windows, st.booleans())
def test_running_sums_say_what_a_batch_says(told: list[FeatureWindow], asked_between: bool) -> None:  # noqa: FBT001
    # Of equals the library may take either: here the first counts, so they must not differ.
    told = list({(one.window_start_at_us, one.revision, one.calls): one for one in reversed(told)}.values())
    held = Held(most_entities=10)
    for window in told:
        held.take(window, now_us=2 * _START_US)
        if asked_between:
            list(held.features(_ENTITY))

    newest_us = max(one.window_start_at_us for one in told)
    assert held.event_at_us(_ENTITY) == newest_us + MINUTE_US
    for view, said in held.features(_ENTITY):
        assert said == _batch(told, view.window_us or 0), view.name


def test_a_revision_replaces_what_was_told_and_a_repetition_changes_nothing() -> None:
    held = Held(most_entities=10)
    taken = [
        held.take(_window(calls=calls, revision=revision), now_us=_START_US)
        for calls, revision in [(3, 3), (3, 3), (5, 5), (4, 4)]
    ]

    assert taken == [Taken.COUNTED, Taken.REPEATED, Taken.COUNTED, Taken.REPEATED]
    assert [said.calls for _, said in held.features(_ENTITY)] == [5, 5, 5]


def test_each_view_spans_its_minutes_and_ends_with_the_newest() -> None:
    held = Held(most_entities=10)
    for minute in (0, 30, 57, 60):
        held.take(_window(minute), now_us=2 * _START_US)

    assert {view.name: said.calls for view, said in held.features(_ENTITY)} == {
        "model_traffic_1m": 1,
        "model_traffic_5m": 2,
        "model_traffic_1h": 3,  # minute 0 has left
    }
    assert held.take(_window(0), now_us=2 * _START_US) is Taken.OLD


@pytest.mark.parametrize(
    "bad",
    [
        _window(entity="planet"),
        _window(window_us=1),
        _window(window_start_at_us=_START_US + 1),
        _window(window_start_at_us=-MINUTE_US),
        _window(1_000_000),
        _window(calls=-1),
        _window(total_us={3: -1}),
    ],
    ids=["entity", "length", "start", "negative start", "future", "negative count", "negative bucket"],
)
def test_a_window_that_contradicts_itself_changes_nothing(bad: FeatureWindow) -> None:
    held = Held(most_entities=10)
    held.take(_window(), now_us=_START_US)

    assert held.take(bad, now_us=_START_US) is Taken.REFUSED
    assert [said.calls for _, said in held.features(_ENTITY)] == [1, 1, 1]


def test_who_was_silent_longest_makes_room() -> None:
    held = Held(most_entities=2)
    for model in ("a", "b", "a", "c"):
        held.take(_window(model=model), now_us=_START_US)

    assert [entity[2] for entity in held] == ["a", "c"]
    assert held.forgotten_entities == 1
    assert list(held.features(("model", "openai", "b"))) == []


def test_every_view_of_traffic_belongs_to_a_kind_of_entity() -> None:
    assert {kind: len(views) for kind, views in TRAFFIC.items()} == {"model": 3, "feature": 3}
