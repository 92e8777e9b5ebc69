"""When a replica is left alone and when it is asked again; how often anything is retried; who is asked first."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.gateway.breaker import CircuitBreaker, RetryBudget
from serving.gateway.choosing import in_order, replica
from serving.gateway.configuration import Breaker, Retries, Route, configuration_of
from serving.gateway.deadlines import Deadlines
from serving.gateway.fleet import Fleet
from serving.gateway.health import Unknown
from serving.gateway.requests import Asked, read
from tests.serving.running import config

POLICY = Breaker(failures=3, window=10, ratio=0.5, open_ms=1_000, longest_open_ms=4_000)


def failed(breaker: CircuitBreaker, times: int = 1, at_s: float = 0.0) -> None:
    for _ in range(times):
        breaker.admit()
        breaker.failed(at_s)


def succeeded(breaker: CircuitBreaker, times: int = 1) -> None:
    for _ in range(times):
        breaker.admit()
        breaker.succeeded()


def test_failures_in_a_row_open_it() -> None:
    breaker = CircuitBreaker(POLICY)
    failed(breaker, 2)
    succeeded(breaker)
    failed(breaker, 2)
    assert breaker.allows(0)
    failed(breaker)
    assert not breaker.allows(0.9)


def test_a_share_of_failures_opens_it() -> None:
    breaker = CircuitBreaker(POLICY)
    for _ in range(5):
        assert breaker.allows(0)
        succeeded(breaker)
        failed(breaker)
    assert not breaker.allows(0)


def test_after_a_while_exactly_one_may_probe() -> None:
    breaker = CircuitBreaker(POLICY)
    failed(breaker, 3)
    assert breaker.allows(1.0)
    breaker.admit()
    assert not breaker.allows(1.0), "a second one may not go before the first is back"
    breaker.succeeded()
    assert breaker.closed


def test_each_failed_probe_doubles_the_wait_up_to_its_end() -> None:
    breaker = CircuitBreaker(POLICY)
    failed(breaker, 3)
    waits, now_s = [], 0.0
    for _ in range(4):
        wait_s = next(tenth / 10 for tenth in range(100) if breaker.allows(now_s + tenth / 10))
        waits.append(wait_s)
        now_s += wait_s
        failed(breaker, at_s=now_s)
    assert waits == [1, 2, 4, 4]


def test_a_probe_that_says_nothing_leaves_it_to_the_next() -> None:
    breaker = CircuitBreaker(POLICY)
    failed(breaker, 3)
    breaker.admit()
    breaker.undecided()
    assert breaker.allows(1.0)
    assert not breaker.closed


@given(st.lists(st.booleans(), max_size=300))
def test_retries_stay_a_share_of_requests(requests: list[bool]) -> None:
    """Whatever the order: never more than the burst and the share of what came."""
    budget = RetryBudget(Retries(share=0.1, burst=5))
    seen = retried = 0
    for is_request in requests:
        if is_request:
            budget.requested()
            seen += 1
        elif budget.take():
            retried += 1
        assert retried <= 5 + 0.1 * seen + 1e-9


def fleet(weights: dict[int, int], policy: str = "") -> Fleet:
    replicas = ", ".join(f'{{ url = "http://127.0.0.1:{port}/v1", weight = {w} }}' for port, w in weights.items())
    upstream = f'[upstreams.a]\nprovider = "vllm"\nreplicas = [{replicas}]\n'
    return Fleet(configuration_of(f'allowed_hosts = ["127.0.0.1"]\n{policy}{upstream}'), Deadlines())


def test_idle_replicas_share_by_weight() -> None:
    servers = fleet({1: 3, 2: 1}).deployments["a"].servers
    draw = random.Random(1).random  # noqa: S311 - no secret
    chosen = Counter(
        str(server and server.name) for server in (replica(servers, [], now_s=0, draw=draw) for _ in range(4_000))
    )
    assert chosen["127.0.0.1:1"] == pytest.approx(3_000, abs=150)


def test_the_least_busy_for_its_weight_is_next() -> None:
    first, second = servers = fleet({1: 3, 2: 1}).deployments["a"].servers
    first.pool.busy, second.pool.busy = 3, 1
    assert replica(servers, [], now_s=0, draw=lambda: 0.5) is first  # 4/3 before 2/1
    first.pool.busy = 6
    assert replica(servers, [], now_s=0, draw=lambda: 0.5) is second


def test_a_replica_already_tried_comes_last_and_an_open_one_never() -> None:
    first, second = servers = fleet({1: 1, 2: 1}, "breaker.failures = 1\n").deployments["a"].servers
    assert replica(servers, [first], now_s=0, draw=lambda: 0.0) is second
    failed(second.breaker)
    assert replica(servers, [first], now_s=0, draw=lambda: 0.0) is first
    failed(first.breaker)
    assert replica(servers, [], now_s=0, draw=lambda: 0.0) is None


class Sick(Unknown):
    """Features that know one sick model."""

    def unhealthy(self, _provider: str, _model: str) -> bool:
        """Whether it is that one."""
        return (_provider, _model) == ("vllm", "m")


def test_an_upstream_that_fails_too_often_comes_last() -> None:
    toml = config(a=1, b=2).replace("[upstreams.b]\n", '[upstreams.b]\nmodel = "other"\n')
    made = Fleet(configuration_of(toml), Deadlines())
    asked = read(b'{"model":"m","messages":[]}', "chat")
    assert isinstance(asked, Asked)
    plan = in_order(asked, Route(upstreams=("a", "b")), features=Sick(), deployments=made.deployments)
    assert plan.upstreams == ("b", "a")
