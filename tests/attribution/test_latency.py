"""Latency parts add up to the total, and what was not measured stays unknown."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tokenledger.attribution.latency import attribute
from tokenledger.records import Call, Timings

_START_US = 1_760_000_000_000_000
_PARTS = (
    "admit_us", "guard_us", "cache_us", "route_us", "retrieve_us", "network_us", "queue_us", "prefill_us",
    "first_token_wait_us", "decode_us", "unattributed_us",
)  # fmt: skip


def _call(**fields: Any) -> Call:
    basis: dict[str, Any] = {
        "tenant_id": "t", "event_id": "e", "event_key": "s#e", "provider": "openai", "usage": {},
        "started_at_us": _START_US, "event_time_source": "started_at",
    }  # fmt: skip
    return Call(**(basis | fields))


def test_a_stream_is_wait_plus_decode() -> None:
    call = _call(first_token_at_us=_START_US + 300_000, ended_at_us=_START_US + 1_300_000, output_tokens=101)
    latency, anomalies = attribute(call)
    assert latency is not None
    assert (latency.total_us, latency.ttft_us, latency.first_token_wait_us) == (1_300_000, 300_000, 300_000)
    assert (latency.decode_us, latency.tpot_us, latency.unattributed_us) == (1_000_000, 10_000, 0)
    assert anomalies == ()


def test_engine_times_are_told_apart_and_the_rest_is_unattributed() -> None:
    timings = Timings(admit_us=1_000, queue_us=20_000, prefill_us=80_000, decode_us=500_000)
    latency, _ = attribute(_call(ended_at_us=_START_US + 650_000, timings=timings))
    assert latency is not None
    assert latency.first_token_wait_us is None
    assert latency.unattributed_us == 650_000 - 1_000 - 20_000 - 80_000 - 500_000


def test_a_negative_remainder_is_kept_and_flagged() -> None:
    latency, anomalies = attribute(_call(ended_at_us=_START_US + 100, timings=Timings(decode_us=250)))
    assert latency is not None
    assert latency.unattributed_us == -150
    assert anomalies == ("negative_remainder",)


def test_an_end_before_the_start_gives_no_total() -> None:
    latency, anomalies = attribute(_call(ended_at_us=_START_US - 1))
    assert latency is not None
    assert latency.total_us is None
    assert anomalies == ("ended_before_start",)


def test_a_first_token_after_the_end_gives_no_ttft() -> None:
    latency, anomalies = attribute(_call(first_token_at_us=_START_US + 20, ended_at_us=_START_US + 10))
    assert latency is not None
    assert latency.ttft_us is None
    assert anomalies == ("first_token_after_end",)


def test_nothing_measured_is_no_latency_at_all() -> None:
    assert attribute(_call()) == (None, ())
    assert attribute(_call(event_time_source="created", ended_at_us=_START_US + 5)) == (None, ())


def test_time_per_output_token_rounds_half_to_even() -> None:
    def tpot_us(decode_us: int, tokens: int) -> int | None:
        latency, _ = attribute(_call(timings=Timings(decode_us=decode_us), output_tokens=tokens))
        assert latency is not None
        return latency.tpot_us

    assert [tpot_us(5, 3), tpot_us(7, 3), tpot_us(8, 4), tpot_us(9, 1)] == [2, 4, 3, None]


_duration = st.none() | st.integers(0, 10**9)


@given(
    st.builds(Timings, admit_us=_duration, guard_us=_duration, cache_us=_duration, network_us=_duration,
              queue_us=_duration, prefill_us=_duration, decode_us=_duration),
    st.none() | st.integers(0, 10**10), st.none() | st.integers(-5, 10**10),
)  # fmt: skip
def test_the_parts_always_add_up_to_the_total(timings: Timings, first_us: int | None, ended_us: int | None) -> None:
    call = _call(
        timings=timings,
        first_token_at_us=None if first_us is None else _START_US + first_us,
        ended_at_us=None if ended_us is None else _START_US + ended_us,
    )
    latency, _ = attribute(call)
    if latency is not None and latency.total_us is not None:
        assert sum(getattr(latency, part) or 0 for part in _PARTS) == latency.total_us
