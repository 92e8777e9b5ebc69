"""Counts and durations of the hot path, told to Prometheus when it asks.

Its own client takes a lock and several calls for each number, ten microseconds a request; here an event is an addition.
All of it happens on one thread, and so does the page that reads it.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from math import inf
from typing import Final

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

Labels = tuple[str, ...]


class Count:
    """How often something happened."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def inc(self) -> None:
        """Once more."""
        self.value += 1


class Durations:
    """How long something took, in buckets."""

    __slots__ = ("_bounds_s", "in_buckets", "sum_s")

    def __init__(self, bounds_s: Sequence[float]) -> None:
        self._bounds_s = bounds_s
        self.in_buckets = [0] * (len(bounds_s) + 1)
        self.sum_s = 0.0

    def observe(self, seconds: float) -> None:
        """One more."""
        self.in_buckets[bisect_left(self._bounds_s, seconds)] += 1
        self.sum_s += seconds

    def cumulated(self) -> list[tuple[str, float]]:
        """Bucket's upper bound → how many took no longer."""
        total, found = 0, []
        for bound_s, count in zip((*self._bounds_s, inf), self.in_buckets, strict=True):
            total += count
            found.append(("+Inf" if bound_s == inf else str(float(bound_s)), float(total)))
        return found


class Counter(Collector):
    """A family of counts."""

    def __init__(self, name: str, documentation: str, *, labels: Sequence[str] = ()) -> None:
        self._family: Callable[[], CounterMetricFamily] = lambda: CounterMetricFamily(
            name, documentation, labels=labels
        )
        self._children: dict[Labels, Count] = {} if labels else {(): Count()}
        REGISTRY.register(self)

    def inc(self) -> None:
        """Once more, of a family of one."""
        self._children[()].value += 1

    def labels(self, *labels: str) -> Count:
        """The child with these labels."""
        found = self._children.get(labels)
        if found is None:
            found = self._children[labels] = Count()
        return found

    def collect(self) -> Iterator[Metric]:
        """As Prometheus has it."""
        family = self._family()
        for labels, child in self._children.items():
            family.add_metric(labels, child.value)
        yield family


class Histogram(Collector):
    """A family of durations."""

    def __init__(self, name: str, documentation: str, *, labels: Sequence[str], buckets: Sequence[float]) -> None:
        self._family: Callable[[], HistogramMetricFamily] = lambda: HistogramMetricFamily(
            name, documentation, labels=labels
        )
        self._buckets: Final = tuple(buckets)
        self._children: dict[Labels, Durations] = {}
        REGISTRY.register(self)

    def labels(self, *labels: str) -> Durations:
        """The child with these labels."""
        found = self._children.get(labels)
        if found is None:
            found = self._children[labels] = Durations(self._buckets)
        return found

    def collect(self) -> Iterator[Metric]:
        """As Prometheus has it."""
        family = self._family()
        for labels, child in self._children.items():
            family.add_metric(labels, child.cumulated(), child.sum_s)
        yield family
