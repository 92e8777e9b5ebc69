"""What the gateway counts of itself, in Prometheus' terms. Labels come from the configuration, never from callers."""

from functools import cache
from typing import Final

from prometheus_client import REGISTRY, Gauge, generate_latest

from serving.gateway.tallies import Count, Counter, Durations, Histogram

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_OWN_SECONDS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 1)

_REQUESTS: Final = Counter(
    "tokenledger_gateway_requests_total",
    "Requests answered, by route and status; unknown models share one route",
    labels=["route", "status"],
)
_REQUEST_SECONDS: Final = Histogram(
    "tokenledger_gateway_request_seconds",
    "From a request's last byte to its answer's",
    labels=["route"],
    buckets=_SECONDS,
)
_ADMIT_SECONDS: Final = Histogram(
    "tokenledger_gateway_admit_seconds",
    "From a request's last byte until it is sent on: checks, choice, reservation, durable intent",
    labels=["route"],
    buckets=_OWN_SECONDS,
)
_FIRST_BYTE_SECONDS: Final = Histogram(
    "tokenledger_gateway_upstream_first_byte_seconds",
    "From sending to an upstream to its first byte",
    labels=["upstream"],
    buckets=_SECONDS,
)
_ATTEMPTS: Final = Counter(
    "tokenledger_gateway_attempts_total",
    "Attempts at upstreams, by what came of them: `ok`, an HTTP status, or an error type",
    labels=["upstream", "outcome"],
)
_REFUSED: Final = Counter(
    "tokenledger_gateway_refusals_total", "Requests refused before any upstream, by status", labels=["status"]
)
ABANDONED: Final = Counter("tokenledger_gateway_abandoned_total", "Calls whose client left before their end")
RETRIES_DENIED: Final = Counter(
    "tokenledger_gateway_retries_denied_total", "Retries not made because their budget was used up"
)
RELOADS: Final = Counter(
    "tokenledger_gateway_config_reloads_total",
    "Times a changed configuration or key was read, by whether it was taken",
    labels=["outcome"],
)
CONFIG_LOADED: Final = Gauge(
    "tokenledger_gateway_config_loaded_timestamp_seconds", "When the configuration at work was read"
)
FEATURE_DEFAULTS: Final = Counter(
    "tokenledger_gateway_feature_defaults_total", "Choices made with a default because a feature was missing or too old"
)
FEATURE_READS: Final = Counter("tokenledger_gateway_feature_reads_total", "Reads of the feature store")
BREAKER_OPENED: Final = Counter(
    "tokenledger_gateway_breaker_opened_total", "Times a replica was left alone", labels=["upstream", "replica"]
)


@cache
def requests(route: str, status: int) -> Count:
    """Requests answered."""
    return _REQUESTS.labels(route, str(status))


@cache
def request_seconds(route: str) -> Durations:
    """From a request's last byte to its answer's."""
    return _REQUEST_SECONDS.labels(route)


@cache
def admit_seconds(route: str) -> Durations:
    """From a request's last byte until it is sent on."""
    return _ADMIT_SECONDS.labels(route)


@cache
def first_byte_seconds(upstream: str) -> Durations:
    """From sending to an upstream to its first byte."""
    return _FIRST_BYTE_SECONDS.labels(upstream)


@cache
def attempts(upstream: str, outcome: str) -> Count:
    """Attempts at upstreams."""
    return _ATTEMPTS.labels(upstream, outcome)


@cache
def refusals(status: int) -> Count:
    """Requests refused before any upstream."""
    return _REFUSED.labels(str(status))


def page() -> bytes:
    """All of it as text."""
    return generate_latest(REGISTRY)
