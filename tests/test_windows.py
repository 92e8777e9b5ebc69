"""Minutes of traffic: what a call counts in, that minutes merge in any way, and what they say against numpy."""

import json
import math
import random
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenledger.histogram import RELATIVE_ERROR, histogram
from tokenledger.records.features import MINUTE_US, FeatureWindow, TrafficFeatures
from tokenledger.windows import (
    EndedCall,
    decode_ended,
    ended_at,
    entities,
    entity_of,
    features,
    last,
    latest,
    merged,
    window_start,
    windows,
)

NOON_US = 1_772_452_800_000_000
DAY_US = 24 * 3600 * 1_000_000


def ended(*, latency: dict[str, int] | None = None, priced: dict[str, Any] | None = None, **call: Any) -> EndedCall:
    """A priced call as it stands on the topic, with fields that windows do not read."""
    record: dict[str, Any] = {
        "call": {
            "tenant_id": "acme",
            "event_id": "e-1",
            "event_key": "#e-1",
            "provider": "openai",
            "response_model": "gpt-4o-2024-08-06",
            "usage": {},
            "started_at_us": NOON_US,
            "event_time_source": "started_at",
            **call,
        },
        "lines": [],
        "price_status": "priced",
        "priced_model": "gpt-4o",
        "append_at_us": NOON_US,
        **({"latency": latency} if latency else {}),
        **(priced or {}),
    }
    return decode_ended(json.dumps(record).encode())


def near(value_us: int) -> Any:
    """Equal to what a histogram makes of it."""
    return pytest.approx(value_us, rel=RELATIVE_ERROR)


def test_how_fast_a_cache_was_says_nothing_of_the_model() -> None:
    calls = [
        ended(latency={"total_us": 2_000_000}),
        *(ended(cache_hit=True, latency={"total_us": 900}, priced={"cost_usd_pico": 0}) for _ in range(9)),
    ]

    found = features(windows(calls)[("model", "openai", "gpt-4o"), NOON_US], span_us=MINUTE_US)

    assert found.cache_hit_ratio == 0.9
    assert found.total_us_p50 == near(2_000_000)


def test_a_minute_of_four_calls_says_what_can_be_counted_by_hand() -> None:
    calls = [
        ended(
            feature="search",
            input_tokens=1000,
            output_tokens=200,
            usage={"input.text": 400, "input.text.cache_read": 500, "input.image.cache_read": 100, "output.text": 200},
            ended_at_us=NOON_US + 2_000_000,
            latency={"total_us": 2_000_000, "ttft_us": 400_000, "tpot_us": 8_040},
            priced={"cost_usd_pico": 4_500_000_000, "known_cost_usd_pico": 4_500_000_000},
        ),
        ended(feature="search", status="error", http_status=429, ended_at_us=NOON_US + 59_999_999),
        ended(feature="search", status="error", error_type="APITimeoutError", attempt_role="escalation"),
        ended(
            feature="search",
            cache_hit=True,
            input_tokens=1000,
            output_tokens=200,
            priced={"cost_usd_pico": 0},
        ),
    ]

    found = windows(calls)

    assert set(found) == {(("model", "openai", "gpt-4o"), NOON_US), (("feature", "acme", "search"), NOON_US)}
    model = found[("model", "openai", "gpt-4o"), NOON_US]
    assert features(model, span_us=MINUTE_US) == TrafficFeatures(
        calls=4,
        calls_per_min=4.0,
        tokens_per_min=2400.0,
        error_ratio=0.5,
        rate_limited_ratio=0.25,
        timeout_ratio=0.25,
        cache_hit_ratio=0.25,
        escalation_ratio=0.25,
        input_tokens_per_call=500.0,
        output_tokens_per_call=100.0,
        known_cost_usd_pico_per_call=1_125_000_000.0,
        ttft_us_p50=near(400_000),
        ttft_us_p95=near(400_000),
        tpot_us_p50=near(8_040),
        tpot_us_p95=near(8_040),
        total_us_p50=near(2_000_000),
        total_us_p95=near(2_000_000),
    )
    feature = found[("feature", "acme", "search"), NOON_US]
    assert (feature.cache_read_tokens, feature.incomplete_calls) == (600, 2)


def test_a_call_in_progress_counts_nowhere_and_an_aborted_one_is_no_error() -> None:
    assert windows([ended(status="in_progress")]) == {}
    [model, feature] = windows([ended(status="aborted")]).values()
    assert (model.calls, model.aborted, model.errors) == (1, 1, 0)
    assert feature.feature == ""


def test_an_answer_that_its_upstream_broke_off_is_an_error_and_one_the_caller_left_is_none() -> None:
    broken = [ended(status="aborted", error_type=kind) for kind in ("upstream_closed", "upstream_idle_timeout")]
    left = ended(status="aborted", error_type="client_disconnected")
    [model, _] = windows([*broken, left]).values()
    assert (model.calls, model.aborted, model.errors, model.timeouts) == (3, 3, 2, 1)


@pytest.mark.parametrize(
    ("names", "model"),
    [
        ({}, "gpt-4o"),
        ({"priced": {"priced_model": None}}, "gpt-4o-2024-08-06"),
        ({"priced": {"priced_model": None}, "response_model": None, "request_model": "asked"}, "asked"),
        ({"priced": {"priced_model": None}, "response_model": None}, ""),
    ],
)
def test_a_model_is_called_as_it_is_priced_else_as_it_answers_else_as_it_was_asked_for(
    names: dict[str, Any], model: str
) -> None:
    assert entities(ended(**names))[0] == ("model", "openai", model)


@pytest.mark.parametrize(
    ("status", "error", "rate_limited", "timeout"),
    [
        ("error", {"http_status": 429}, 1, 0),
        ("error", {"error_type": "rate_limit_exceeded"}, 1, 0),
        ("error", {"error_type": "RESOURCE_EXHAUSTED"}, 1, 0),
        ("error", {"error_type": "ThrottlingException"}, 1, 0),
        ("error", {"http_status": 504}, 0, 1),
        ("error", {"http_status": 408}, 0, 1),
        ("error", {"error_type": "DEADLINE_EXCEEDED"}, 0, 1),
        ("error", {"error_type": "Timed out"}, 0, 1),
        ("error", {"http_status": 500, "error_type": "server_error"}, 0, 0),
        ("ok", {"http_status": 429}, 0, 0),
        ("aborted", {"error_type": "timeout"}, 0, 0),
    ],
)
def test_an_error_is_a_rate_limit_or_a_timeout_when_its_status_or_type_says_so(
    status: str, error: dict[str, Any], rate_limited: int, timeout: int
) -> None:
    [model, _] = windows([ended(status=status, **error)]).values()
    assert (model.errors, model.rate_limited, model.timeouts) == (status == "error", rate_limited, timeout)


@pytest.mark.parametrize(
    ("call", "at_us"),
    [
        ({"ended_at_us": NOON_US + 7}, (NOON_US + 7, False)),
        ({"latency": {"total_us": 9}}, (NOON_US + 9, False)),
        ({}, (NOON_US, False)),
        ({"ended_at_us": NOON_US + 5 * MINUTE_US}, (NOON_US + 5 * MINUTE_US, False)),
        ({"ended_at_us": NOON_US + 5 * MINUTE_US + 1}, (NOON_US, True)),
        ({"ended_at_us": NOON_US - 400 * DAY_US}, (NOON_US - 400 * DAY_US, False)),
        ({"ended_at_us": NOON_US - 400 * DAY_US - 1}, (NOON_US, True)),
    ],
)
def test_a_call_counts_when_it_ended_or_when_the_log_took_it_if_that_is_beyond_belief(
    call: dict[str, Any], at_us: tuple[int, bool]
) -> None:
    assert ended_at(ended(**call)) == at_us
    assert {window.clamped_calls for window in windows([ended(**call)]).values()} == {int(at_us[1])}


def test_quantiles_are_those_of_numpy_within_the_stated_error() -> None:
    chance = random.Random(7)  # noqa: S311 - a fixed workload
    parts: list[FeatureWindow] = []
    totals: list[int] = []
    for minute in range(60):
        values = [int(chance.lognormvariate(13, 1.2)) for _ in range(chance.randrange(1, 80))]
        totals += values
        start_at_us = NOON_US + minute * MINUTE_US
        parts += windows(
            [ended(started_at_us=start_at_us, ended_at_us=start_at_us, latency={"total_us": us}) for us in values]
        ).values()

    hour = merged(part for part in parts if part.entity == "model")

    for q in (0.5, 0.95):
        exact = float(np.quantile(totals, q, method="inverted_cdf"))
        found = features(hour, span_us=60 * MINUTE_US)
        assert getattr(found, f"total_us_p{round(q * 100)}") == pytest.approx(exact, rel=RELATIVE_ERROR, abs=1)


def test_nothing_measured_is_none_and_no_calls_are_a_rate_of_zero() -> None:
    quiet = TrafficFeatures(calls=0, calls_per_min=0.0, tokens_per_min=0.0)
    only_expired = FeatureWindow(entity="model", window_start_at_us=NOON_US, expired_calls=3)
    assert features(None, span_us=MINUTE_US) == quiet
    assert features(only_expired, span_us=MINUTE_US) == quiet
    [window, _] = windows([ended()]).values()
    found = features(window, span_us=5 * MINUTE_US)
    assert (found.calls_per_min, found.error_ratio, found.ttft_us_p50, found.total_us_p95) == (0.2, 0.0, None, None)


COUNT = st.integers(0, 2**62)
HISTOGRAM = st.dictionaries(st.integers(0, 1400), st.integers(1, 1000), max_size=4)


@st.composite
def any_window(draw: st.DrawFn) -> FeatureWindow:
    fields = [field.name for field in msgspec.structs.fields(FeatureWindow) if field.type is int]
    counts: dict[str, Any] = {name: draw(COUNT) for name in fields if not name.endswith(("_at_us", "window_us"))}
    return FeatureWindow(
        entity="model",
        provider="openai",
        model="gpt-4o",
        window_start_at_us=NOON_US + draw(st.integers(0, 60)) * MINUTE_US,
        total_us=draw(HISTOGRAM),
        ttft_us=draw(HISTOGRAM),
        tpot_us=draw(HISTOGRAM),
        emitted_at_us=draw(st.integers(0, NOON_US)),
        **counts,
    )


@pytest.mark.slow
@given(any_window(), any_window(), any_window())
def test_merging_in_any_order_and_grouping_gives_the_same_window(
    a: FeatureWindow, b: FeatureWindow, c: FeatureWindow
) -> None:
    """Late data and restarts regroup windows; a view must not notice."""

    def both(one: FeatureWindow | None, other: FeatureWindow | None) -> FeatureWindow | None:
        return merged(part for part in (one, other) if part is not None)

    assert both(both(a, b), c) == both(a, both(b, c)) == merged([c, a, b])


@pytest.mark.slow
@given(st.lists(any_window(), max_size=5), st.sampled_from([1, 5, 60]))
def test_features_are_finite_and_never_nan(found: list[FeatureWindow], minutes: int) -> None:
    numbers = msgspec.structs.astuple(features(merged(found), span_us=minutes * MINUTE_US))
    assert all(number is None or math.isfinite(number) for number in numbers)


@pytest.mark.slow
@given(st.lists(st.integers(0, 3 * 60 * 60), min_size=1, max_size=30), st.integers(1, 29))
def test_a_log_counted_in_parts_and_merged_is_the_log_counted_at_once(seconds: list[int], cut: int) -> None:
    calls = [ended(ended_at_us=NOON_US - 1_000_000 * second, latency={"total_us": second}) for second in seconds]
    one, other = windows(calls[:cut]), windows(calls[cut:])

    together = {key: merged(part[key] for part in (one, other) if key in part) for key in one.keys() | other.keys()}

    assert together == windows(calls)


def test_windows_of_two_models_do_not_merge() -> None:
    one = FeatureWindow(entity="model", provider="openai", model="a", window_start_at_us=NOON_US)
    with pytest.raises(ValueError, match="only those of one entity merge"):
        merged([one, msgspec.structs.replace(one, model="b")])


def test_a_sliding_view_holds_the_closed_minutes_before_an_instant() -> None:
    minutes = [
        FeatureWindow(entity="model", window_start_at_us=NOON_US + minute * MINUTE_US, calls=10**minute)
        for minute in range(8)
    ]

    five = last(minutes, until_at_us=NOON_US + 7 * MINUTE_US, span_us=5 * MINUTE_US)

    assert five is not None
    assert (five.calls, five.window_start_at_us, five.window_us) == (1111100, NOON_US + 2 * MINUTE_US, 5 * MINUTE_US)
    assert last(minutes, until_at_us=NOON_US, span_us=MINUTE_US) is None


def test_of_two_tellings_of_a_window_the_one_that_knows_more_counts() -> None:
    first = FeatureWindow(entity="model", window_start_at_us=NOON_US, calls=3, revision=3, emitted_at_us=9)
    second = msgspec.structs.replace(first, calls=4, revision=4, emitted_at_us=1)
    assert latest(first, second) == latest(second, first) == second


def test_an_instant_lies_in_the_minute_that_began_before_it() -> None:
    assert [window_start(NOON_US + us) for us in (0, 1, MINUTE_US - 1, MINUTE_US)] == [
        NOON_US,
        NOON_US,
        NOON_US,
        NOON_US + MINUTE_US,
    ]


def test_absurd_quantities_stay_within_what_64_bits_hold() -> None:
    [model, _] = windows([ended(input_tokens=2**62, priced={"known_cost_usd_pico": 2**62})] * 3).values()
    assert (model.input_tokens, model.known_cost_usd_pico) == (2**63 - 1, 2**63 - 1)
    assert msgspec.msgpack.encode(model)


def test_a_histogram_of_a_window_is_the_librarys_histogram() -> None:
    values = [10, 10, 5_000, 7_000_000]
    [model, feature] = windows([ended(latency={"ttft_us": us}) for us in values]).values()
    assert model.ttft_us == feature.ttft_us == histogram(values)
    assert entity_of(model) != entity_of(feature)


def test_a_speculation_that_served_counts_as_an_escalation_and_one_that_was_not_needed_does_not() -> None:
    found = windows(
        [
            ended(feature="search", attempt_role="hedge", served=True),
            ended(feature="search", attempt_role="hedge", served=False),
            ended(feature="search", attempt_role="primary", served=True),
            ended(feature="search", attempt_role="escalation", served=True),
        ]
    )

    assert found[("feature", "acme", "search"), NOON_US].escalations == 2
