"""Under which conditions a call ran, in the price lists' words, and the order in which they are given up.

The service tier *served* counts. Values that mean the plain price are no condition.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Final

import msgspec

from tokenledger.pricing.rate import CONDITION_NAMES, Conditions

_STANDARD: Final = frozenset(
    {"", "default", "auto", "standard", "standard_only", "on_demand", "on-demand", "ondemand", "unspecified", "normal",
     "service_tier_unspecified", "traffic_type_unspecified", "none", "null", "sync", "synchronous", "realtime"}
)  # fmt: skip
"""Values that mean the plain price: they are no condition."""

_REGION: Final = CONDITION_NAMES.index("region")

_TIERS: Final = {"on_demand_priority": "priority", "on_demand_flex": "flex", "on_demand_offpeak": "offpeak"}
"""Vertex AI's `trafficType`, in the words of the price lists."""


class Ask(msgspec.Struct, frozen=True, gc=False):
    """What of a call chooses its rates, in the order of a card's key."""

    tenant_id: str
    provider: str
    host_provider: str | None
    response_model: str | None
    request_model: str | None
    deployment_id: str | None
    engine: str | None
    processing: str | None
    service_tier_served: str | None
    service_tier_requested: str | None
    region: str | None
    data_region: str | None
    speed: str | None


class Asked(msgspec.Struct, frozen=True):
    """The call's conditions, in the price lists' words."""

    processing: str
    service_tier: str
    regions: tuple[str, ...]
    speed: str
    notes: tuple[str, ...]

    def dropped(self, index: int) -> str:
        """The condition as it is named in `rate_fallbacks`."""
        value = (self.processing, self.service_tier, "|".join(self.regions), self.speed)[index]
        return f"{CONDITION_NAMES[index]}={value}"


def asked_conditions(ask: Ask, requested_tier_providers: Sequence[str]) -> Asked:
    """The call's conditions: what was served, or what was asked for where the reply does not say, with a note."""
    processing = _condition(ask.processing)
    notes: tuple[str, ...] = ()
    tier = _condition(ask.service_tier_served)
    requested = _condition(ask.service_tier_requested)
    if ask.provider in requested_tier_providers or (ask.service_tier_served is None and requested):
        if requested and requested != tier:
            notes = (f"service_tier_requested={requested}",)
        tier = requested
    if tier == "batch":
        processing, tier = "batch", ""
    regions = tuple(dict.fromkeys(_regions(ask)))
    return Asked(processing, tier, regions, _condition(ask.speed), notes)


def _regions(ask: Ask) -> Iterator[str]:
    """Where it ran, as far as that can have a price of its own: `global` cannot, nor what the model's name says."""
    named = (ask.response_model or ask.request_model or "").lower()
    for region in (ask.data_region, ask.region):
        place = (region or "").lower()
        if place and place != "global" and not named.startswith(f"{place}."):
            yield place


def _condition(value: str | None) -> str:
    if value is None:
        return ""
    folded = value.strip().lower()
    return "" if folded in _STANDARD else _TIERS.get(folded, folded)


def rungs(asked: Asked) -> Iterator[tuple[Conditions, tuple[int, ...]]]:
    """(conditions to look for, indexes of those dropped), fewest drops first."""
    stated = [i for i, v in enumerate((asked.processing, asked.service_tier, asked.regions, asked.speed)) if v]
    for count in range(len(stated) + 1):
        for dropped in combinations(stated, count):
            for region in ("",) if _REGION in dropped else asked.regions or ("",):
                kept = (asked.processing, asked.service_tier, region, asked.speed)
                processing, tier, place, speed = ("" if i in dropped else value for i, value in enumerate(kept))
                yield (processing, tier, place, speed), dropped
