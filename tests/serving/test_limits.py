"""Rates by key: what fits a minute, what the headers say, and what a refusal tells the caller to do."""

from hypothesis import given
from hypothesis import strategies as st

from serving.gateway.budgets import Budgets
from serving.gateway.rates import MINUTE_US, Bucket, duration
from serving.gateway.records import Admitted, Refusal
from tests.serving.admissions import NOW_US, Clock, admission, bearer, key
from tests.serving.attempts import intent

_arrivals = st.lists(st.tuples(st.integers(0, 20_000_000), st.integers(1, 40)), min_size=1, max_size=60)


@given(limit=st.integers(1, 100), arrivals=_arrivals)
def test_a_bucket_lets_through_what_a_leaky_one_kept_in_fractions_would(
    limit: int, arrivals: list[tuple[int, int]]
) -> None:
    """The model: a level that starts full and rises by the limit a minute."""
    bucket, now_us, level, last_us = Bucket(limit), 0, float(limit), 0
    for gap_us, amount in arrivals:
        now_us += gap_us
        level = min(level + (now_us - last_us) * limit / MINUTE_US, limit)
        last_us = now_us
        wait_us = bucket.take(amount, now_us)
        if abs(level - amount) > 1e-6:
            assert (wait_us is None) == (level >= amount)
        if wait_us is None:
            level -= amount
        elif amount <= limit:
            assert abs(wait_us - (amount - level) * MINUTE_US / limit) <= 2
        assert abs(bucket.remaining(now_us) - max(level, 0)) < 1 + 1e-6


@given(limit=st.integers(1, 10_000), amount=st.integers(1, 10_000))
def test_what_is_refused_fits_after_the_wait_it_was_told(limit: int, amount: int) -> None:
    bucket = Bucket(limit)
    amount = min(amount, limit)
    assert bucket.take(limit, 0) is None
    wait_us = bucket.take(amount, 0)
    assert wait_us is not None
    assert bucket.take(amount, wait_us) is None


def test_durations_read_as_openai_writes_them() -> None:
    told = {0: b"0ms", 12_000: b"12ms", 999_999: b"1000ms", 1_000_000: b"1s", 6_500_000: b"6.5s", 80_000_000: b"1m20s"}
    assert {us: duration(us) for us in told} == told


def test_a_key_within_its_rate_is_told_what_is_left_and_one_beyond_when_to_come_again() -> None:
    clock = Clock()
    door = admission([key(requests_per_min=3, tokens_per_min=5000)], clock=clock)
    admitted = [door.admit(authorization=bearer(), api="chat", model="small", feature=None) for _ in range(4)]
    first, last = admitted[0], admitted[-1]
    assert isinstance(first, Admitted)
    assert dict(first.headers) == {
        b"x-ratelimit-limit-requests": b"3",
        b"x-ratelimit-remaining-requests": b"2",
        b"x-ratelimit-reset-requests": b"20s",
        b"x-ratelimit-limit-tokens": b"5000",
        b"x-ratelimit-remaining-tokens": b"5000",
        b"x-ratelimit-reset-tokens": b"0ms",
    }
    assert isinstance(last, Refusal)
    headers = dict(last.headers)
    assert (last.http_status, last.code, headers[b"retry-after"]) == (429, "rate_limit_exceeded", b"20")
    assert b"x-should-retry" not in headers
    clock.now_us += 20_000_000
    assert isinstance(door.admit(authorization=bearer(), api="chat", model="small", feature=None), Admitted)


def test_tokens_are_taken_at_their_most_and_what_was_not_used_comes_back() -> None:
    door = admission([key(tokens_per_min=2500)])
    first, second, third = (intent(name) for name in "abc")  # 1,100 tokens at the most, each
    assert door.reserve(first) == 0
    assert door.reserve(second) == 0
    refused = door.reserve(third)
    assert isinstance(refused, Refusal)
    assert (refused.http_status, refused.code) == (429, "rate_limit_exceeded")
    door.settle(first, 1, tokens=200)  # 900 come back
    assert door.reserve(third) == 0
    door.release(second)
    assert door.reserve(second) == 0


def test_a_request_larger_than_the_whole_rate_is_told_not_to_come_again() -> None:
    refused = admission([key(tokens_per_min=1000)]).reserve(intent())
    assert isinstance(refused, Refusal)
    assert (refused.http_status, refused.code) == (429, "request_too_large")
    assert dict(refused.headers)[b"x-should-retry"] == b"false"


def test_a_refused_budget_gives_the_tokens_back() -> None:
    budgets = Budgets()
    door = admission([key(tokens_per_min=1100)], budgets=budgets, limits=[("search", "day", 0)])
    assert isinstance(door.reserve(intent("a")), Refusal)
    budgets.set_limits([])
    assert door.reserve(intent("b")) == 0


def test_a_changed_limit_holds_for_what_comes_after() -> None:
    door = admission([key(requests_per_min=1)], clock=Clock(NOW_US))
    assert isinstance(door.admit(authorization=bearer(), api="chat", model="m", feature=None), Admitted)
    assert isinstance(door.admit(authorization=bearer(), api="chat", model="m", feature=None), Refusal)
    door.set_keys([key(requests_per_min=100)])
    assert isinstance(door.admit(authorization=bearer(), api="chat", model="m", feature=None), Refusal)
    door.set_keys([key()])
    assert isinstance(door.admit(authorization=bearer(), api="chat", model="m", feature=None), Admitted)
