"""One view of one entity on its way to Redis and to the history, and the Redis hash it becomes. Pure."""

import math
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from feature_repo.redis_layout import (
    encoded,
    encoded_timestamp,
    entity_key,
    feature_field,
    key_frame,
    timestamp_field,
)
from feature_repo.settings import PROJECT
from tokenledger.records.features import VIEWS, FeatureView, SpendFeatures, TrafficFeatures

_INT64: Final = range(-(1 << 63), 1 << 63)


class Row(NamedTuple):
    """What is said of one entity in one view."""

    view: FeatureView
    entity: tuple[str, ...]
    """Values of the view's join keys, in their order."""
    features: TrafficFeatures | SpendFeatures
    event_at_us: int
    """When it was true, µs UTC: what its age and its TTL count from."""
    known_at_us: int
    """When it was known, µs UTC: a past question must not see it before."""


class Hash(NamedTuple):
    """What a Redis hash is to hold."""

    key: bytes
    fields: dict[bytes, bytes]
    owned: frozenset[bytes]
    """Every field that any view of these join keys has: whatever else is there was left by an older version."""
    keep_us: int
    """The hash may be forgotten after so long."""


class _Layout(NamedTuple):
    frame: tuple[bytes, tuple[int, ...], bytes]
    owned: frozenset[bytes]
    keep_us: int


def storable(features: TrafficFeatures | SpendFeatures) -> tuple[TrafficFeatures | SpendFeatures, int]:
    """The features with None for what no reader should get (NaN, infinity, beyond 64 bits), and how many that were."""
    bad = {name: None for name in features.__struct_fields__ if not _storable(getattr(features, name))}
    return (msgspec.structs.replace(features, **bad) if bad else features), len(bad)


def _storable(value: float | None) -> bool:
    return value is None or (value in _INT64 if isinstance(value, int) else math.isfinite(value))


class Layout:
    """The hashes of a set of views."""

    def __init__(self, views: Sequence[FeatureView] = VIEWS, *, project: str = PROJECT) -> None:
        self._stamps = {view.name: timestamp_field(view.name) for view in views}
        self._fields = {
            view.name: [(name, feature_field(view.name, name)) for name in view.record.__struct_fields__]
            for view in views
        }
        self._of: dict[tuple[str, ...], _Layout] = {}
        for join_keys in {view.join_keys for view in views}:
            same = [view for view in views if view.join_keys == join_keys]
            owned = {field for view in same for _, field in self._fields[view.name]}
            owned |= {self._stamps[view.name] for view in same}
            # Twice the longest TTL: what has expired is told from what never was, for a while.
            keep_us = 2 * max(view.ttl_us for view in same)
            self._of[join_keys] = _Layout(key_frame(project, join_keys), frozenset(owned), keep_us)

    def hashes(self, rows: Iterable[Row]) -> tuple[list[Hash], int]:
        """One hash for all views of an entity, and how many rows have a name that is refused."""
        made: dict[bytes, Hash] = {}
        refused = 0
        for row in rows:
            layout = self._of[row.view.join_keys]
            try:
                key = entity_key(layout.frame, row.entity)
            except ValueError:
                refused += 1
                continue
            hash_ = made.get(key) or Hash(key, {}, layout.owned, layout.keep_us)
            made[key] = hash_
            hash_.fields[self._stamps[row.view.name]] = encoded_timestamp(row.event_at_us)
            for name, field in self._fields[row.view.name]:
                hash_.fields[field] = encoded(getattr(row.features, name))
        return list(made.values()), refused
