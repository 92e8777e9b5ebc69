"""The last hour of every entity in one-minute windows, and what it says as features. Pure: the clock is an argument.

Of one window the telling with the greatest (revision, calls) counts, so that any order and any repetition of the topic
ends in the same features. The views of an entity end with its newest minute: their age tells how long it is silent.
"""

from collections.abc import Iterable, Iterator
from enum import StrEnum
from operator import attrgetter
from typing import Any, Final

import msgspec

from tokenledger.records.features import MINUTE_US, VIEWS, FeatureView, FeatureWindow, TrafficFeatures
from tokenledger.windows import Entity, entity_of, features

KINDS: Final = {"model": ("provider", "model"), "feature": ("tenant_id", "feature")}
"""What windows are about, and the join keys that name one."""
TRAFFIC: Final[dict[str, tuple[FeatureView, ...]]] = {
    kind: tuple(view for view in VIEWS if view.record is TrafficFeatures and view.join_keys == join_keys)
    for kind, join_keys in KINDS.items()
}
"""Kind of entity → its views of traffic."""
KEPT_MINUTES: Final = max(view.window_us or 0 for views in TRAFFIC.values() for view in views) // MINUTE_US
"""As many windows as the longest view spans."""
_SPAN_US: Final = KEPT_MINUTES * MINUTE_US
_SPANS_US: Final = sorted(
    {view.window_us for views in TRAFFIC.values() for view in views if view.window_us and view.window_us > MINUTE_US}
)
_AHEAD_US: Final = 10 * MINUTE_US
_COUNTS: Final = tuple(
    field.name
    for field in msgspec.structs.fields(FeatureWindow)
    if field.type is int and not field.name.endswith(("_at_us", "window_us"))
)
_counts_of: Final = attrgetter(*_COUNTS)
_HISTOGRAMS: Final = ("total_us", "ttft_us", "tpot_us")


class Taken(StrEnum):
    """What became of a window."""

    COUNTED = "counted"
    """It is new, or knows more than the one before."""
    REPEATED = "repeated"
    """The one before knows as much."""
    OLD = "old"
    """No view reaches back so far."""
    REFUSED = "refused"
    """It contradicts itself or lies in the future."""


class _Sums:
    """Windows added up; one that was added can be taken out again."""

    def __init__(self) -> None:
        self.counts = [0] * len(_COUNTS)
        self.histograms: tuple[dict[int, int], ...] = tuple({} for _ in _HISTOGRAMS)

    def add(self, window: FeatureWindow, sign: int = 1) -> None:
        self.counts = [have + sign * count for have, count in zip(self.counts, _counts_of(window), strict=True)]
        for histogram, name in zip(self.histograms, _HISTOGRAMS, strict=True):
            _add(histogram, getattr(window, name), sign)

    def window(self, like: FeatureWindow) -> FeatureWindow:
        summed: dict[str, Any] = dict(zip(_COUNTS, self.counts, strict=True))
        summed |= zip(_HISTOGRAMS, self.histograms, strict=True)
        return msgspec.structs.replace(like, **summed)


def _add(histogram: dict[int, int], other: dict[int, int], sign: int) -> None:
    have = histogram.get
    for bucket, calls in other.items():
        histogram[bucket] = have(bucket, 0) + sign * calls
    if sign < 0:
        for bucket in [bucket for bucket in other if not histogram[bucket]]:
            del histogram[bucket]


class _Entry:
    """One entity: its minutes, packed because there are many, and the sum over each longer view's span."""

    __slots__ = ("minutes", "newest_us", "sums")

    def __init__(self) -> None:
        self.minutes: dict[int, bytes] = {}
        self.newest_us = 0
        self.sums: dict[int, _Sums] = {}
        """Made when first asked for: reading hours again after a start costs no sums nobody asks for."""

    def take(self, window: FeatureWindow) -> Taken:
        start_us = window.window_start_at_us
        if start_us <= self.newest_us - _SPAN_US:
            return Taken.OLD
        packed = self.minutes.get(start_us)
        before = _unpack(packed) if packed else None
        if before and (before.revision, before.calls) >= (window.revision, window.calls):
            return Taken.REPEATED
        if start_us > self.newest_us:
            self._advance(start_us)
        self.minutes[start_us] = _pack(window)
        for span_us, sums in self.sums.items():
            if start_us > self.newest_us - span_us:
                if before:
                    sums.add(before, -1)
                sums.add(window)
        return Taken.COUNTED

    def _advance(self, newest_us: int) -> None:
        """A newer minute: what no longer lies in a span leaves its sum."""
        last_us, self.newest_us = self.newest_us, newest_us
        for span_us, sums in self.sums.items():
            for start_us, packed in self.minutes.items():
                if last_us - span_us < start_us <= newest_us - span_us:
                    sums.add(_unpack(packed), -1)
        for start_us in [start_us for start_us in self.minutes if start_us <= newest_us - _SPAN_US]:
            del self.minutes[start_us]

    def over(self, span_us: int) -> FeatureWindow:
        """The minutes of the span that ends with the newest one."""
        newest = _unpack(self.minutes[self.newest_us])
        if not self.sums:
            self._sum()
        return self.sums[span_us].window(newest) if span_us in self.sums else newest

    def _sum(self) -> None:
        self.sums = {span_us: _Sums() for span_us in _SPANS_US}
        for start_us, packed in self.minutes.items():
            window = _unpack(packed)
            for span_us, sums in self.sums.items():
                if start_us > self.newest_us - span_us:
                    sums.add(window)


_pack: Final = msgspec.msgpack.Encoder().encode
_unpack: Final = msgspec.msgpack.Decoder(FeatureWindow).decode


class Held:
    """What the pusher knows of all entities; those that were silent longest make room for new ones."""

    def __init__(self, *, most_entities: int) -> None:
        self._most_entities = most_entities
        self._entries: dict[Entity, _Entry] = {}
        self.forgotten_entities = 0
        """Entities that made room for others."""

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entity]:
        return iter(self._entries)

    def take(self, window: FeatureWindow, *, now_us: int) -> Taken:
        """Count the window, unless it says nothing new."""
        if not _plausible(window, now_us):
            return Taken.REFUSED
        entity = entity_of(window)
        # The end of the dict is who spoke last.
        entry = self._entries.pop(entity, None) or _Entry()
        self._entries[entity] = entry
        taken = entry.take(window)
        while len(self._entries) > self._most_entities:
            del self._entries[next(iter(self._entries))]
            self.forgotten_entities += 1
        return taken

    def event_at_us(self, entity: Entity) -> int:
        """The end of the entity's newest minute."""
        return self._entries[entity].newest_us + MINUTE_US

    def features(self, entity: Entity) -> Iterable[tuple[FeatureView, TrafficFeatures]]:
        """Every view of the entity; nothing where it has made room."""
        entry = self._entries.get(entity)
        if entry is None:
            return
        for view in TRAFFIC[entity[0]]:
            span_us = view.window_us or 0
            yield view, features(entry.over(span_us), span_us=span_us)


def _plausible(window: FeatureWindow, now_us: int) -> bool:
    """A window from the future would push every true one out."""
    return (
        window.entity in KINDS
        and window.window_us == MINUTE_US
        and window.window_start_at_us % MINUTE_US == 0
        and 0 <= window.window_start_at_us <= now_us + _AHEAD_US
        and all(getattr(window, name) >= 0 for name in _COUNTS if name != "known_cost_usd_pico")
        and all(calls > 0 for name in _HISTOGRAMS for calls in getattr(window, name).values())
    )
