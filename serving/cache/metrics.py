"""What the caches count of themselves, in Prometheus' terms. Tenants with a label are few."""

from functools import cache
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from serving.cache.budget import Rate
from serving.cache.records import Kind, Reason

MOST_TENANTS: Final = 64
"""Tenants that have a label of their own; the rest share `other`."""
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25)

_HITS: Final = Counter("tokenledger_cache_hits_total", "Requests answered from a cache", ["route", "kind"])
_MISSES: Final = Counter(
    "tokenledger_cache_misses_total", "Requests not answered from a cache, by why", ["route", "reason"]
)
_CHECKED: Final = Counter(
    "tokenledger_cache_checked_hits_total",
    "Semantic hits whose answer was compared with a model's, by what came of it: `right` or `wrong`",
    ["tenant", "route", "outcome"],
)
_BOUND: Final = Gauge(
    "tokenledger_cache_wrong_hit_bound_ratio",
    "The share of wrong semantic hits is, with 95 % confidence, not greater; 1 while nothing was checked",
    ["tenant", "route"],
)
_SERVING: Final = Gauge(
    "tokenledger_cache_semantic_serving_info", "Whether the semantic cache serves anything", ["tenant", "route"]
)
SEMANTIC_SECONDS: Final = Histogram(
    "tokenledger_cache_semantic_seconds", "Time of a semantic look-up, waiting included", buckets=_SECONDS
)
EMBEDDING_CPU: Final = Counter("tokenledger_cache_embedding_cpu_seconds_total", "CPU time spent on embedding questions")
KEPT: Final = Counter("tokenledger_cache_kept_total", "Answers that were kept")
NOT_KEPT: Final = Counter(
    "tokenledger_cache_not_kept_total", "Answers that were offered and not kept, by why", ["reason"]
)
LOST: Final = Counter("tokenledger_cache_unwritten_total", "Changes that were not written to the store")
ANSWERS: Final = Gauge("tokenledger_cache_answer_records", "Answers in memory for the same request again")
QUESTIONS: Final = Gauge("tokenledger_cache_question_records", "Questions in memory for others that mean the same")
BYTES: Final = Gauge("tokenledger_cache_answer_bytes", "Memory that answers take, about")
MODEL_ABSENT: Final = Gauge("tokenledger_cache_embedding_absent_info", "1 where the embedding model is not installed")

_tenants: Final[set[str]] = set()


# A labelled child is looked up by its labels under a lock; a plain cache is many times cheaper.
@cache
def hits(route: str, kind: Kind) -> Counter:
    """Requests answered."""
    return _HITS.labels(route, kind)


@cache
def misses(route: str, reason: Reason) -> Counter:
    """Requests not answered."""
    return _MISSES.labels(route, reason)


def tenant_label(tenant_id: str) -> str:
    """The tenant, while there are few."""
    if tenant_id not in _tenants and len(_tenants) >= MOST_TENANTS:
        return "other"
    _tenants.add(tenant_id)
    return tenant_id


def checked(tenant_id: str, route: str, *, right: bool) -> None:
    """One hit was compared."""
    _CHECKED.labels(tenant_label(tenant_id), route, "right" if right else "wrong").inc()


def rate(tenant_id: str, route: str, *, known: Rate) -> None:
    """How a tenant's route is doing; of tenants without a label of their own, nothing is said."""
    label = tenant_label(tenant_id)
    if label == tenant_id:
        _BOUND.labels(label, route).set(known.bound)
        _SERVING.labels(label, route).set(known.serving)
